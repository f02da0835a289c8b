"""Orders and authorizations: what an account may have, and how it shows that (RFC 8555 sections 7.4 and 7.5)."""

from __future__ import annotations

from collections.abc import Mapping
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
    Order,
    Profile,
    Status,
)
from certctl.acme.problems import malformed
from certctl.authority.issuance import granted_validity, issuer_of
from certctl.authority.trail import Action, Event, Trail, actor_of
from certctl.issuance.issuer import Issuer
from certctl.storage import authorizations, orders
from certctl.storage.database import Conflict, Database

ORDERS_PER_PAGE = 100  # of the orders list (RFC 8555 section 7.1.2.1)


class Orders:
    """Makes orders and authorizations, and lets go of them."""

    def __init__(
        self,
        database: Database,
        trail: Trail,
        issuers: Mapping[str, Issuer],
        *,
        order_ttl: timedelta,
        authorization_ttl: timedelta,
        max_identifiers: int,
    ) -> None:
        self._database = database
        self._trail = trail
        self._issuers = issuers
        self._order_ttl = order_ttl
        self._authorization_ttl = authorization_ttl
        self._max_identifiers = max_identifiers

    async def create(self, profile: Profile, account: Account, payload: Mapping[str, Any]) -> Order:
        """Make an order and its authorizations; raise Problem, and store nothing, if the profile refuses it."""
        now = self._trail.now()
        identifiers = policy.judge_identifiers(profile, payload.get("identifiers"), self._max_identifiers)
        not_before, not_after = policy.moment(payload, "notBefore"), policy.moment(payload, "notAfter")
        policy.judge_start(now, not_before)
        granted_validity(profile, issuer_of(profile, self._issuers), now, not_before, not_after)
        new = [self._authorization(profile, account, each, now) for each in identifiers]
        order = Order(
            id=ids.new(ids.ORDER, now),
            profile_id=profile.id,
            account_id=account.id,
            status=Status.PENDING,
            identifiers=identifiers,
            authorizations=tuple(AuthorizationState(each.id, each.status, each.expires_at) for each in new),
            expires_at=now + self._order_ttl,
            created_at=now,
            not_before=not_before,
            not_after=not_after,
        )
        order = lifecycle.settled(order, now)
        added = [statement for each in new for statement in authorizations.insert(each)]
        await self._trail.record(now, _created(order, profile, account), *added, *orders.insert(order))
        return order

    def _authorization(
        self, profile: Profile, account: Account, identifier: Identifier, now: datetime
    ) -> Authorization:
        """An authorization as the profile's mode has it: valid by trust, or pending with its challenges."""
        trusted = profile.acme_auth_mode is AuthMode.TRUST_AUTHENTICATED
        id = ids.new(ids.AUTHORIZATION, now)
        types = challenges.types_for(identifier)
        return Authorization(
            id=id,
            profile_id=profile.id,
            account_id=account.id,
            identifier=identifier.base,
            wildcard=identifier.wildcard,
            status=Status.VALID if trusted else Status.PENDING,
            proved=not trusted,
            expires_at=now + self._authorization_ttl,
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
        (identifier,) = policy.judge_identifiers(profile, [requested], self._max_identifiers)
        now = self._trail.now()
        authorization = self._authorization(profile, account, identifier, now)
        event = Event(
            actor=actor_of(account),
            action=Action.AUTHORIZATION_CREATED,
            resource_type="acme_authorization",
            resource_id=authorization.id,
            details={"profile": profile.id, "identifier": identifier.value},
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
            details={"identifier": authorization.covers.value, "orders": [each.id for each in hanging]},
        )
        error = lifecycle.LOST_AUTHORIZATION.document()
        try:
            await self._trail.record(
                now,
                event,
                authorizations.move(authorization, Status.DEACTIVATED, now),
                *(orders.make_invalid(each.id, error, now) for each in hanging),
            )
        except Conflict:
            raise malformed("the authorization was changed meanwhile: read it again") from None
        return attrs.evolve(authorization, status=Status.DEACTIVATED)

    async def list(self, account: Account, after: str) -> tuple[list[str], str | None]:
        """The ids of a page of the account's orders, and the id to ask for the next page after, if there is one."""
        found = await self._database.read(orders.of_account(account.id, after, ORDERS_PER_PAGE + 1))
        page = found[:ORDERS_PER_PAGE]
        return page, page[-1] if len(found) > ORDERS_PER_PAGE else None


def _challenge(authorization_id: str, type: ChallengeType, trusted: bool, now: datetime) -> Challenge:
    return Challenge(
        id=ids.new(ids.CHALLENGE, now),
        authorization_id=authorization_id,
        type=type,
        token=ids.token(),
        status=Status.VALID if trusted else Status.PENDING,
        validated_at=now if trusted else None,
    )


def _created(order: Order, profile: Profile, account: Account) -> Event:
    return Event(
        actor=actor_of(account),
        action=Action.ORDER_CREATED,
        resource_type="acme_order",
        resource_id=order.id,
        details={
            "profile": profile.id,
            "mode": profile.acme_auth_mode.value,
            "identifiers": [each.value for each in order.identifiers],
        },
    )
