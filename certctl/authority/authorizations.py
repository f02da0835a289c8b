"""Authorizations: how an account shows that it may have an identifier (RFC 8555 sections 7.1.4, 7.4.1 and 7.5.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from certctl.acme import challenges, ids, lifecycle, policy
from certctl.acme.identifiers import Identifier
from certctl.acme.objects import (
    Account,
    AuthMode,
    Authorization,
    AuthorizationState,
    Challenge,
    ChallengeType,
    Profile,
    Status,
)
from certctl.acme.problems import Problem, ProblemType, Subproblem, malformed, refusing_identifiers
from certctl.authority.challenge_rules import ChallengeRules
from certctl.authority.issuers import Issuers
from certctl.authority.profile_rules import ProfileRules
from certctl.authority.signing import under
from certctl.authority.trail import Action, Event, Trail, actor_of
from certctl.storage import authorizations, failures, orders
from certctl.storage.database import Conflict, Database
from certctl.validation.addresses import Network

REUSE_MARGIN = timedelta(minutes=10)  # an authorization that ends sooner is no help to a new order
PAUSE_LASTS = timedelta(days=7)  # from the last failure; then the name may be tried again


class Authorizations:
    """Makes authorizations, finds those that still hold, and lets go of them."""

    def __init__(
        self,
        database: Database,
        trail: Trail,
        network: Network,
        rules: ProfileRules,
        issuers: Issuers,
        *,
        ttl: timedelta,
        pause_after: int,
    ) -> None:
        self._database = database
        self._trail = trail
        self._network = network
        self._rules = rules
        self._issuers = issuers
        self._ttl = ttl
        self._pause_after = pause_after

    async def held(
        self, profile: Profile, account: Account, identifiers: Sequence[Identifier], now: datetime
    ) -> dict[Identifier, AuthorizationState]:
        """The authorizations that a new order may use again; raise Problem rateLimited if a name is paused.

        Pending authorizations are not shared: the failure of one order must not be another's.
        """
        if profile.acme_auth_mode is AuthMode.TRUST_AUTHENTICATED:
            return {}
        await self._refuse_paused(account, identifiers, now)
        if not ChallengeRules.of(profile, self._network).reuse:
            return {}
        return await self._database.read(authorizations.reusable(account.id, identifiers, now + REUSE_MARGIN))

    async def _refuse_paused(
        self, account: Account, identifiers: Sequence[Identifier], now: datetime
    ) -> None:
        if not self._pause_after:
            return
        since = now - PAUSE_LASTS
        paused = await self._database.read(failures.many(account.id, identifiers, self._pause_after, since))
        if not paused:
            return
        detail = (
            f"validation of these names failed {self._pause_after} times in a row, so they are paused for this account:"
            " mend the cause, then ask the operator to lift the pause (acme_validation_failures)"
        )
        refused = [each for each in identifiers if each.value in paused]
        told = [Subproblem(ProblemType.RATE_LIMITED, "paused", each) for each in refused]
        raise Problem(ProblemType.RATE_LIMITED, detail, subproblems=told, retry_after=PAUSE_LASTS)

    def make(
        self, profile: Profile, account: Account, identifier: Identifier, now: datetime
    ) -> Authorization:
        """An authorization as the profile's mode has it: valid by trust, or pending with its challenges."""
        trusted = profile.acme_auth_mode is AuthMode.TRUST_AUTHENTICATED
        id = ids.new(ids.AUTHORIZATION, now)
        types = challenges.types_for(identifier)
        if not types:  # a wildcard whose _acme-challenge name would be too long
            detail = "no challenge type fits this name"
            raise refusing_identifiers([Subproblem(ProblemType.REJECTED_IDENTIFIER, detail, identifier)])
        return Authorization(
            id=id,
            profile_id=profile.id,
            account_id=account.id,
            identifier=identifier.base,
            wildcard=identifier.wildcard,
            status=Status.VALID if trusted else Status.PENDING,
            expires_at=now + self._ttl,
            created_at=now,
            # A valid authorization shows the one challenge that stands for it (RFC 8555 section 7.1.4).
            challenges=tuple(
                _challenge(id, type, trusted, now) for type in (types[:1] if trusted else types)
            ),
        )

    async def authorize(
        self, profile: Profile, account: Account, payload: Mapping[str, Any]
    ) -> Authorization:
        """Make an authorization ahead of any order (RFC 8555 section 7.4.1)."""
        requested = payload.get("identifier")
        if isinstance(requested, Mapping) and str(requested.get("value", "")).startswith("*."):
            raise malformed("a wildcard cannot be authorized ahead of its order (RFC 8555 section 7.4.1)")
        policy.judge_pause(account)
        policy.judge_open(profile)
        names = under(self._rules.terms(profile, account), await self._issuers.find(profile.issuer_id))
        ((identifier, rule),) = policy.judge_identifiers(names, [requested], maximum=1).items()
        now = self._trail.now()
        if profile.acme_auth_mode is AuthMode.CHALLENGE:
            await self._refuse_paused(account, [identifier], now)
        authorization = self.make(profile, account, identifier, now)
        event = Event(
            actor=actor_of(account),
            action=Action.AUTHORIZATION_CREATED,
            resource_type="acme_authorization",
            resource_id=authorization.id,
            details={"profile": profile.id, "identifier": identifier.value, "rule": rule},
        )
        await self._trail.record(now, event, *authorizations.insert(authorization))
        return authorization

    async def deactivate(self, account: Account, authorization: Authorization) -> Authorization:
        """Let go of an authorization, and with it of every open order that hangs on it (RFC 8555 section 7.5.2)."""
        now = self._trail.now()
        if lifecycle.settled_authorization(authorization, now).status not in (Status.PENDING, Status.VALID):
            raise malformed(f"the authorization is {authorization.status.value} and stays so")
        hanging = await self._database.read(orders.hanging_on(authorization.id))
        event = Event(
            actor=actor_of(account),
            action=Action.AUTHORIZATION_DEACTIVATED,
            resource_type="acme_authorization",
            resource_id=authorization.id,
            details={"identifier": authorization.covers.value, "orders": hanging},
        )
        error = lifecycle.LOST_AUTHORIZATION.document()
        try:
            await self._trail.record(
                now,
                event,
                authorizations.move(authorization, Status.DEACTIVATED, now),
                *(orders.make_invalid(each, error, now) for each in hanging),
            )
        except Conflict:
            raise malformed("the authorization was changed meanwhile: read it again") from None
        return attrs.evolve(authorization, status=Status.DEACTIVATED)


def _challenge(authorization_id: str, type: ChallengeType, trusted: bool, now: datetime) -> Challenge:
    return Challenge(
        id=ids.new(ids.CHALLENGE, now),
        authorization_id=authorization_id,
        type=type,
        token=ids.token(),
        status=Status.VALID if trusted else Status.PENDING,
        validated_at=now if trusted else None,
    )
