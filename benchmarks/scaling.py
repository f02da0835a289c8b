"""What workers do where each has a processor's share to itself: ``python -m benchmarks.scaling``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from benchmarks.compare import spread, told
from benchmarks.load import add_work, load_of
from benchmarks.measure import descendants
from benchmarks.quota import NoQuotas, quota
from benchmarks.report import Figures, figures
from benchmarks.servers import Certctl, Running, started
from benchmarks.workers import Plan, run

DESCRIPTION = """\
Let certctl on a PostgreSQL of its own serve with one worker, with two, and so on, each worker
with a share of a processor that it cannot exceed, and print how many certificates come out.

Workers need cores; where the generator and PostgreSQL share the few that there are with them, two
workers show no more than what is left. With a share that is small enough, each worker works at
its limit while the processors are idle for a part of the time: the table says for how much of one
processor, and a run without that proves nothing. PostgreSQL and the generator have no limit.

A client's connection is one worker's, and one worker may have more of them than another. So the
load ends when the first client has had its part of the certificates: until then all are at work.

It takes root, and control groups of either version.
"""
IDLE = 10  # percent of one processor that must be left, or workers waited for something else than their share

RATE, CPU = "certificates/s", "server CPU, ms/certificate"

Runs = Mapping[int, Sequence[Figures]]  # by the number of workers


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--workers",
        nargs="+",
        type=int,
        default=[1, 2],
        metavar="N",
        help="how many, one turn for each (1 2)",
    )
    add("--share", type=int, default=25, metavar="PERCENT", help="of a processor for each worker (25)")
    add("--rounds", type=int, default=3, metavar="N", help="turns that each number gets (3)")
    add_work(parser)
    parser.set_defaults(clients=16, certificates=600)
    return parser


def workers_of(target: Running, count: int) -> list[int]:
    """Return the processes that answer: the one that was started, or the children of their parent."""
    (pid,) = target.pids
    return [pid] if count == 1 else [each for each in descendants(pid) if each != pid]


def measure(count: int, options: argparse.Namespace) -> Figures:
    """Start a server with so many workers, put the load on it, and stop it."""
    with started(Certctl(name=f"{count} workers", postgres=True, workers=count)) as target:
        plan = Plan(
            directory=target.directory,
            ca=target.ca,
            root=target.root,
            pids=target.pids,
            database_pids=target.database_pids,
            level=True,
            **load_of(options),
        )
        with quota(workers_of(target, count), options.share):
            return figures(plan, run(plan))


def idle(found: Figures, processors: int) -> float:
    """Return for how much of the time processors were idle, in percent of one."""
    used = (found.server_cpu or 0.0) + found.generator_cpu
    return max(0.0, 100 * processors - used * found.certificates_per_second / 10 - (found.others_cpu or 0.0))


def table(runs: Runs, processors: int) -> Iterator[str]:
    """Yield a table in Markdown: a line for each number of workers, held against the first one."""
    yield f"| workers | {RATE} | times the first | {CPU} | of it the database | idle at least, % |"
    yield "|---:|---:|---:|---:|---:|---:|"
    first, *_ = runs.values()
    for count, found in runs.items():
        rate = median(each.certificates_per_second for each in found)
        cpu = median(each.server_cpu or 0.0 for each in found)
        database = median(each.database_cpu or 0.0 for each in found)
        least = min(idle(each, processors) for each in found)
        yield f"| {count} | {rate:.1f} | {spread(RATE, found, first)} | {cpu:.2f} | {database:.2f} | {least:.0f} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, 1 if the processors were never idle."""
    options, processors = parser().parse_args(arguments), len(os.sched_getaffinity(0))
    runs: dict[int, list[Figures]] = {count: [] for count in options.workers}
    for number in range(1, options.rounds + 1):
        for count in options.workers:
            try:
                found = measure(count, options)
            except NoQuotas as error:
                parser().error(str(error))
            left = idle(found, processors)
            print(f"round {number}, {count} workers: {told(found)}, {left:.0f} % idle", file=sys.stderr)
            runs[count].append(found)
    print("\n".join(table(runs, processors)))
    busiest = min(idle(each, processors) for found in runs.values() for each in found)
    if busiest < IDLE:
        print("the processors were busy all the time: a smaller --share is needed", file=sys.stderr)
    return int(busiest < IDLE)


if __name__ == "__main__":
    sys.exit(main())
