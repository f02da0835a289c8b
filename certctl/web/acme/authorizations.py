"""newAuthz, authorization, challenge (RFC 8555 sections 7.4.1 and 7.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from certctl.acme import lifecycle
from certctl.acme.objects import Authorization, Challenge, Status
from certctl.acme.problems import malformed
from certctl.web.acme.call import Call, Urls
from certctl.web.acme.orders import POLL_AFTER, moment
from certctl.web.answer import Answer, document

RETRIED_AFTER = "10"  # seconds, by when a validation that failed once has been tried again


def challenge_document(challenge: Challenge, urls: Urls) -> dict[str, Any]:
    """RFC 8555 section 8."""
    value: dict[str, Any] = {
        "type": challenge.type.value,
        "url": urls.to("challenge", challenge.id),
        "status": challenge.status.value,
        "token": challenge.token,
    }
    if challenge.validated_at is not None:
        value["validated"] = moment(challenge.validated_at)
    if challenge.error is not None:
        value["error"] = challenge.error
    return value


def authorization_document(authorization: Authorization, urls: Urls) -> dict[str, Any]:
    """RFC 8555 section 7.1.4."""
    value: dict[str, Any] = {
        "identifier": authorization.identifier.document(),
        "status": authorization.status.value,
        "expires": moment(authorization.expires_at),
        "challenges": [challenge_document(each, urls) for each in _shown(authorization)],
    }
    if authorization.wildcard:
        value["wildcard"] = True
    return value


def _shown(authorization: Authorization) -> Sequence[Challenge]:
    """The challenges that decided, once that is so; until then all that could (RFC 8555 section 7.1.4)."""
    if authorization.status not in (Status.VALID, Status.INVALID):
        return authorization.challenges
    deciding = [each for each in authorization.challenges if each.status is authorization.status]
    return deciding or authorization.challenges


async def new_authorization(call: Call[None]) -> Answer:
    """Make an authorization ahead of any order."""
    made = await call.authority.authorizations.authorize(call.profile, call.signer, call.payload)
    location = call.urls.to("authorization", made.id)
    return document(authorization_document(made, call.urls), status=201, location=location)


async def authorization(call: Call[Authorization]) -> Answer:
    """Show an authorization, or let go of it."""
    found = lifecycle.settled_authorization(call.found, call.authority.now())
    if not call.reads:
        if call.payload.get("status") != Status.DEACTIVATED:
            raise malformed('an authorization is changed by {"status": "deactivated"} alone')
        found = await call.authority.authorizations.deactivate(call.signer, call.found)
    elif _processing(found.challenges):
        found = await call.authority.challenges.settled(found)
    return document(authorization_document(found, call.urls), headers=_retry_after(found.challenges))


async def challenge(call: Call[Authorization]) -> Answer:
    """Show a challenge, or begin to validate it (RFC 8555 section 7.5.1)."""
    found = lifecycle.settled_authorization(call.found, call.authority.now())
    if not call.reads:
        _ = call.payload  # an object, whose members mean nothing for these challenge types
        found = await call.authority.challenges.respond(
            call.profile, call.signer, found, call.arguments["id"]
        )
    elif _processing(found.challenges):
        found = await call.authority.challenges.settled(found)
    shown = next(each for each in found.challenges if each.id == call.arguments["id"])
    up = f'<{call.urls.to("authorization", found.id)}>;rel="up"'
    return document(challenge_document(shown, call.urls), links=[up], headers=_retry_after([shown]))


def _processing(challenges: Sequence[Challenge]) -> Sequence[Challenge]:
    return [each for each in challenges if each.status is Status.PROCESSING]


def _retry_after(challenges: Sequence[Challenge]) -> Mapping[str, str]:
    """When to ask again: soon while the first try is under way, after the next one later (RFC 8555 section 8.2)."""
    processing = _processing(challenges)
    if not processing:
        return {}
    return {"Retry-After": POLL_AFTER if processing[0].error is None else RETRIED_AFTER}
