"""Orders: what an account may have (RFC 8555 section 7.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from certctl.acme import ids, lifecycle, policy
from certctl.acme.identifiers import Identifier
from certctl.acme.objects import Account, AuthorizationState, Order, Profile, Status
from certctl.acme.problems import Problem, ProblemType
from certctl.authority import order_refusals
from certctl.authority.authorizations import Authorizations
from certctl.authority.issuers import Issuers
from certctl.authority.limits import Limits
from certctl.authority.profile_rules import ProfileRules, Terms
from certctl.authority.replacements import Replacements
from certctl.authority.signing import granted_validity, under
from certctl.authority.trail import Action, Event, Trail, actor_of
from certctl.storage import authorizations, orders, profiles
from certctl.storage.database import Conflict, Database, Statement

ORDERS_PER_PAGE = 100  # of the orders list (RFC 8555 section 7.1.2.1)


class Orders:
    """Makes orders, and lists them."""

    def __init__(
        self,
        database: Database,
        trail: Trail,
        issuers: Issuers,
        authorizations: Authorizations,
        limits: Limits,
        replacements: Replacements,
        rules: ProfileRules,
        *,
        ttl: timedelta,
    ) -> None:
        self._database = database
        self._trail = trail
        self._issuers = issuers
        self._authorizations = authorizations
        self._limits = limits
        self._rules = rules
        self._replacements = replacements
        self._ttl = ttl

    async def create(self, profile: Profile, account: Account, payload: Mapping[str, Any]) -> Order:
        """Make an order and its authorizations; raise Problem, and store nothing, if the profile refuses it.

        The profile is that of the URL, or one that it advertises and the payload names.
        """
        try:
            profile = await self._chosen(profile, account, payload)
            return await self._place(profile, account, payload)
        except Problem as problem:
            await order_refusals.record(self._trail, profile, account, problem, payload.get("identifiers"))
            raise

    async def offered(self, profile: Profile) -> list[Profile]:
        """The profiles that an order may name: this one, and those that it advertises (draft-ietf-acme-profiles)."""
        found = [profile]
        for each in self._rules.policy(profile).advertises:
            other = await self._database.read(profiles.by_id(each))
            if other is not None and other.enabled and other.archived_at is None:
                found.append(other)
        return found

    async def _chosen(self, profile: Profile, account: Account, payload: Mapping[str, Any]) -> Profile:
        """The profile that a payload names; raise Problem invalidProfile if the account cannot have it."""
        name = payload.get("profile")
        if name is None or name == profile.id:
            return profile
        offered = {each.id: each for each in await self.offered(profile)}
        chosen = offered.get(name) if isinstance(name, str) else None
        if chosen is None:
            detail = f"profile is one of {', '.join(offered)} here"
            raise Problem(ProblemType.INVALID_PROFILE, detail)
        self._rules.judge_choice(account, chosen)
        return chosen

    async def _place(self, profile: Profile, account: Account, payload: Mapping[str, Any]) -> Order:
        now = self._trail.now()
        policy.judge_pause(account)
        policy.judge_open(profile)
        terms = self._rules.terms(profile, account)
        issuer = await self._issuers.find(profile.issuer_id)
        names = under(terms, issuer)
        rules = policy.judge_identifiers(names, payload.get("identifiers"), terms.max_identifiers)
        not_before, not_after = policy.moment(payload, "notBefore"), policy.moment(payload, "notAfter")
        policy.judge_start(now, not_before)
        granted_validity(terms, issuer, now, not_before, not_after)
        replaces = await self._replacements.replaced(account, tuple(rules), payload)
        held = await self._authorizations.held(profile, account, tuple(rules), now)
        new = {
            each: self._authorizations.make(profile, account, each, now) for each in rules if each not in held
        }
        states = {
            each: AuthorizationState(made.id, made.status, made.expires_at) for each, made in new.items()
        }
        order = Order(
            id=ids.new(ids.ORDER, now),
            profile_id=profile.id,
            account_id=account.id,
            status=Status.PENDING,
            identifiers=tuple(rules),
            authorizations=tuple(held.get(each) or states[each] for each in rules),
            expires_at=now + self._ttl,
            created_at=now,
            not_before=not_before,
            not_after=not_after,
            replaces=None if replaces is None else replaces.cert_id,
            replaces_id=None if replaces is None else replaces.id,
        )
        order = lifecycle.settled(order, now)
        added = [statement for made in new.values() for statement in authorizations.insert(made)]
        await self._store(terms, account, _created(order, profile, account, rules), order, added, now)
        return order

    async def _store(
        self,
        terms: Terms,
        account: Account,
        event: Event,
        order: Order,
        added: Sequence[Statement],
        now: datetime,
    ) -> None:
        """Store an order and what it needs, within the limits; raise Problem rateLimited beyond them."""
        limited = order.replaces is None  # a renewal is not held back (RFC 9773 section 5)
        guards = [] if await self._replacements.awaited(order) else self._limits.orders(terms, account)
        placed = orders.insert(order, self._limits.under(terms).open_orders if limited else 0)
        try:
            await self._trail.record(now, event, *self._limits.spend(guards, now), *added, *placed)
        except Conflict:
            await self._limits.explain(guards, now)
            if limited:
                await self._limits.explain_open_orders(terms, account, now)
            await self._replacements.explain(order.replaces)
            raise

    async def list(self, account: Account, after: str) -> tuple[list[str], str | None]:
        """The ids of a page of the account's orders, and the id to ask for the next page after, if there is one."""
        found = await self._database.read(orders.of_account(account.id, after, ORDERS_PER_PAGE + 1))
        page = found[:ORDERS_PER_PAGE]
        return page, page[-1] if len(found) > ORDERS_PER_PAGE else None


def _created(order: Order, profile: Profile, account: Account, rules: Mapping[Identifier, str]) -> Event:
    told = set(rules.values())
    return Event(
        actor=actor_of(account),
        action=Action.ORDER_CREATED,
        resource_type="acme_order",
        resource_id=order.id,
        details={
            "profile": profile.id,
            "mode": profile.acme_auth_mode.value,
            "identifiers": [each.value for each in order.identifiers],
            "rule": told.pop() if len(told) == 1 else {each.value: rule for each, rule in rules.items()},
        },
    )
