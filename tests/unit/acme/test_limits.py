"""Rate limits as values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.limits import Limit

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class LimitTests(SynchronousTestCase):
    def test_interval(self) -> None:
        """A hundred in an hour win one back in 36 seconds."""
        self.assertEqual(Limit(100).interval, timedelta(seconds=36))

    def test_all_at_once(self) -> None:
        """All that a limit allows may come at once, and then one more after an interval."""
        limit, empty_at, spent = Limit(4), NOW, 0
        while limit.wait(empty_at, NOW) <= timedelta(0):
            empty_at += limit.interval
            spent += 1
        self.assertEqual(spent, 4)
        self.assertEqual(limit.wait(empty_at, NOW), timedelta(minutes=15))
        self.assertEqual(limit.wait(empty_at, NOW + timedelta(minutes=15)), timedelta(0))

    def test_one(self) -> None:
        """A limit of one is one in each period."""
        limit = Limit(1)
        self.assertLessEqual(limit.wait(NOW, NOW), timedelta(0))
        self.assertEqual(limit.wait(NOW + limit.interval, NOW), timedelta(hours=1))
