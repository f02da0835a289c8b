"""Workers that have a processor's share each."""

import subprocess
import sys
import time
from pathlib import Path

import attrs
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from benchmarks.measure import usage
from benchmarks.quota import CGROUPS, NoQuotas, quota
from benchmarks.scaling import idle, table
from tests.unit.benchmarks.test_compare import figures


class TableTests(SynchronousTestCase):
    def test_idle(self) -> None:
        """A hundred certificates a second at 4 ms, and 1 ms of the generator, are half of a processor."""
        self.assertEqual(idle(figures(4.0), 2), 150.0)
        self.assertEqual(idle(attrs.evolve(figures(4.0), others_cpu=120.0), 2), 30.0)
        self.assertEqual(idle(figures(40.0), 2), 0.0)

    def test_times_the_first(self) -> None:
        """Each round is held against the same round of the first number; the least idle time is told."""
        one = [figures(4.0), figures(4.0)]
        two = [attrs.evolve(figures(5.0), certificates_per_second=rate) for rate in (160.0, 180.0)]
        lines = list(table({1: one, 2: two}, 2))
        self.assertEqual(lines[2], "| 1 | 100.0 | 1.00 (1.00 to 1.00) | 4.00 | 0.00 | 150 |")
        self.assertEqual(lines[3], "| 2 | 170.0 | 1.70 (1.60 to 1.80) | 5.00 | 0.00 | 92 |")


class QuotaTests(SynchronousTestCase):
    def test_quota(self) -> None:
        """A process that would take all it can get takes its part, until the end; no group is left behind."""
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        self.addCleanup(busy.wait)
        self.addCleanup(busy.kill)
        try:
            with quota([busy.pid], 10):
                self.assertLess(_share(busy.pid), 0.2)
        except NoQuotas as error:
            raise SkipTest(str(error)) from error
        self.assertGreater(_share(busy.pid), 0.2)
        self.assertEqual(list(CGROUPS.rglob(f"*-{busy.pid}")), [])

    def test_no_groups(self) -> None:
        """Where there are no control groups, that is said."""
        with self.assertRaisesRegex(NoQuotas, "control groups"), quota([11], 25, Path(self.mktemp())):
            self.fail("it began")


def _share(pid: int) -> float:
    """The part of a processor that a process takes in half a second."""
    before, began = usage([pid]), time.monotonic()
    time.sleep(0.5)
    used = usage([pid]).since(before)
    return (used.user + used.system) / (time.monotonic() - began)
