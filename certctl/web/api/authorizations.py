"""Authorizations and their challenges, as operators see them (``/api/authorizations``)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from certctl.acme.objects import Authorization, Challenge
from certctl.authority.operators import absent
from certctl.storage import authorizations
from certctl.storage.database import Database
from certctl.storage.search import authorizations as search
from certctl.storage.search.authorizations import AuthorizationFilter
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import READ, Operation
from certctl.web.api.schema import Following, Id, IdentifierDocument, Name, Window, given, identifier, window

AuthorizationStatus = Literal["pending", "valid", "invalid", "deactivated", "expired", "revoked"]
ChallengeStatus = Literal["pending", "processing", "valid", "invalid"]
_SHOWN = ("address", "url", "seen")  # of what the trail has of a validation


class ChallengeDocument(msgspec.Struct, kw_only=True):
    """A challenge. ``error`` is the problem document of its last failure.

    ``evidence`` is what was seen when control was shown: the ``address`` that was dialled, the ``url`` that answered at
    last, and the beginning of what was ``seen``.
    """

    id: str
    type: Literal["http-01", "dns-01", "tls-alpn-01"]
    status: ChallengeStatus
    validated_at: datetime | None
    error: dict[str, Any] | None
    evidence: dict[str, Any] | None


class AuthorizationDocument(msgspec.Struct, kw_only=True):
    """An authorization: that an account may have a name, or not (RFC 8555 section 7.1.4).

    ``proved`` says that it was shown by a challenge, and not by the trust of the profile.
    """

    id: str
    profile_id: str
    account_id: str
    identifier: IdentifierDocument
    wildcard: bool
    status: AuthorizationStatus
    proved: bool
    expires_at: datetime
    created_at: datetime
    challenges: list[ChallengeDocument]


class AuthorizationQuery(Following):
    """Which authorizations are asked for. ``identifier`` is a name (with ``*.`` for a wildcard) or an address."""

    profile_id: Id | UnsetType = UNSET
    account_id: Id | UnsetType = UNSET
    status: AuthorizationStatus | UnsetType = UNSET
    identifier: Name | UnsetType = UNSET


async def list_authorizations(call: Call[Nothing, AuthorizationQuery]) -> Reply:
    """List authorizations, the newest first, without their challenges."""
    asked = call.query
    wanted = AuthorizationFilter(
        **given(asked, "profile_id", "account_id", "status"),
        identifier=identifier(asked.identifier, "identifier"),
    )
    found = await call.administration.database.read(
        search.page(wanted, asked.cursor or None, asked.per_page + 1)
    )
    page, cursor = window(found, asked, lambda each: each.id)
    data = [_document(each, {}) for each in page]
    return Reply(value=Window(data=data, next_cursor=cursor, per_page=asked.per_page))


async def authorization(call: Call[Nothing, Nothing]) -> Reply:
    """Show an authorization, its challenges, and what was seen when they were validated."""
    found = await call.administration.database.read(authorizations.by_id(call.id))
    if found is None:
        raise absent("authorization", call.id)
    (shown,) = await described(call.administration.database, [found])
    return Reply(value=shown)


async def described(database: Database, found: Sequence[Authorization]) -> list[AuthorizationDocument]:
    """Authorizations with what the trail says of their challenges."""
    proved = [challenge.id for each in found for challenge in each.challenges if challenge.validated_at]
    told = {
        challenge_id: details
        for first in range(0, len(proved), 100)
        for challenge_id, details in (
            await database.read(search.evidence(proved[first : first + 100]))
        ).items()
    }
    return [_document(each, told) for each in found]


def _document(found: Authorization, told: dict[str, dict[str, Any]]) -> AuthorizationDocument:
    return AuthorizationDocument(
        id=found.id,
        profile_id=found.profile_id,
        account_id=found.account_id,
        identifier=IdentifierDocument.of(found.identifier),
        wildcard=found.wildcard,
        status=found.status.value,  # type: ignore[arg-type]
        proved=found.proved,
        expires_at=found.expires_at,
        created_at=found.created_at,
        challenges=[_challenge(each, told.get(each.id)) for each in found.challenges],
    )


def _challenge(found: Challenge, details: dict[str, Any] | None) -> ChallengeDocument:
    seen = {name: details[name] for name in _SHOWN if name in details} if details else None
    return ChallengeDocument(
        id=found.id,
        type=found.type.value,
        status=found.status.value,  # type: ignore[arg-type]
        validated_at=found.validated_at,
        error=None if found.error is None else dict(found.error),
        evidence=seen,
    )


OPERATIONS = (
    Operation(
        "GET",
        "authorizations",
        list_authorizations,
        READ,
        Window[AuthorizationDocument],
        query=AuthorizationQuery,
    ),
    Operation("GET", "authorizations/<id>", authorization, READ, AuthorizationDocument),
)
