"""Work that outlives its request."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from certctl.background import Background


class BackgroundTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.background = Background()
        self.clock = Clock()
        self.told: Deferred[str] = Deferred()
        self.done: list[str] = []

    async def work(self) -> str:
        """Wait to be told, and note that it was done."""
        self.done.append(await self.told)
        return self.done[-1]

    async def failing(self) -> None:
        """Wait to be told, and fail."""
        await self.told
        raise ZeroDivisionError

    async def twice(self) -> str:
        """Wait to be told, meet a failure of what is waited for next, and go on."""
        await self.told
        failing: Deferred[str] = Deferred()
        self.clock.callLater(1, failing.errback, ValueError())
        try:
            await failing
        except ValueError:
            return "done, after a failure"
        return ""

    async def quick(self) -> str:
        """Wait for nothing."""
        return "quick"

    def test_result(self) -> None:
        """Who waits gets the result."""
        waiting = self.background.run(self.work())
        self.assertNoResult(waiting)
        self.assertEqual(len(self.background), 1)
        self.told.callback("done")
        self.assertEqual(self.successResultOf(waiting), "done")
        self.assertEqual(len(self.background), 0)

    def test_result_at_once(self) -> None:
        """Work that waits for nothing is done before anybody could ask."""
        self.assertEqual(self.successResultOf(self.background.run(self.quick())), "quick")
        self.assertEqual(len(self.background), 0)

    def test_run_now(self) -> None:
        """What ends at once is a value; what waits, or fails while it waits, comes later and whole."""
        self.assertEqual(self.background.run_now(self.quick()), "quick")
        waiting, failing = self.background.run_now(self.twice()), self.background.run_now(self.failing())
        assert isinstance(waiting, Deferred) and isinstance(failing, Deferred)
        self.assertNoResult(waiting)
        self.assertEqual(len(self.background), 2)
        self.told.callback("done")
        self.assertNoResult(waiting)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(waiting), "done, after a failure")
        self.failureResultOf(failing, ZeroDivisionError)
        self.assertEqual(len(self.background), 0)

    def test_failure(self) -> None:
        """Who waits gets the failure, and it is his to log."""
        waiting = self.background.run(self.failing())
        self.told.callback("")
        self.failureResultOf(waiting, ZeroDivisionError)

    def test_cancelled(self) -> None:
        """Who goes away does not take the work along."""
        waiting = self.background.run(self.work())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(len(self.background), 1)
        self.told.callback("done")
        self.assertEqual(self.done, ["done"])
        self.assertEqual(len(self.background), 0)

    def test_failure_after_cancelling(self) -> None:
        """What fails after everybody has gone is logged, and not lost."""
        waiting = self.background.run(self.failing())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.told.callback("")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.background), 0)

    def test_started(self) -> None:
        """Work of whose result nobody waits logs its failure."""
        self.background.start(self.failing())
        self.told.callback("")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_drained(self) -> None:
        """Draining ends when the last work has ended, whatever it came to."""
        clock = Clock()
        self.successResultOf(self.background.drained(clock, 20))
        other: Deferred[None] = Deferred()
        waiting = self.background.run(self.failing())
        self.background.start(_wait(other))
        drained = self.background.drained(clock, 20)
        self.told.callback("")
        self.assertNoResult(drained)
        other.callback(None)
        self.successResultOf(drained)
        self.failureResultOf(waiting, ZeroDivisionError)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_drained_too_long(self) -> None:
        """Draining ends when its time is over, and what still runs may end later."""
        clock = Clock()
        waiting = self.background.run(self.work())
        drained = self.background.drained(clock, 20)
        clock.advance(19)
        self.assertNoResult(drained)
        clock.advance(1)
        self.successResultOf(drained)
        self.told.callback("late")
        self.assertEqual(self.successResultOf(waiting), "late")


async def _wait(told: Deferred[None]) -> None:
    await told
