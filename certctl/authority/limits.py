"""How often accounts, profiles and networks may do what costs: refused with ``rateLimited`` and a time.

RFC 8555 section 6.6.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import attrs

from certctl.acme.limits import Limit
from certctl.acme.objects import Account, Profile
from certctl.acme.problems import Problem, ProblemType
from certctl.acme.profile_policy import LimitPolicy
from certctl.authority.profile_rules import ProfileRules, Terms
from certctl.authority.trail import Action, Event, Trail, actor_of, stranger_to
from certctl.storage import limits, orders
from certctl.storage.database import Conflict, Database, Statement

JITTER = 0.1  # of the wait, so that all who were refused do not come back at the same moment
SOON = timedelta(seconds=30)  # until one of several open orders may have ended


@attrs.frozen
class Guard:
    """A bucket, and what is said when it is used up."""

    bucket: str
    limit: Limit
    words: str
    refused: Event  # what the trail says of a refusal; the limit is added


@attrs.frozen(kw_only=True)
class Rates:
    """How many in an hour, or at once; 0 is no limit."""

    orders_per_hour: int = 0
    open_orders: int = 0
    key_changes_per_hour: int = 0
    responses_per_hour: int = 0
    profile_orders_per_hour: int = 0
    network_accounts_per_hour: int = 0

    def under(self, *policies: LimitPolicy) -> Rates:
        """These, or in their place those of a policy that has them; the first policy that does counts."""
        rates = self
        for each in reversed(policies):
            given = {ours: getattr(each, theirs) for ours, theirs in _MEMBERS.items()}
            rates = attrs.evolve(rates, **{name: count for name, count in given.items() if count is not None})
        return rates


_MEMBERS = {
    "orders_per_hour": "orders_per_hour",
    "open_orders": "concurrent_orders",
    "key_changes_per_hour": "key_changes_per_hour",
    "responses_per_hour": "challenge_responds_per_hour",
    "profile_orders_per_hour": "profile_orders_per_hour",
}
_SERVERS = LimitPolicy()


class Limits:
    """Makes the statements that guard a change, and finds out which of them refused it."""

    def __init__(self, database: Database, trail: Trail, rules: ProfileRules, rates: Rates) -> None:
        self._database = database
        self._rules = rules
        self._trail = trail
        self._rates = rates

    def under(self, terms: Terms) -> Rates:
        """An account's rates: its own, else the profile's, else the server's."""
        own, profiles = terms.account.limits, terms.policy.limits
        return self._rates if own == profiles == _SERVERS else self._rates.under(own, profiles)

    def accounts(self, profile: Profile, network: str) -> list[Guard]:
        """What guards a new account: how many come from a network, whatever the profile."""
        words = "new accounts of a network in an hour"
        refused = Event(
            actor=stranger_to(profile.id),
            action=Action.RATE_LIMITED,
            resource_type="profile",
            resource_id=profile.id,
            details={"profile": profile.id, "network": network},
        )
        return _guards(f"accounts:{network}", self._rates.network_accounts_per_hour, words, refused)

    def orders(self, terms: Terms, account: Account) -> list[Guard]:
        """What guards a new order: the profile's limit, and that of the account.

        The profile's comes first, so that changes of several accounts which wait for it hold nothing else yet.
        """
        rates, refused, profile = self.under(terms), _refused(account), terms.profile
        own, of_all = "orders of an account in an hour", f"orders under profile {profile.id} in an hour"
        return [
            *_guards(f"orders-under:{profile.id}", rates.profile_orders_per_hour, of_all, refused),
            *_guards(f"orders:{account.id}", rates.orders_per_hour, own, refused),
        ]

    def key_changes(self, profile: Profile, account: Account) -> list[Guard]:
        """What guards a key change."""
        words = "key changes of an account in an hour"
        count = self.under(self._rules.terms(profile, account)).key_changes_per_hour
        return _guards(f"key-changes:{account.id}", count, words, _refused(account))

    def responses(self, profile: Profile, account: Account, challenge_id: str) -> list[Guard]:
        """What guards a response to a challenge."""
        words = "responses to a challenge in an hour"
        count = self.under(self._rules.terms(profile, account)).responses_per_hour
        return _guards(f"responses:{challenge_id}", count, words, _refused(account))

    def spend(self, guards: list[Guard], now: datetime) -> list[Statement]:
        """Spend what a change costs, in its own transaction: what is refused costs nothing."""
        return [limits.spend(each.bucket, each.limit, now) for each in guards]

    async def charge(self, guards: list[Guard], now: datetime) -> None:
        """Spend for what changes nothing; raise Problem rateLimited if that cannot be."""
        if guards:
            try:
                await self._database.write(*self.spend(guards, now))
            except Conflict:
                await self.explain(guards, now)
                raise

    async def explain(self, guards: list[Guard], now: datetime) -> None:
        """Raise Problem rateLimited if it was one of these that refused a change; return if it was not."""
        for guard in guards:
            empty_at = await self._database.read(limits.empty_at(guard.bucket))
            if empty_at is not None and (wait := guard.limit.wait(empty_at, now)) > timedelta(0):
                raise await self._refuse(guard.refused, guard.limit.count, guard.words, wait)

    async def explain_open_orders(self, terms: Terms, account: Account, now: datetime) -> None:
        """Raise Problem rateLimited if the account has as many open orders as it may; return if it has not."""
        most = self.under(terms).open_orders
        if most and await self._database.read(orders.open_of_account(account.id, now)) >= most:
            words = "unfinished orders of an account at once"
            raise await self._refuse(_refused(account), most, words, SOON)

    async def _refuse(self, event: Event, count: int, words: str, wait: timedelta) -> Problem:
        """Record that somebody was refused, and return what they are told."""
        wait += wait * JITTER * random.random()
        problem = Problem(ProblemType.RATE_LIMITED, f"the limit is {count} {words}", retry_after=wait)
        details = {**event.details, "limit": count, "of": words}
        await self._trail.refuse(attrs.evolve(event, details=details))
        return problem


def _refused(account: Account) -> Event:
    return Event(
        actor=actor_of(account),
        action=Action.RATE_LIMITED,
        resource_type="acme_account",
        resource_id=account.id,
        details={"profile": account.profile_id},
    )


def _guards(bucket: str, count: int, words: str, refused: Event) -> list[Guard]:
    return [Guard(bucket, Limit(count), words, refused)] if count else []
