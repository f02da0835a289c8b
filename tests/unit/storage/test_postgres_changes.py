"""Which changes are made together, and what becomes of each if one of them cannot be made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg2
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from certctl.storage.database import Unavailable
from certctl.storage.postgres_changes import APART, COMPANY, MOST, SHORT, Change, Changes
from certctl.storage.postgres_sql import command

_UPDATE = command("UPDATE orders SET status = ? WHERE id = ?")


def change(name: str, more: int = 1) -> Change:
    """One that names so much."""
    return [(_UPDATE, (name, *range(more)))]


class _Wire:
    """One whose queries end when they are told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], Deferred[None]]] = []

    async def run(self, commands: Sequence[tuple[Any, Sequence[Any]]]) -> None:
        """Have a query under way."""
        done: Deferred[None] = Deferred()
        self.asked.append(([parameters[0] for _, parameters in commands], done))
        await done


class _Pool:
    """One that has a connection for whoever waits when it is told so."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[_Wire]] = []

    async def use(self, work: Callable[[_Wire], Awaitable[Any]], *, quick: bool) -> Any:
        """Do work with a connection, for which nobody is to wait."""
        assert not quick
        self.waiting.append(Deferred())
        return await work(await self.waiting[-1])


class _Passing(Clock):
    """A clock that leaves what is asked for at once to its next pass, as reactors do."""

    def advance(self, amount: float) -> None:
        """Make a pass so many seconds later."""
        self.rightNow += amount
        for call in [each for each in self.calls if each.getTime() <= self.rightNow]:
            self.calls.remove(call)
            call.called = True
            call.func(*call.args, **call.kw)


class ChangesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool, self.wire, self.clock = _Pool(), _Wire(), _Passing()
        self.changes = Changes(self.pool, self.clock)  # type: ignore[arg-type]

    def make(self, *changes: Change) -> list[Deferred[None]]:
        """Make changes at once."""
        return [Deferred.fromCoroutine(self.changes.make(each)) for each in changes]

    def connect(self) -> None:
        """Let those who wait have a connection."""
        waiting, self.pool.waiting = self.pool.waiting, []
        for each in waiting:
            each.callback(self.wire)

    def sent(self) -> list[list[str]]:
        """What the queries name, in their order."""
        return [names for names, _ in self.wire.asked]

    def end(self, error: Exception | None = None, number: int = -1) -> None:
        """Let a query end, the last one if none is named."""
        done = self.wire.asked[number][1]
        if error is None:
            done.callback(None)
        else:
            done.errback(error)

    def test_together(self) -> None:
        """What comes before there is a connection is one transaction, in the order of what it names."""
        made = self.make(change("b"), change("c"), change("a"))
        self.assertEqual(len(self.pool.waiting), 1)
        self.connect()
        self.assertEqual(self.sent(), [["a", "b", "c"]])
        for each in made:
            self.assertNoResult(each)
        self.end()
        for each in made:
            self.successResultOf(each)

    def test_under_way(self) -> None:
        """What comes while a change is under way is made when that has ended, and is one transaction."""
        first = self.make(change("a"))
        self.connect()
        later = self.make(change("c"), change("b"))
        self.assertEqual(self.pool.waiting, [])
        self.end()
        self.successResultOf(first[0])
        self.connect()
        self.assertEqual(self.sent(), [["a"], ["b", "c"]])
        self.end()
        for each in later:
            self.successResultOf(each)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_under_way_for_long(self) -> None:
        """It is made beside one that takes longer, once the reactor has looked whether that has ended."""
        _ = self.make(change("a"))
        self.connect()
        _ = self.make(change("b"), change("c"))
        self.clock.advance(COMPANY)
        self.assertEqual(self.pool.waiting, [])
        self.clock.advance(0)
        self.connect()
        self.assertEqual(self.sent(), [["a"], ["b", "c"]])
        _ = self.make(change("d"))
        self.end(number=0)
        self.connect()
        self.assertEqual(self.sent(), [["a"], ["b", "c"], ["d"]])

    def test_most(self) -> None:
        """So many are made together, at once; those beyond are gathered anew."""
        _ = self.make(change("first"))
        self.connect()
        _ = self.make(*(change(f"{number:02}") for number in range(MOST + 3)))
        self.connect()
        self.assertEqual([len(each) for each in self.sent()], [1, MOST])
        self.end()
        self.connect()
        self.assertEqual([len(each) for each in self.sent()], [1, MOST, 3])

    def test_long(self) -> None:
        """A change of many parameters is made by itself."""
        _ = self.make(change("a"), change("long", SHORT), change("b"))
        self.connect()
        self.assertEqual(self.sent(), [["a", "b"], ["long"]])

    def test_one_cannot_be_made(self) -> None:
        """Each is made by itself then, and fails or not."""
        made = self.make(change("a"), change("b"), change("c"))
        self.connect()
        self.end(psycopg2.IntegrityError("b is against the rules"))
        for number, name in enumerate(("b", "c", "a")):  # who led goes last
            self.pool.waiting[number].callback(self.wire)
            self.assertEqual(self.sent()[-1], [name])
            self.end(psycopg2.IntegrityError("b is against the rules") if name == "b" else None)
        self.successResultOf(made[0])
        self.failureResultOf(made[1], psycopg2.IntegrityError)
        self.successResultOf(made[2])

    def test_apart(self) -> None:
        """After that changes go by themselves for a while, so that many refusals do not hold up what is none."""
        _ = self.make(change("a"), change("b"))
        self.connect()
        self.end(psycopg2.IntegrityError("b is against the rules"))
        self.pool.waiting.clear()
        _ = self.make(change("c"), change("d"))
        self.connect()
        self.assertEqual(self.sent(), [["a", "b"], ["c"], ["d"]])
        self.clock.advance(APART)
        _ = self.make(change("e"), change("f"))
        self.connect()
        self.assertEqual(self.sent()[3:], [["e", "f"]])

    def test_one_alone_cannot_be_made(self) -> None:
        """It is not tried again."""
        made = self.make(change("a"))
        self.connect()
        self.end(psycopg2.IntegrityError("it is against the rules"))
        self.failureResultOf(made[0], psycopg2.IntegrityError)
        self.assertEqual(self.sent(), [["a"]])

    def test_in_doubt(self) -> None:
        """Where nobody knows whether the COMMIT arrived, all are told so, and none is made again."""
        made = self.make(change("a"), change("b"))
        self.connect()
        self.end(Unavailable("the connection was lost"))
        for each in made:
            self.failureResultOf(each, Unavailable)
        self.assertEqual((self.sent(), self.pool.waiting), ([["a", "b"]], []))

    def test_no_connection(self) -> None:
        """Where there is no connection, all are told so; the next change waits for another."""
        made = self.make(change("a"), change("b"))
        self.pool.waiting.pop().errback(Unavailable("there is no connection"))
        for each in made:
            self.failureResultOf(each, Unavailable)
        later = self.make(change("c"))
        self.connect()
        self.end()
        self.successResultOf(later[0])
