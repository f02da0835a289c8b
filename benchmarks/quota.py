"""A part of a processor for each of some processes, and no more (cgroups(7), of either version)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PERIOD = 10_000  # microseconds in which a process gets its part; short, so that clients hardly see it pause


class NoQuotas(Exception):
    """The kernel does not let us have groups of processes; the message says why."""


@contextmanager
def quota(pids: Sequence[int], percent: int, cgroups: Path = CGROUPS) -> Iterator[None]:
    """Let each process, with its threads, have so much of one processor at most until the context ends.

    Raises NoQuotas.
    """
    parent = _parent(cgroups)
    groups = {pid: parent / f"certctl-benchmark-{os.getpid()}-{pid}" for pid in pids}
    try:
        for pid, group in groups.items():
            _limit(pid, group, percent)
        yield
    finally:
        for pid, group in groups.items():
            with suppress(OSError):  # it has ended
                (parent / "cgroup.procs").write_text(str(pid))
            with suppress(FileNotFoundError):
                group.rmdir()


def _parent(cgroups: Path) -> Path:
    """Where groups with a limit can be made."""
    if (cgroups / "cpu" / "cgroup.procs").exists():  # version 1
        return cgroups / "cpu"
    controllers = cgroups / "cgroup.subtree_control"
    try:
        if "cpu" not in controllers.read_text().split():
            controllers.write_text("+cpu")
    except OSError as error:
        raise NoQuotas(f"quotas take root, and control groups with the controller cpu: {error}") from error
    return cgroups


def _limit(pid: int, group: Path, percent: int) -> None:
    allowed = PERIOD * percent // 100
    try:
        group.mkdir()
        if (group / "cpu.max").exists():
            (group / "cpu.max").write_text(f"{allowed} {PERIOD}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(allowed))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        raise NoQuotas(f"no quota for a process: {error}") from error
