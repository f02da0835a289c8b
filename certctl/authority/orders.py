"""Orders: what an account may have (RFC 8555 section 7.4)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from certctl.acme import ids, lifecycle, policy
from certctl.acme.objects import Account, AuthorizationState, Order, Profile, Status
from certctl.authority.authorizations import Authorizations
from certctl.authority.issuance import granted_validity, issuer_of
from certctl.authority.limits import Limits
from certctl.authority.trail import Action, Event, Trail, actor_of
from certctl.issuance.issuer import Issuer
from certctl.storage import authorizations, orders
from certctl.storage.database import Conflict, Database

ORDERS_PER_PAGE = 100  # of the orders list (RFC 8555 section 7.1.2.1)


class Orders:
    """Makes orders, and lists them."""

    def __init__(
        self,
        database: Database,
        trail: Trail,
        issuers: Mapping[str, Issuer],
        authorizations: Authorizations,
        limits: Limits,
        *,
        ttl: timedelta,
        max_identifiers: int,
    ) -> None:
        self._database = database
        self._trail = trail
        self._issuers = issuers
        self._authorizations = authorizations
        self._limits = limits
        self._ttl = ttl
        self._max_identifiers = max_identifiers

    async def create(self, profile: Profile, account: Account, payload: Mapping[str, Any]) -> Order:
        """Make an order and its authorizations; raise Problem, and store nothing, if the profile refuses it."""
        now = self._trail.now()
        identifiers = policy.judge_identifiers(profile, payload.get("identifiers"), self._max_identifiers)
        not_before, not_after = policy.moment(payload, "notBefore"), policy.moment(payload, "notAfter")
        policy.judge_start(now, not_before)
        granted_validity(profile, issuer_of(profile, self._issuers), now, not_before, not_after)
        held = await self._authorizations.held(profile, account, identifiers, now)
        new = {
            each: self._authorizations.make(profile, account, each, now)
            for each in identifiers
            if each not in held
        }
        states = {
            each: AuthorizationState(made.id, made.status, made.expires_at) for each, made in new.items()
        }
        order = Order(
            id=ids.new(ids.ORDER, now),
            profile_id=profile.id,
            account_id=account.id,
            status=Status.PENDING,
            identifiers=identifiers,
            authorizations=tuple(held.get(each) or states[each] for each in identifiers),
            expires_at=now + self._ttl,
            created_at=now,
            not_before=not_before,
            not_after=not_after,
        )
        order = lifecycle.settled(order, now)
        added = [statement for made in new.values() for statement in authorizations.insert(made)]
        guards = self._limits.orders(account)
        placed = orders.insert(order, self._limits.rates.open_orders)
        spent = self._limits.spend(guards, now)
        try:
            await self._trail.record(now, _created(order, profile, account), *spent, *added, *placed)
        except Conflict:
            await self._limits.explain(guards, now)
            await self._limits.explain_open_orders(account, now)
            raise
        return order

    async def list(self, account: Account, after: str) -> tuple[list[str], str | None]:
        """The ids of a page of the account's orders, and the id to ask for the next page after, if there is one."""
        found = await self._database.read(orders.of_account(account.id, after, ORDERS_PER_PAGE + 1))
        page = found[:ORDERS_PER_PAGE]
        return page, page[-1] if len(found) > ORDERS_PER_PAGE else None


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
