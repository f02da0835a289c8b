"""Connections to PostgreSQL: opened as they are needed, replaced when they die, and never waited for without end.

A connection has one query at a time under way. One that dies while it is idle is noticed by the reactor, and dropped;
one that dies, or says something unexpected, with a query under way is dropped after it. Whoever needs a connection
when there is none waits for a few seconds, in which the pool tries again and again to open one: a restart of the
server, or a failover, costs the queries that were under way and lets the others wait.

A session of PostgreSQL that has just answered takes less for the next query than another one, which has to be woken and
has caches of its own. So where answers come fast, who comes while a connection is busy waits for that one, unless many
do already, and takes another one if that turns out to last.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from certctl.storage.database import T, Unavailable
from certctl.storage.postgres_sql import Command
from certctl.storage.postgres_wire import STATEMENT_TIMEOUT, Wire, hosts, line

OVERDUE = STATEMENT_TIMEOUT + 5  # seconds after which a server that says nothing is given up
CONNECT_TIMEOUT = 5  # seconds for each host
PATIENCE = 5  # seconds that a request waits for a connection
PAUSES = (0.1, 0.2, 0.5, 1.0)  # seconds between attempts to connect; the last one for ever
TICK = 0.5  # seconds between looks at who has waited for too long
NEAR = 0.0008  # seconds of a round trip at most, for a database whose busy connections others wait for
SOON = 0.005  # seconds in which who waits for one is likely to have it
HURRY = 0.025  # seconds after which, or twice as many, whoever waits for a busy connection takes another one


@attrs.define(eq=False)
class _Waiting:
    """Somebody who needs a connection."""

    since: float
    quick: bool  # whether others wait for the connection meanwhile
    wire: Deferred[Wire]


@attrs.define(eq=False)
class _Trip:
    """The shortest time that a query took of late: longer ones are the reactor's doing as much as the database's."""

    before: float = math.inf  # seconds, until the last tick
    shortest: float = math.inf  # since then

    def note(self, seconds: float) -> None:
        """A query took so long."""
        if 0 < seconds < self.shortest:
            self.shortest = seconds

    def tick(self) -> None:
        """Forget what was before the last tick, if there was anything since."""
        if self.shortest < math.inf:
            self.before, self.shortest = self.shortest, math.inf

    def room(self) -> int:
        """How many may wait for one busy connection; nobody where the database is far, or if that is not known."""
        least = min(self.before, self.shortest)
        return int(SOON / least) if least <= NEAR else 0


class Pool:
    """The connections of one process."""

    _log = Logger(namespace="certctl")

    def __init__(self, url: str, reactor: Any, size: int, welcome: Callable[[Wire], Awaitable[None]]) -> None:
        """``welcome`` is what is asked on each new connection before it serves."""
        self._hosts = hosts(url)
        self._reactor = reactor
        self._size = size
        self._welcome = welcome
        self._idle: list[Wire] = []  # used last, used first: the others may rest
        self._busy: dict[Wire, bool] = {}  # and whether others wait for it
        self._free: list[Wire] = []  # about to be handed over
        self._is_handing = False
        self._trip = _Trip()
        self._hurry: IDelayedCall | None = None
        self._waiting: deque[_Waiting] = deque()
        self._opening = 0
        self._failures = 0
        self._pause: IDelayedCall | None = None
        self._trouble = "there is no connection"
        self._empty: Deferred[None] | None = None
        self._closed = False
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = reactor
        _ = self._ticking.start(TICK, now=False)

    async def run(
        self,
        commands: Sequence[tuple[Command, Sequence[Any]]],
        taken: Callable[[Any], T],
        *,
        quick: bool = True,
    ) -> T:
        """Run commands as one transaction in one round trip; return what is taken of what the last one found.

        Nobody waits for the connection if it may take long, which is not ``quick``.
        """
        wire = await self._take(quick)
        try:
            return taken(await wire.run(commands))
        finally:
            self._give_back(wire)

    async def use(self, work: Callable[[Wire], Awaitable[T]], *, quick: bool = True) -> T:
        """Do work with a connection, for which nobody waits if it is not ``quick``."""
        wire = await self._take(quick)
        try:
            return await work(wire)
        finally:
            self._give_back(wire)

    def adopt(self, wire: Wire) -> None:
        """Let a connection that ``connect`` returned serve all."""
        self._offer(wire)

    async def connect(self) -> Wire:
        """Open a connection that is the caller's, to whichever host takes it first; raise Unavailable with why not."""
        trouble = []
        for parameters in self._hosts:
            wire = Wire(self._reactor, self._gone)
            late = self._reactor.callLater(CONNECT_TIMEOUT, wire.end)
            try:
                await wire.open(parameters)
                return wire
            except Exception as error:
                trouble.append(line(error))
                wire.end()
            finally:
                if late.active():
                    late.cancel()
        raise Unavailable("; ".join(trouble))

    async def close(self) -> None:
        """Let what is under way end, and close all connections."""
        self._closed = True
        self._refuse(self._waiting, "the database is closed")
        if self._busy or self._opening:
            self._empty = Deferred()
            await self._empty
        for wire in list(self._idle):
            wire.end()
        for call in (self._pause, self._hurry):
            if call is not None and call.active():
                call.cancel()
        if self._ticking.running:
            self._ticking.stop()

    async def _take(self, quick: bool) -> Wire:
        if self._closed:
            raise Unavailable("the database is closed")
        if self._idle and not (quick and any(self._busy.values())):
            wire = self._idle.pop()
            self._busy[wire] = quick
            return wire
        waiting = _Waiting(self._reactor.seconds(), quick, Deferred())
        self._waiting.append(waiting)
        self._spread(self._missing() if quick else 1)
        return await waiting.wire

    def _give_back(self, wire: Wire) -> None:
        del self._busy[wire]
        if wire.alive:
            self._trip.note(self._reactor.seconds() - wire.since)
            self._offer(wire)
        else:
            self._spread(self._missing())
        self._settle()

    def _offer(self, wire: Wire) -> None:
        """Hand a free connection to who has waited longest, or keep it.

        Who gets one may be done with it at once, and offers it from within: one after the other is served here then,
        or a hundred who wait would be as many calls deep.
        """
        self._free.append(wire)
        if self._is_handing:
            return
        self._is_handing = True
        try:
            while self._free:
                free = self._free.pop()
                if self._waiting:
                    first = self._waiting.popleft()
                    self._busy[free] = first.quick
                    first.wire.callback(free)
                else:
                    self._idle.append(free)
        finally:
            self._is_handing = False

    def _missing(self) -> int:
        """How many connections more it takes until all who wait have room to."""
        room = self._trip.room()
        return math.ceil((len(self._waiting) - room * sum(self._busy.values())) / (1 + room))

    def _spread(self, count: int) -> None:
        """Let so many of those who wait longest have connections that are idle, or will have been opened."""
        # Who is handed one may be done with it at once, and take others.
        while count > 0 and self._idle and self._waiting:
            self._offer(self._idle.pop())
            count -= 1
        self._grow(count)
        if self._waiting and self._hurry is None and not self._closed:
            self._hurry = self._reactor.callLater(HURRY, self._hasten)

    def _hasten(self) -> None:
        """Spread those who have waited for long."""
        self._hurry = None
        since = self._reactor.seconds() - HURRY
        self._spread(sum(each.since <= since for each in self._waiting))

    def _gone(self, wire: Wire) -> None:
        if wire in self._idle:
            self._idle.remove(wire)

    def _grow(self, count: int) -> None:
        """Open so many connections, as far as they are allowed; one alone while the database does not answer."""
        wanted = min(count, 1 if self._failures else self._size)
        while not self._closed and self._pause is None and self._opening < wanted:
            if len(self._idle) + len(self._free) + len(self._busy) + self._opening >= self._size:
                return
            self._opening += 1
            _ = Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        try:
            wire = await self._welcomed()
        except Exception as error:
            self._opening -= 1
            self._failed(line(error))
        else:
            self._opening -= 1
            if self._failures:
                self._log.info("the database answers again")
            self._failures = 0
            self._offer(wire)
            self._spread(self._missing())
        self._settle()

    async def _welcomed(self) -> Wire:
        wire = await self.connect()
        try:
            await self._welcome(wire)
        except BaseException:
            wire.end()
            raise
        return wire

    def _failed(self, trouble: str) -> None:
        if not self._failures:
            self._log.warn("the database cannot be reached: {trouble}", trouble=trouble)
        self._trouble = f"the database cannot be reached: {trouble}"
        pause = PAUSES[min(self._failures, len(PAUSES) - 1)]
        self._failures += 1
        if self._pause is None and not self._closed:
            self._pause = self._reactor.callLater(pause, self._again)

    def _again(self) -> None:
        self._pause = None
        self._spread(self._missing())

    def _settle(self) -> None:
        if self._empty is not None and not self._busy and not self._opening:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def _tick(self) -> None:
        """Give up what has taken too long: those who wait, and servers that say nothing."""
        now = self._reactor.seconds()
        self._trip.tick()
        late = [each for each in self._waiting if each.since + PATIENCE <= now]
        for each in late:
            self._waiting.remove(each)
        why = self._trouble if self._failures else f"all {self._size} connections are busy"
        self._refuse(deque(late), why)
        for wire in [each for each in self._busy if each.since + OVERDUE <= now]:
            wire.end()

    def _refuse(self, waiting: deque[_Waiting], why: str) -> None:
        while waiting:
            waiting.popleft().wire.errback(Unavailable(why))
