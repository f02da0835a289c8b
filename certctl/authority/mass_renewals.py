"""Mass renewals by operators: started, watched, cancelled, and finished by revoking who has not come."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from certctl.acme import ids
from certctl.acme.mass_renewal import MassRenewal, Outcome, State
from certctl.authority.operators import Caller, Kind, Refused, absent
from certctl.authority.renewal_counts import Count, Counts, Progress
from certctl.authority.trail import Action, Event, Trail
from certctl.authority.withdrawal import BATCH, Withdrawal
from certctl.storage import mass_renewals
from certctl.storage.database import Conflict, Database
from certctl.storage.search import renewals as search
from certctl.storage.search.renewals import Member, Tally

PAGE = 1000  # certificates that are looked at in one query, so that nobody waits long meanwhile
LOOKS = 5  # such pages for one part of a list, which then ends early and says where it goes on
LONGEST = timedelta(days=366)  # until a mass renewal is due


@attrs.frozen
class Preview:
    """What a mass renewal would do."""

    certificates: int
    accounts: int
    warnings: Sequence[str]


class MassRenewals:
    """The use cases of operators who have many certificates renewed."""

    def __init__(
        self,
        database: Database,
        trail: Trail,
        withdrawal: Withdrawal,
        reactor: Any,
        poll_interval: timedelta,
    ) -> None:
        self._database = database
        self._trail = trail
        self._withdrawal = withdrawal
        self._clock: IReactorTime = reactor
        self._poll_interval = poll_interval
        self._counts = Counts(self.progress, self._clock, trail.now)

    def plan(self, caller: Caller, wanted: Mapping[str, Any]) -> MassRenewal:
        """A mass renewal that begins now; raises Refused for one that makes no sense. ``wanted`` are its members."""
        now = self._trail.now()
        chosen = ("profile_id", "issuer_id", "account_id", "serials", "issued_before")
        if not any(wanted.get(each) for each in chosen):
            raise Refused(
                Kind.INVALID, f"an empty choice would mean every certificate: name one of {', '.join(chosen)}"
            )
        if not now < wanted["due_at"] <= now + LONGEST:
            raise Refused(
                Kind.INVALID, f"due_at: must lie in the future, and {LONGEST.days} days away at most"
            )
        return MassRenewal(
            id=ids.new(ids.MASS_RENEWAL, now),
            created_by=caller.actor,
            starts_at=now,
            **{**wanted, "issued_before": min(wanted.get("issued_before") or now, now)},
        )

    async def preview(self, renewal: MassRenewal) -> Preview:
        """Whom a mass renewal would ask to come."""
        found = await self.progress(renewal)
        told = []
        left = renewal.due_at - renewal.starts_at
        if left < self._poll_interval:
            told.append(
                f"clients ask every {_span(self._poll_interval)} (CERTCTL_ACME_SERVER_ARI_POLL_INTERVAL), and all"
                f" are to come within {_span(left)}: some will be told too late"
            )
        return Preview(found.states[State.WAITING], len(found.waiting), told)

    async def start(self, caller: Caller, renewal: MassRenewal) -> MassRenewal:
        """Have clients renew; raises Refused if no certificate is meant."""
        found = await self.preview(renewal)
        if not found.certificates:
            raise Refused(Kind.CONFLICT, "there is no such certificate that could be renewed")
        details = {**_asked(renewal), "certificates": found.certificates, "accounts": found.accounts}
        event = _event(caller, Action.MASS_RENEWAL_STARTED, renewal, details)
        await self._trail.record(self._trail.now(), event, mass_renewals.insert(renewal))
        return renewal

    async def get(self, renewal_id: str) -> MassRenewal:
        """The mass renewal of that id; raises Refused."""
        found = await self._database.read(mass_renewals.by_id(renewal_id))
        if found is None:
            raise absent("mass renewal", renewal_id)
        return found

    async def cancel(self, caller: Caller, renewal_id: str) -> MassRenewal:
        """Let windows be where they were; who has come has come. Raises Refused."""
        renewal = await self.get(renewal_id)
        return await self._end(caller, renewal, Outcome.CANCELLED, Action.MASS_RENEWAL_CANCELLED, {})

    async def finish(
        self, caller: Caller, renewal: MassRenewal, revoking: Sequence[State], reason: str
    ) -> tuple[MassRenewal, int]:
        """End a mass renewal, revoking the certificates in these states; return it, and how many were revoked.

        If this is interrupted, the renewal goes on, and finishing it again revokes the rest. Raises Refused.
        """
        self.judge_finish(renewal, revoking)
        revoked = 0
        for part in search.parts(renewal) if revoking else ():
            after: str | None = ""
            while after is not None:
                batch, after = await self._look(renewal, part, tuple(revoking), after, BATCH)
                more = {"mass_renewal": renewal.id}
                revoked += await self._withdrawal.revoke_some(caller, batch, reason, more)
        details = {"revoking": list(revoking), "revoked": revoked, **({"reason": reason} if revoking else {})}
        ended = await self._end(caller, renewal, Outcome.FINISHED, Action.MASS_RENEWAL_FINISHED, details)
        return ended, revoked

    def judge_finish(self, renewal: MassRenewal, revoking: Sequence[State]) -> None:
        """Raise Refused if a mass renewal cannot be finished so."""
        if renewal.ended_at is not None:
            raise _ended(renewal)
        if renewal.drill and revoking:
            raise Refused(Kind.CONFLICT, f"{renewal.id} is a drill: at its end nothing is revoked")

    async def progress(self, renewal: MassRenewal) -> Progress:
        """How many certificates have come and how many have not, of which accounts; all are looked at."""
        states: Counter[State] = Counter()
        waiting: Counter[str] = Counter()
        waits_after, is_waited_for = "", False
        async for page in self._walk(renewal):
            for each in page:
                states[each.state] += each.count
                if each.state is State.WAITING:
                    waiting[each.account_id] += each.count
            is_waited_for = is_waited_for or bool(waiting) or bool(renewal.serials)
            waits_after = waits_after if is_waited_for else max(each.last for each in page)
        return Progress({state: states[state] for state in State}, waiting, waits_after)

    async def lately(self, renewal: MassRenewal, patience: float | None = None) -> Count | None:
        """How far a mass renewal has come, as it was counted not long ago; see ``Counts.get``."""
        return await self._counts.get(renewal, patience)

    async def members(
        self, renewal: MassRenewal, state: State, after: str, limit: int
    ) -> tuple[list[Member], str | None]:
        """So many certificates behind an id that are in that state, in the order of their ids; and the id behind which
        there may be more.

        There may be fewer, and yet more behind them: not everything is looked at in one call.
        """
        if state is State.WAITING and (count := self._counts.kept(renewal)) is not None:
            after = max(after, count.progress.waits_after)
        found: list[Member] = []
        behind: str | None = None
        for part in search.parts(renewal):
            some, behind = await self._look(renewal, part, (state,), after, limit + 1, LOOKS)
            found += some
        found.sort(key=lambda each: each.id)
        return found[:limit], found[limit - 1].id if len(found) > limit else behind

    async def _look(
        self,
        renewal: MassRenewal,
        part: tuple[str, ...],
        states: tuple[State, ...],
        after: str,
        limit: int,
        looks: int | None = None,
    ) -> tuple[list[Member], str | None]:
        """So many certificates in these states, and the id behind which there may be more; page by page."""
        now, found = self._as_of(renewal), list[Member]()
        while True:
            behind = await self._database.read(search.end_of_page(renewal, part, after, PAGE))
            looked = search.members(renewal, part, states, now, (after, behind), limit - len(found))
            some = await self._database.read(looked)
            found += some
            if len(found) >= limit:
                return found, found[-1].id
            if looks is not None:
                looks -= 1
            if behind is None or looks == 0:
                return found, behind
            after = behind
            await deferLater(self._clock, 0)

    async def _walk(self, renewal: MassRenewal) -> AsyncIterator[list[Tally]]:
        """All that is meant, counted page by page, with a pause after each."""
        now = self._as_of(renewal)
        for part in search.parts(renewal):
            after = ""
            while page := await self._database.read(search.tally(renewal, part, now, after, PAGE)):
                yield page
                if sum(each.count for each in page) < PAGE:
                    break
                after = max(each.last for each in page)
                await deferLater(self._clock, 0)

    def _as_of(self, renewal: MassRenewal) -> datetime:
        """As of when certificates have expired: what expires after the end of the renewal was waiting then."""
        return renewal.ended_at or self._trail.now()

    async def _end(
        self,
        caller: Caller,
        renewal: MassRenewal,
        outcome: Outcome,
        action: Action,
        details: Mapping[str, Any],
    ) -> MassRenewal:
        now = self._trail.now()
        event = _event(caller, action, renewal, {"name": renewal.name, **details})
        try:
            await self._trail.record(now, event, mass_renewals.end(renewal.id, outcome, now))
        except Conflict:
            raise _ended(await self.get(renewal.id)) from None
        return attrs.evolve(renewal, ended_at=now, outcome=outcome)


def _ended(renewal: MassRenewal) -> Refused:
    return Refused(Kind.CONFLICT, f"mass renewal {renewal.id} has ended: {renewal.outcome}")


def _asked(renewal: MassRenewal) -> dict[str, Any]:
    """What an operator asked for, as the trail shows it."""
    plain = {
        name: getattr(renewal, name)
        for name in (
            "name",
            "drill",
            "profile_id",
            "issuer_id",
            "account_id",
            "explanation",
            "explanation_url",
        )
    }
    given = {name: value for name, value in plain.items() if value is not None}
    times = {name: getattr(renewal, name).isoformat() for name in ("issued_before", "due_at")}
    return {**given, "serials": len(renewal.serials), **times}


def _event(caller: Caller, action: Action, renewal: MassRenewal, details: Mapping[str, Any]) -> Event:
    return Event(
        actor=caller.actor,
        action=action,
        resource_type="mass_renewal",
        resource_id=renewal.id,
        details=details,
    )


def _span(length: timedelta) -> str:
    minutes = max(1, round(length.total_seconds() / 60))
    return f"{minutes} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"
