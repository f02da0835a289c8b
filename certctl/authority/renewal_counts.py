"""How far mass renewals have come. Counting a million certificates takes its time: so counts are kept for a while."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from certctl.acme.mass_renewal import MassRenewal, State

KEPT = 10  # times as long as it took, a count is given out: so a tenth of the time is spent on counting
MOST = 20  # mass renewals of which a count is kept


@attrs.frozen
class Progress:
    """How far a mass renewal has come."""

    states: Mapping[State, int]  # how many certificates are in each
    waiting: Mapping[str, int]  # accounts that have not come with all of theirs, and with how many not
    waits_after: str  # no certificate with this id or one before it waits

    @property
    def total(self) -> int:
        """How many certificates are meant."""
        return sum(self.states.values())


@attrs.frozen
class Count:
    """A progress, and as of when it is so."""

    progress: Progress
    at: datetime
    good_until: float  # in the seconds of the clock


class Counts:
    """The counts of mass renewals. Of each one count is under way at a time, whoever asks and whoever goes."""

    _log = Logger(namespace="certctl")

    def __init__(
        self,
        count: Callable[[MassRenewal], Coroutine[Any, Any, Progress]],
        clock: IReactorTime,
        now: Callable[[], datetime],
    ) -> None:
        self._count = count
        self._clock = clock
        self._now = now
        self._kept: dict[str, Count] = {}
        self._waiting: dict[str, list[Deferred[Count]]] = {}

    def kept(self, renewal: MassRenewal) -> Count | None:
        """The last count, however old it is."""
        return self._kept.get(renewal.id)

    async def get(self, renewal: MassRenewal, patience: float | None = None) -> Count | None:
        """A count that is good still, or a new one; or, if that is not there after so many seconds, the last one.

        None if there is none. Without ``patience`` it is waited for.
        """
        kept = self.kept(renewal)
        if kept is not None and self._clock.seconds() < kept.good_until:
            return kept
        counted: Deferred[Count] = Deferred()
        self._join(renewal, counted)
        if patience is not None and not counted.called:
            _ = counted.addTimeout(patience, self._clock)
        try:
            return await counted
        except TimeoutError:
            return kept

    def _join(self, renewal: MassRenewal, counted: Deferred[Count]) -> None:
        if (waiting := self._waiting.get(renewal.id)) is not None:
            waiting.append(counted)
            return
        self._waiting[renewal.id] = [counted]
        running = Deferred.fromCoroutine(self._counted(renewal))
        _ = running.addBoth(self._tell, renewal.id)

    async def _counted(self, renewal: MassRenewal) -> Count:
        began, at = self._clock.seconds(), self._now()
        progress = await self._count(renewal)
        ended = self._clock.seconds()
        found = Count(progress, at, ended + KEPT * (ended - began))
        self._kept.pop(renewal.id, None)
        self._kept[renewal.id] = found
        while len(self._kept) > MOST:
            del self._kept[next(iter(self._kept))]
        return found

    def _tell(self, result: Count | Failure, renewal_id: str) -> None:
        waiting = [each for each in self._waiting.pop(renewal_id) if not each.called]
        for each in waiting:
            each.callback(result)
        if isinstance(result, Failure) and not waiting:
            self._log.warn("a mass renewal could not be counted: {why}", why=result.getErrorMessage())
