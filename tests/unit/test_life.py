"""Signs of life."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from certctl.life import Life
from certctl.notify import Notifier
from certctl.storage.database import Unavailable

WELL = ["STATUS=answers requests", "WATCHDOG=1"]
AWAY = "STATUS=the database does not answer"


class Reading:
    """Of a database, that it answers, or does not."""

    def __init__(self) -> None:
        self.answer: Deferred[list[object]] | None = None
        self.is_away = False

    async def read(self, query: object) -> list[object]:
        """Answer."""
        if self.is_away:
            raise Unavailable("away")
        return [] if self.answer is None else await self.answer


class LifeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.said: list[str] = []
        self.database: Any = Reading()
        self.clock = Clock()

    def begin(self, within: float | None = 10, *, may_come_back: bool = True) -> Life:
        """A life that has begun, and has been heard of once."""
        notifier = Notifier(lambda text: self.said.append(text.decode()))
        life = Life(notifier, self.database, may_come_back=may_come_back)
        life._showing.clock = self.clock
        life.begin(within)
        self.addCleanup(life.end)
        return life

    def test_twice_within_the_time(self) -> None:
        """It is ready, and heard of twice within the time, until its end."""
        life = self.begin()
        self.assertEqual(self.said, ["READY=1\nSTATUS=answers requests", *WELL])
        self.clock.pump([5, 5])
        self.assertEqual(self.said[3:], [*WELL, *WELL])
        life.end()
        self.clock.advance(60)
        self.assertEqual(len(self.said), 7)

    def test_nobody_watches(self) -> None:
        """Without a watchdog nothing more is said."""
        self.begin(None)
        self.clock.advance(60)
        self.assertEqual(len(self.said), 1)

    def test_database_hangs(self) -> None:
        """A call that does not come back is silence; one that does ends it."""
        self.database.answer = Deferred()
        self.begin()
        self.clock.advance(60)
        self.assertEqual(len(self.said), 1)
        self.database.answer.callback([])
        self.assertEqual(self.said[1:3], WELL)

    def test_database_away(self) -> None:
        """Who may hope for the database lives on; who may not is to be restarted."""
        self.database.is_away = True
        self.begin()
        self.assertEqual(self.said[1:], [AWAY, "WATCHDOG=1"])
        self.said.clear()
        self.begin(may_come_back=False)
        self.assertEqual(self.said[1:], [AWAY])
