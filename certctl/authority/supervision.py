"""What operators do to accounts: pause them, narrow what they may have, deactivate them, unpause their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from certctl.acme.members import PolicyError
from certctl.acme.objects import Status
from certctl.acme.problems import Problem
from certctl.authority.accounts import Accounts
from certctl.authority.operators import Caller, Kind, Refused, absent
from certctl.authority.profile_rules import check_account
from certctl.authority.trail import Action, Event, Trail
from certctl.storage.database import Conflict, Database
from certctl.storage.search import accounts
from certctl.storage.search.accounts import SeenAccount


class Supervision:
    """The use cases of operators about accounts. What is changed holds for the account's next request."""

    def __init__(self, database: Database, trail: Trail, own: Accounts) -> None:
        self._database = database
        self._trail = trail
        self._own = own

    async def by_id(self, account_id: str) -> SeenAccount:
        """The account of that id; raises Refused if there is none."""
        found = await self._database.read(accounts.by_id(account_id))
        if found is None:
            raise absent("account", account_id)
        return found

    async def change(
        self,
        caller: Caller,
        seen: SeenAccount,
        *,
        paused: bool | None = None,
        policy: Mapping[str, Any] | None = None,
    ) -> SeenAccount:
        """Pause an account or let it go on, and give it a policy; None leaves it as it is.

        Raises Refused for a policy that cannot be read, and if the account was changed since it was seen.
        """
        now, old = self._trail.now(), seen.account
        events, new = [], old
        if policy is not None and policy != old.policy:
            _judge(policy)
            new = attrs.evolve(new, policy=policy)
            details = {"old": dict(old.policy), "new": dict(policy)}
            events.append(_event(caller, Action.ACCOUNT_POLICY_CHANGED, seen, details))
        if paused is not None and paused != (old.paused_at is not None):
            new = attrs.evolve(new, paused_at=now if paused else None)
            events.append(
                _event(caller, Action.ACCOUNT_PAUSED if paused else Action.ACCOUNT_RESUMED, seen, {})
            )
        if not events:
            return seen
        try:
            change = accounts.change(seen, new.policy, new.paused_at, now)
            await self._trail.record(now, events, change)
        except Conflict:
            detail = f"account {old.id} was changed since you read it: read it again"
            raise Refused(Kind.CHANGED, detail) from None
        return SeenAccount(account=new, updated_at=now)

    async def deactivate(self, caller: Caller, seen: SeenAccount) -> SeenAccount:
        """Deactivate an account for good (RFC 8555 section 7.3.6); raises Refused if it is not valid any more."""
        gone = Refused(Kind.CONFLICT, f"account {seen.account.id} was deactivated before")
        if seen.account.status is not Status.VALID:
            raise gone
        try:
            await self._own.deactivate(seen.account, caller.actor)
        except Problem:  # by its owner, at the same moment
            raise gone from None
        return await self.by_id(seen.account.id)

    async def unpause(self, caller: Caller, seen: SeenAccount, identifier: str | None) -> None:
        """Forget the failed validations for which names of an account are paused: of one name, or of all."""
        now = self._trail.now()
        details = {} if identifier is None else {"identifier": identifier}
        event = _event(caller, Action.NAMES_UNPAUSED, seen, details)
        await self._trail.record(now, event, accounts.forget_failures(seen.account.id, identifier))


def _judge(policy: Mapping[str, Any]) -> None:
    try:
        check_account(policy)
    except PolicyError as error:
        raise Refused(Kind.INVALID, str(error)) from None


def _event(caller: Caller, action: Action, seen: SeenAccount, details: Mapping[str, Any]) -> Event:
    return Event(
        actor=caller.actor,
        action=action,
        resource_type="acme_account",
        resource_id=seen.account.id,
        details={"profile": seen.account.profile_id, **details},
    )
