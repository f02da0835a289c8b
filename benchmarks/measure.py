"""Percentiles, and what the kernel says that a server's processes used (proc(5))."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

TICKS = os.sysconf("SC_CLK_TCK")  # per second; the unit of /proc/PID/stat
PROC = Path("/proc")


def percentile(sorted_values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least ``percent`` of all do not exceed (nearest rank); 0 for none."""
    if not sorted_values:
        return 0.0
    return sorted_values[max(0, math.ceil(len(sorted_values) * percent / 100) - 1)]


@attrs.frozen(kw_only=True)
class Latency:
    """How long a step took, in milliseconds."""

    count: int
    p50: float
    p90: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Latency:
        """Sum up the times of one step."""
        times = sorted(1000 * each for each in seconds)
        p50, p90, p99 = (percentile(times, percent) for percent in (50, 90, 99))
        return cls(count=len(times), p50=p50, p90=p90, p99=p99, longest=times[-1] if times else 0.0)


@attrs.frozen(kw_only=True)
class Usage:
    """What processes used: CPU in seconds since they started, memory in bytes at its peak."""

    user: float = 0.0
    system: float = 0.0
    peak_memory: int = 0

    def since(self, earlier: Usage) -> Usage:
        """Return the CPU used since ``earlier``; the peak of memory is that of the whole life."""
        return Usage(
            user=self.user - earlier.user, system=self.system - earlier.system, peak_memory=self.peak_memory
        )

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            user=self.user + other.user,
            system=self.system + other.system,
            peak_memory=self.peak_memory + other.peak_memory,
        )


def cpu_of_stat(stat: str) -> tuple[float, float]:
    """Return user and system seconds of a ``/proc/PID/stat``, with those of children waited for.

    The name of the program may hold blanks and parentheses, so fields count from the last parenthesis: 14 to
    17 are utime, stime, cutime and cstime.
    """
    fields = stat.rpartition(")")[2].split()
    utime, stime, cutime, cstime = (int(each) for each in fields[11:15])
    return (utime + cutime) / TICKS, (stime + cstime) / TICKS


def busy_of_stat(stat: str) -> float:
    """Return the seconds that all processors together were busy since the start, from ``/proc/stat``.

    The first line has user, nice, system, idle, iowait, irq, softirq and steal; all but idle and iowait count, as
    what a host takes away from its guest (steal) is missing here as well.
    """
    user, nice, system, _, _, irq, softirq, steal = (int(each) for each in stat.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def busy(proc: Path = PROC) -> float:
    """Return the seconds that this machine's processors were busy since the start."""
    return busy_of_stat((proc / "stat").read_text())


def peak_memory_of_status(status: str) -> int:
    """Return the bytes of ``VmHWM`` in a ``/proc/PID/status``; 0 for a process without memory."""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 0


def descendants(pid: int, proc: Path = PROC) -> Iterator[int]:
    """Yield a process and all its living descendants."""
    yield pid
    for children in (proc / str(pid) / "task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            for child in children.read_text().split():
                yield from descendants(int(child), proc)


def usage(pids: Iterable[int], proc: Path = PROC) -> Usage:
    """Return what the processes and their descendants used, each counted once.

    The peak is the sum of each living process's own, pages that they share counted in each.
    """
    total = Usage()
    counted = {each for start in pids for each in descendants(start, proc)}
    for each in counted:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended, and is its parent's account now
            user, system = cpu_of_stat((proc / str(each) / "stat").read_text())
            memory = peak_memory_of_status((proc / str(each) / "status").read_text())
            total += Usage(user=user, system=system, peak_memory=memory)
    return total
