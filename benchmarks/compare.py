"""certctl beside other servers in one run: ``python -m benchmarks.compare``."""

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

from benchmarks import network
from benchmarks.load import add_work, load_of
from benchmarks.peers import Caddy, Pebble
from benchmarks.report import Figures, figures, machine
from benchmarks.responder import Answers
from benchmarks.servers import LOOPBACK, Certctl, Server, ServerFailed, free_port, started
from benchmarks.workers import LoadFailed, Plan, run

DESCRIPTION = """\
Start each server with an empty state on loopback, put the same load on it, stop it; take turns
for some rounds, and print the median of each figure. A ratio is that of the first server to
another in the same round: the median of all rounds, the least and the greatest.

certctl has its profile prof-default. In trust mode the order is ready at once; with --http-01
each name is fresh, and is proved. certctl runs on SQLite; certctl-postgres on a PostgreSQL that
is made for it, and whose CPU counts as the server's; certctl-postgres-2-workers does so with two
processes that answer, whose CPU counts with that of their parent.

Pebble keeps all in memory, takes every challenge for met (without --http-01), and reuses
authorizations while names come back: orders are ready at once there too, but for the first of
each client, which is not counted. With --fresh-names alone Pebble's orders are pending, and its
clients prove each; Pebble 2.4 often stops answering in the middle of that: such a round is told
and left out.

Caddy's ACME server proves every name, so it takes --http-01, and root: it looks for answers at
port 80 and for addresses at the system's resolver, so all servers then run in a network of their
own (a namespace), where both are ours.
"""

NAMES = ("certctl", "certctl-postgres", "certctl-postgres-2-workers", "pebble", "caddy")
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
    add("--servers", nargs="+", choices=NAMES, default=["certctl", "pebble"], help="(certctl pebble)")
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
            pids=target.pids,
            database_pids=target.database_pids,
            answers=Answers(http_port=server.http_port, dns_port=server.dns_port) if options.http01 else None,
            **load_of(options),
        )
        return figures(plan, run(plan))


def rows(found: Figures) -> Iterator[tuple[str, float]]:
    """Yield what the table says of a run, in its order."""
    yield "certificates/s", found.certificates_per_second
    yield "server CPU, ms/certificate", found.server_cpu or 0.0
    if found.database_cpu is not None:
        yield "  of it the database", found.database_cpu
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
    """Yield a table in Markdown: a column for each server, and the ratios of the first to each other one."""
    columns = {name: medians(each) for name, each in runs.items() if each}
    first, *others = columns
    heads = [*columns, *(_ratio_to(name, others) for name in others)]
    yield "| median | " + " | ".join(heads) + " |"
    yield "|---" + "|---:" * len(heads) + "|"
    for row in dict.fromkeys(name for column in columns.values() for name in column):
        cells = [f"{column[row]:.2f}" if row in column else "" for column in columns.values()]
        cells += [spread(row, runs[first], runs[name]) for name in others]
        yield f"| {row} | " + " | ".join(cells) + " |"


def _ratio_to(name: str, others: Sequence[str]) -> str:
    return "ratio" if len(others) == 1 else f"ratio to {name}"


def spread(row: str, ours: Sequence[Figures], theirs: Sequence[Figures]) -> str:
    """Return the median of the ratios of so many rounds, and the least and the greatest where there are several."""
    pairs = [
        (dict(rows(one)).get(row), dict(rows(other)).get(row))
        for one, other in zip(ours, theirs, strict=True)
    ]
    found = sorted(one / other for one, other in pairs if one is not None and other)
    if not found:
        return ""
    middle = f"{median(found):.2f}"
    return middle if len(found) == 1 else f"{middle} ({found[0]:.2f} to {found[-1]:.2f})"


def compare(servers: Sequence[Server], options: argparse.Namespace) -> dict[str, list[Figures]]:
    """Let the servers take turns; a round in which one fails is told and left out."""
    runs: dict[str, list[Figures]] = {server.name: [] for server in servers}
    for number in range(1, options.rounds + 1):
        found: dict[str, Figures] = {}
        for server in servers:
            try:
                found[server.name] = measure(server, options)
            except (LoadFailed, ServerFailed) as error:
                reason = str(error).strip().rpartition("\n")[2]
                print(f"round {number} is left out, as {server.name} failed: {reason}", file=sys.stderr)
                break
            print(f"round {number}, {server.name}: {told(found[server.name])}", file=sys.stderr)
        else:
            for name, each in found.items():
                runs[name].append(each)
    return runs


def told(found: Figures) -> str:
    """Return what is said of a turn while others go on."""
    return (
        f"{found.certificates_per_second:.0f} certificates/s, {found.server_cpu:.2f} ms CPU"
        f" (what else ran: {found.others_cpu:.0f} % of one processor)"
    )


def document(runs: Runs, options: argparse.Namespace) -> dict[str, Any]:
    """Return all runs as a JSON object."""
    found = {name: [attrs.asdict(each) for each in figures] for name, figures in runs.items()}
    return {"machine": machine(), "load": load_of(options), "rounds": found}


def servers(options: argparse.Namespace) -> dict[str, Server]:
    """Return all servers, by their names, as the command line wants them."""
    dns_port = free_port() if options.http01 else 0
    known: tuple[Server, ...] = (
        Certctl(dns_port=dns_port),
        Certctl(name="certctl-postgres", dns_port=dns_port, postgres=True),
        Certctl(name="certctl-postgres-2-workers", dns_port=dns_port, postgres=True, workers=2),
        Pebble(reuses=not options.fresh_names, dns_port=dns_port),
        Caddy(),
    )
    return {server.name: server for server in known}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, 1 if any turn failed."""
    options = parser().parse_args(arguments)
    options.fresh_names = options.fresh_names or options.http01
    if not options.http01 and "caddy" in options.servers:
        parser().error("Caddy's ACME server proves every name: it takes --http-01")
    if "caddy" in options.servers:
        network.enter(LOOPBACK)
    known = servers(options)
    runs = compare([known[name] for name in options.servers], options)
    if any(runs.values()):
        print("\n".join(table(runs)))
    if options.json:
        options.json.write_text(json.dumps(document(runs, options), indent=2) + "\n")
    return 0 if all(len(each) == options.rounds for each in runs.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
