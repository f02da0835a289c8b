"""certctl beside Pebble in one run: ``python -m benchmarks.compare``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import attrs

from benchmarks.load import add_work, load_of
from benchmarks.report import Figures, figures, machine
from benchmarks.responder import Answers
from benchmarks.servers import (
    PEBBLE_HTTP_PORT,
    Certctl,
    Pebble,
    Server,
    ServerFailed,
    challenging,
    free_port,
    started,
)
from benchmarks.workers import LoadFailed, Plan, run

DESCRIPTION = """\
Start each server with an empty state on loopback, put the same load on it, stop it; take turns
for some rounds, and print the median of each figure.

certctl runs on SQLite with its profile prof-default (trust_authenticated): the order is ready at
once. Pebble keeps all in memory, takes every challenge for met, and reuses authorizations while
names come back: orders are ready at once there too, but for the first of each client, which is
not counted. With --fresh-names Pebble's orders are pending, and its clients prove each; Pebble
2.4 often stops answering in the middle of that: such a turn is told and left out.
"""

_PROCESSORS = os.sched_getaffinity(0)  # two at least, to keep server and generator apart

Runs = Mapping[str, Sequence[Figures]]  # by the server's name


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--servers", nargs="+", choices=("certctl", "pebble"), default=["certctl", "pebble"], help="(both)")
    add("--rounds", type=int, default=3, metavar="N", help="turns that each server gets (3)")
    add(
        "--http-01",
        dest="http01",
        action="store_true",
        help="fresh names each time, each proved by http-01",
    )
    add(
        "--apart",
        action="store_true",
        help="give the server the first processor and the generator the others, so that neither empties the "
        "other's caches",
    )
    add("--json", type=Path, metavar="FILE", help="also write all figures into this file")
    add_work(parser)
    return parser


@contextmanager
def apart(wanted: bool, *, others: bool = False) -> Iterator[None]:
    """Keep what is started within to the first processor, or to all others: a process inherits where it may run."""
    everywhere = os.sched_getaffinity(0)
    first, *rest = sorted(_PROCESSORS)
    if wanted:
        os.sched_setaffinity(0, rest if others else [first])
    try:
        yield
    finally:
        os.sched_setaffinity(0, everywhere)


def measure(server: Server, options: argparse.Namespace) -> Figures:
    """Start a server, put the load on it, and stop it."""
    with apart(options.apart), started(server) as target, apart(options.apart, others=True):
        plan = Plan(
            directory=target.directory,
            ca=target.ca,
            root=target.root,
            pids=(target.pid,),
            answers=Answers(http_port=PEBBLE_HTTP_PORT, dns_port=options.dns_port)
            if options.http01
            else None,
            **load_of(options),
        )
        return figures(plan, run(plan))


def rows(found: Figures) -> Iterator[tuple[str, float]]:
    """Yield what the table says of a run, in its order."""
    yield "certificates/s", found.certificates_per_second
    yield "server CPU, ms/certificate", found.server_cpu or 0.0
    yield "  of it user", found.server_user or 0.0
    yield "  of it system", found.server_system or 0.0
    yield "server memory at its peak, MB", found.server_peak_memory or 0.0
    yield "generator CPU, ms/certificate", found.generator_cpu
    yield "CPU of what else ran, % of one processor", found.others_cpu or 0.0
    for step in sorted(found.latencies, key=list(found.latencies).index):
        yield f"{step}, p50 ms", found.latencies[step].p50
        yield f"{step}, p90 ms", found.latencies[step].p90
        yield f"{step}, p99 ms", found.latencies[step].p99


def medians(runs: Sequence[Figures]) -> dict[str, float]:
    """Return the median of each row over the rounds."""
    tables = [dict(rows(each)) for each in runs]
    return {name: median(table.get(name, 0.0) for table in tables) for name in tables[0]}


def table(runs: Runs) -> Iterator[str]:
    """Yield a table in Markdown: a column for each server, and the ratio of the first to the second."""
    columns = {name: medians(each) for name, each in runs.items() if each}
    pair = list(columns.values()) if len(columns) == 2 else None
    heads = [*columns, *(["ratio"] if pair else [])]
    yield "| median | " + " | ".join(heads) + " |"
    yield "|---" + "|---:" * len(heads) + "|"
    for row in dict.fromkeys(name for column in columns.values() for name in column):
        cells = [f"{column[row]:.2f}" if row in column else "" for column in columns.values()]
        if pair:
            cells.append(ratio(pair[0].get(row), pair[1].get(row)))
        yield f"| {row} | " + " | ".join(cells) + " |"


def ratio(one: float | None, other: float | None) -> str:
    """Return how many times ``other`` goes into ``one``; nothing where either is missing."""
    return f"{one / other:.2f}" if one is not None and other else ""


def compare(servers: Sequence[Server], options: argparse.Namespace) -> dict[str, list[Figures]]:
    """Let the servers take turns; a turn that fails is told and left out."""
    runs: dict[str, list[Figures]] = {server.name: [] for server in servers}
    for number in range(1, options.rounds + 1):
        for server in servers:
            try:
                found = measure(server, options)
            except (LoadFailed, ServerFailed) as error:
                reason = str(error).strip().rpartition("\n")[2]
                print(f"round {number}, {server.name} failed and is left out: {reason}", file=sys.stderr)
                continue
            runs[server.name].append(found)
            told = f"{found.certificates_per_second:.0f} certificates/s, {found.server_cpu:.2f} ms CPU"
            told += f" (what else ran: {found.others_cpu:.0f} % of one processor)"
            print(f"round {number}, {server.name}: {told}", file=sys.stderr)
    return runs


def document(runs: Runs, options: argparse.Namespace) -> dict[str, Any]:
    """Return all runs as a JSON object."""
    found = {name: [attrs.asdict(each) for each in figures] for name, figures in runs.items()}
    return {"machine": machine(), "load": load_of(options), "rounds": found}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, 1 if any turn failed."""
    options = parser().parse_args(arguments)
    options.fresh_names = options.fresh_names or options.http01
    options.dns_port = free_port() if options.http01 else 0
    known: dict[str, Server] = {
        "certctl": Certctl(settings=challenging(options.dns_port) if options.http01 else {}),
        "pebble": Pebble(reuses=not options.fresh_names, dns_port=options.dns_port),
    }
    runs = compare([known[name] for name in options.servers], options)
    if any(runs.values()):
        print("\n".join(table(runs)))
    if options.json:
        options.json.write_text(json.dumps(document(runs, options), indent=2) + "\n")
    return 0 if all(len(each) == options.rounds for each in runs.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
