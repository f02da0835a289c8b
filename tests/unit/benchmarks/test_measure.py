"""Percentiles and what is read from /proc, by value."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.measure import (
    TICKS,
    Latency,
    Usage,
    busy,
    busy_of_stat,
    cpu_of_stat,
    descendants,
    peak_memory_of_status,
    percentile,
    usage,
)

STAT = "{pid} ({name}) S 1 42 42 0 -1 4194560 9 8 7 6 {utime} {stime} {cutime} {cstime} 20 0 3 0 99 1 2 3\n"


class PercentileTests(SynchronousTestCase):
    """Nearest rank: a percentile is always a value that was measured."""

    def test_hundred_values_each_percent_is_one_value(self) -> None:
        values = [float(each) for each in range(1, 101)]
        self.assertEqual(
            [percentile(values, p) for p in (1, 50, 90, 99, 100)], [1.0, 50.0, 90.0, 99.0, 100.0]
        )

    def test_between_two_values_the_greater_counts(self) -> None:
        self.assertEqual(percentile([1.0, 2.0, 3.0], 50), 2.0)
        self.assertEqual(percentile([1.0, 2.0, 3.0], 67), 3.0)

    def test_single_value_is_every_percentile(self) -> None:
        self.assertEqual({percentile([7.0], p) for p in (0, 1, 50, 99, 100)}, {7.0})

    def test_no_values_give_zero(self) -> None:
        self.assertEqual(percentile([], 50), 0.0)
        self.assertEqual(Latency.of([]), Latency(count=0, p50=0.0, p90=0.0, p99=0.0, longest=0.0))

    def test_latency_sorts_and_turns_seconds_into_milliseconds(self) -> None:
        found = Latency.of([0.004, 0.001, 0.003, 0.002])
        self.assertEqual(found, Latency(count=4, p50=2.0, p90=4.0, p99=4.0, longest=4.0))


class ProcTests(SynchronousTestCase):
    """The files of proc(5), as they are and as they are made up."""

    def process(self, proc: Path, pid: int, children: str, **ticks: int) -> None:
        """Write the files of one process."""
        task = proc / str(pid) / "task" / str(pid)
        task.mkdir(parents=True)
        (task / "children").write_text(children)
        times = {"utime": 0, "stime": 0, "cutime": 0, "cstime": 0, **ticks}
        (proc / str(pid) / "stat").write_text(STAT.format(pid=pid, name="server", **times))
        (proc / str(pid) / "status").write_text(f"Name:\tserver\nVmHWM:\t    {pid} kB\nVmRSS:\t 1 kB\n")

    def test_children_that_were_waited_for_count(self) -> None:
        stat = STAT.format(pid=5, name="twistd", utime=100, stime=20, cutime=3, cstime=4)
        self.assertEqual(cpu_of_stat(stat), (103 / TICKS, 24 / TICKS))

    def test_name_with_blanks_and_parentheses_shifts_nothing(self) -> None:
        stat = STAT.format(pid=5, name="a) b (c) 1 2", utime=100, stime=20, cutime=0, cstime=0)
        self.assertEqual(cpu_of_stat(stat), (100 / TICKS, 20 / TICKS))

    def test_peak_memory_is_in_bytes(self) -> None:
        self.assertEqual(peak_memory_of_status("Name:\tx\nVmHWM:\t   71052 kB\n"), 71052 * 1024)

    def test_process_without_memory_has_no_peak(self) -> None:
        """A zombie's status has no Vm lines."""
        self.assertEqual(peak_memory_of_status("Name:\tx\nState:\tZ (zombie)\n"), 0)

    def test_descendants_of_descendants_count_once(self) -> None:
        proc = Path(self.mktemp())
        self.process(proc, 10, "11 12 ", utime=TICKS)
        self.process(proc, 11, "13 ", utime=TICKS)
        self.process(proc, 12, "", stime=TICKS)
        self.process(proc, 13, "", cutime=TICKS)
        self.assertEqual(sorted(descendants(10, proc)), [10, 11, 12, 13])
        expected = Usage(user=3.0, system=1.0, peak_memory=46 * 1024)
        self.assertEqual(usage([10, 11], proc), expected)

    def test_own_process_is_read(self) -> None:
        found = usage([os.getpid()])
        self.assertGreater(found.user + found.system, 0)
        self.assertGreater(found.peak_memory, 1_000_000)

    def test_busy_leaves_idle_and_waiting_out(self) -> None:
        stat = f"cpu  {TICKS} {TICKS} {TICKS} 777 888 {TICKS} {TICKS} {TICKS} 0 0\ncpu0 1 2 3 4\n"
        self.assertEqual(busy_of_stat(stat), 6.0)
        self.assertGreater(busy(), 0)

    def test_difference_keeps_the_peak(self) -> None:
        before = Usage(user=1.0, system=1.0, peak_memory=5)
        after = Usage(user=3.0, system=1.5, peak_memory=9)
        self.assertEqual(after.since(before), Usage(user=2.0, system=0.5, peak_memory=9))
