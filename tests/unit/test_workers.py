"""Workers as their parent sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.error import ProcessTerminated
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from certctl.workers import LONGEST_PAUSE, Moment, Seat, Worker


class WorkerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.time = 0.0
        self.worker = Worker(1, lambda: self.time)
        self.ready = self.worker.ready.wait()

    def ends(self, how: Mapping[str, Any]) -> None:
        """Have the process end."""
        self.worker.processEnded(Failure(ProcessTerminated(**how)))

    def test_ready(self) -> None:
        """A worker answers from when it says so to its end; every sign of life is seen."""
        self.time = 5.0
        self.worker.line.told(b"STATUS=READY=1 is not it")
        self.assertEqual((self.worker.answers, self.worker.seen), (False, 5.0))
        self.assertEqual(self.worker.status, "READY=1 is not it")
        self.worker.line.told(b"READY=1\nSTATUS=x")
        self.successResultOf(self.ready)
        self.assertTrue(self.worker.answers)
        self.ends({"signal": 9})
        self.assertFalse(self.worker.answers)
        self.assertEqual(self.worker.how, "by signal 9")

    def test_never_ready(self) -> None:
        """Nobody waits for a worker that has ended."""
        reloaded = self.worker.reload()
        self.ends({"exitCode": 1})
        self.successResultOf(self.ready)
        self.successResultOf(reloaded)
        self.assertEqual((self.worker.answers, self.worker.how), (False, "with status 1"))

    def test_moment(self) -> None:
        """Who comes late is not kept waiting."""
        moment = Moment()
        early = moment.wait()
        self.assertNoResult(early)
        moment.come()
        self.successResultOf(early)
        self.successResultOf(moment.wait())


class SeatTests(SynchronousTestCase):
    def test_pauses(self) -> None:
        """A worker is followed at once, but several that end early, one after the other, after ever longer pauses."""
        seat = Seat(1)
        self.assertEqual([seat.pause(60), seat.pause(60)], [0, 0])
        self.assertEqual([seat.pause(1) for _ in range(5)], [0, 0.5, 1, 2, 4])
        self.assertEqual(max(seat.pause(1) for _ in range(100)), LONGEST_PAUSE)
        self.assertEqual([seat.pause(60), seat.pause(1)], [0, 0])
