"""Who gets a connection."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from certctl.storage.postgres_pool import Pool


class _Wire:
    alive = True
    since = 0.0

    def end(self) -> None:
        """Close."""


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
