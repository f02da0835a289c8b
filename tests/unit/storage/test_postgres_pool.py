"""Who gets a connection."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from certctl.storage.database import Unavailable
from certctl.storage.postgres_pool import HURRY, NEAR, SOON, TICK, Pool

TRIP = SOON / 10  # seconds of a query to a database that is near


class _Wire:
    alive = True
    since = 0.0

    def end(self) -> None:
        """Close."""


class _Clocked(_Wire):
    """One whose queries end when they are told to."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.asked: list[Deferred[None]] = []
        self._clock = clock

    async def run(self, commands: Any) -> None:
        """Have a query under way."""
        self.since = self._clock.seconds()
        self.asked.append(Deferred())
        await self.asked[-1]

    @property
    def under_way(self) -> int:
        """How many queries have not ended: one at most."""
        return sum(not each.called for each in self.asked)


async def _welcome(wire: Any) -> None:
    pass


class HandingTests(SynchronousTestCase):
    def test_many_who_are_done_at_once(self) -> None:
        """A thousand who wait for one connection, and need it for no time, are served one after the other, in order."""
        pool = Pool("postgresql://nowhere.invalid/x", Clock(), 1, _welcome)
        pool.adopt(_Wire())  # type: ignore[arg-type]
        first: Deferred[None] = Deferred()
        served: list[int] = []

        async def hold(wire: Any) -> None:
            await first

        async def note(number: int) -> None:
            async def work(wire: Any) -> None:
                served.append(number)

            await pool.use(work)

        holding = Deferred.fromCoroutine(pool.use(hold))
        waiting = [Deferred.fromCoroutine(note(number)) for number in range(1000)]
        self.assertEqual(served, [])
        closing = Deferred.fromCoroutine(self._closed_after(pool, waiting[-1]))
        first.callback(None)
        for each in (holding, *waiting, closing):
            self.successResultOf(each)
        self.assertEqual(served, list(range(1000)))

    async def _closed_after(self, pool: Pool, last: Deferred[None]) -> None:
        await last
        await pool.close()


class SharingTests(SynchronousTestCase):
    """Who waits for a connection that is busy although others are idle."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pool = Pool("postgresql://nowhere.invalid/x", self.clock, 3, _welcome)
        self.wires = [_Clocked(name, self.clock) for name in "abc"]
        for wire in self.wires:
            self.pool.adopt(wire)  # type: ignore[arg-type]

    def ask(self, count: int = 1, *, quick: bool = True) -> list[Deferred[None]]:
        """Run queries."""
        asking = (self.pool.run([], lambda cursor: None, quick=quick) for _ in range(count))
        return [Deferred.fromCoroutine(each) for each in asking]

    def answer(self, after: float) -> None:
        """Let all queries that are under way end."""
        self.clock.advance(after)
        for each in [wire.asked[-1] for wire in self.wires if wire.under_way]:
            each.callback(None)

    def learn(self, trip: float) -> None:
        """Let the pool know how long a query takes."""
        (asked,) = self.ask()
        self.answer(trip)
        self.successResultOf(asked)

    def under_way(self) -> int:
        """How many connections are busy."""
        for wire in self.wires:
            self.assertLessEqual(wire.under_way, 1)
        return sum(wire.under_way for wire in self.wires)

    def test_quick(self) -> None:
        """As many as are likely to have it within SOON wait for the one that is busy, and are served in order."""
        self.learn(TRIP)
        asked = self.ask(11)
        self.assertEqual(self.under_way(), 1)
        for number in range(11):
            self.answer(TRIP)
            self.assertEqual([each.called for each in asked].count(True), number + 1)
        self.assertEqual(len([wire for wire in self.wires if wire.asked]), 1)

    def test_crowd(self) -> None:
        """Whoever would wait for longer has another one."""
        self.learn(TRIP)
        asked = self.ask(12)
        self.assertEqual(self.under_way(), 2)
        for _ in range(6):
            self.answer(TRIP)
        self.assertEqual([each.called for each in asked], [True] * 12)

    def test_far_away(self) -> None:
        """Nobody waits for a connection to a database whose answers take long."""
        self.learn(NEAR * 1.1)
        for number in (1, 2, 3):
            self.ask()
            self.assertEqual(self.under_way(), number)

    def test_first_queries(self) -> None:
        """Nor while nothing is known of it."""
        for number in (1, 2, 3):
            self.ask()
            self.assertEqual(self.under_way(), number)

    def test_slower_than_before(self) -> None:
        """What was quick is forgotten a second after it, as soon as it is known to be slow."""
        self.learn(TRIP)
        for _ in range(3):
            self.clock.advance(TICK)
        self.ask(2)
        self.assertEqual(self.under_way(), 1)
        self.answer(NEAR * 2)
        self.answer(NEAR * 2)
        for _ in range(2):
            self.learn(NEAR * 2)
            self.clock.advance(TICK)
        self.ask(2)
        self.assertEqual(self.under_way(), 2)

    def test_turns_out_slow(self) -> None:
        """A query that is not quick after all is left alone by those who waited for it."""
        self.learn(TRIP)
        slow, other = self.ask(2)
        self.clock.advance(HURRY / 2)
        self.assertEqual(self.under_way(), 1)
        self.clock.advance(HURRY / 2)
        self.assertEqual(self.under_way(), 2)
        (later,) = self.ask()
        self.clock.advance(HURRY / 2)
        self.assertEqual(self.under_way(), 2)
        self.clock.advance(HURRY)
        self.assertEqual(self.under_way(), 3)
        self.answer(0)
        self.assertEqual([each.called for each in (slow, other, later)], [True] * 3)

    def test_known_to_be_slow(self) -> None:
        """Nobody waits for a query of which it is known before that it may take long, nor does that wait for others."""
        self.learn(TRIP)
        for number in (1, 2):
            self.ask(quick=False)
            self.assertEqual(self.under_way(), number)
        self.ask()
        self.assertEqual(self.under_way(), 3)

    def test_more_at_once(self) -> None:
        """Who is handed a connection may at once take another, which was meant for the next in the row."""
        self.learn(TRIP)
        asked = self.ask()

        async def take_more(wire: Any) -> None:
            asked.extend(self.ask(quick=False))

        more = [Deferred.fromCoroutine(self.pool.use(take_more)) for _ in range(2)]
        self.clock.advance(HURRY)
        for _ in range(3):
            self.answer(TRIP)
        for each in (*asked, *more):
            self.successResultOf(each)
        self.assertEqual(len(asked), 3)

    def test_dies(self) -> None:
        """Those who waited for a connection that dies have another one."""
        self.learn(TRIP)
        lost, other = self.ask(2)
        (busy,) = [wire for wire in self.wires if wire.under_way]
        busy.alive = False
        busy.asked[-1].errback(ValueError("gone"))
        self.failureResultOf(lost, ValueError)
        self.assertEqual(self.under_way(), 1)
        self.answer(0)
        self.successResultOf(other)

    def test_closed(self) -> None:
        """Nothing is left to be done later once the pool is closed."""
        self.learn(TRIP)
        asked = self.ask(2)
        closing = Deferred.fromCoroutine(self.pool.close())
        self.failureResultOf(asked[1], Unavailable)
        self.assertNoResult(closing)
        self.answer(0)
        self.successResultOf(closing)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class _Hasty(_Clocked):
    """One whose answers sometimes are there as soon as it is asked, as where a process was paused in between."""

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        super().__init__("hasty", clock)
        self._chance = chance

    async def run(self, commands: Any) -> None:
        """Have a query under way, or none."""
        if self._chance.random() < 0.5:
            await super().run(commands)


class _Growing(Pool):
    """A pool that opens connections to nowhere, one or another of which does not come about."""

    def __init__(self, clock: Clock, size: int, chance: random.Random) -> None:
        super().__init__("postgresql://nowhere.invalid/x", clock, size, _welcome)
        self.wires: list[_Hasty] = []
        self._clock = clock
        self._chance = chance

    async def connect(self) -> Any:
        """Open one."""
        if self._chance.random() < 0.1:
            raise Unavailable("there is no connection")
        self.wires.append(_Hasty(self._clock, self._chance))
        return self.wires[-1]


class AllTests(SynchronousTestCase):
    def test_whatever_happens(self) -> None:
        """However queries come, end and die, one is under way on a connection at a time, and all come to an end."""
        for seed in range(100):
            self.play(random.Random(seed))

    def play(self, chance: random.Random) -> None:
        """Let things happen at random for a while, then let all end."""
        clock, size = Clock(), chance.choice((1, 2, 3, 5))
        pool, asked = _Growing(clock, size, chance), []

        async def ask(more: int) -> None:
            await pool.run([], lambda cursor: None, quick=chance.random() < 0.6)
            for _ in range(more):  # begun at once, from within the end of the one before
                asked.append(Deferred.fromCoroutine(ask(0)))

        for _ in range(150):
            for _ in range(chance.choice((0, 0, 1, 2, 7))):
                asked.append(Deferred.fromCoroutine(ask(chance.choice((0, 0, 1, 3)))))
            clock.advance(chance.choice((TRIP / 4, TRIP, NEAR * 2, HURRY)))
            self.end_some(pool, chance)
            self.assertLessEqual(sum(wire.alive for wire in pool.wires), size)
        while not all(each.called for each in asked) and clock.seconds() < 60:
            clock.advance(TICK / 10)
            self.end_some(pool, chance)
        for each in asked:
            _ = each.addErrback(
                lambda failure: self.assertTrue(failure.check(Unavailable, ValueError), failure)
            )
            self.successResultOf(each)
        self.successResultOf(Deferred.fromCoroutine(pool.close()))
        self.assertEqual(clock.getDelayedCalls(), [])

    def end_some(self, pool: _Growing, chance: random.Random) -> None:
        """Let most of the queries that are under way end, a few with their connection."""
        for wire in [each for each in pool.wires if each.under_way]:
            self.assertEqual(wire.under_way, 1)
            if (fate := chance.random()) < 0.05:
                wire.alive = False
                wire.asked[-1].errback(ValueError("gone"))
            elif fate < 0.5:
                wire.asked[-1].callback(None)
