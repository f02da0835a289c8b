"""Load on an ACME server: ``python -m benchmarks.load --directory URL --ca FILE``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.keys import KEY_TYPES
from benchmarks.report import document, figures, lines
from benchmarks.responder import Answers
from benchmarks.workers import LoadFailed, Plan, run

DESCRIPTION = """\
Run full ACME flows against a server and report certificates per second, the latency of each
step, and the CPU that the server's processes needed for a certificate.

Each client has one account, one kept-alive connection and one request under way at a time:
newOrder, authorizations and challenges if the order is pending, finalize, polling if the order
is processing, download by POST-as-GET. Keys and CSRs are made before the clock starts; when it
has stopped, every certificate is checked: names, public key, each signature. A step's time goes
from signing the request to the last byte of the answer; a request that got badNonce is repeated
and counted. An object that is not settled is asked for at once, again after 10 ms, 20 ms and so
on up to 500 ms, whatever Retry-After says.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    file: dict[str, Any] = {"type": Path, "metavar": "FILE"}
    add = parser.add_argument_group("the server").add_argument
    add("--directory", required=True, metavar="URL", help="the ACME directory")
    add("--ca", required=True, help="PEM: what the server's TLS certificate is verified by", **file)
    add("--root", help="PEM: the root that each chain must end in (not checked without)", **file)
    add("--pid", type=int, nargs="+", default=[], help="its processes; descendants count as well")
    add("--database-pid", type=int, nargs="+", default=[], help="those of its database, which count as well")
    add_work(parser)
    add_challenges(parser)
    parser.add_argument("--json", help="also write the figures into this file", **file)
    return parser


def add_work(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how much is done."""
    group = parser.add_argument_group("the load")
    add = _adder(group)
    add("--clients", 8, "N", "clients at the same time")
    add("--certificates", 2000, "N", "certificates that all clients get")
    add("--warmup", 5, "N", "certificates of each client before the clock starts")
    add("--names", 1, "N", "DNS names in each certificate")
    add("--domain", "bench.internal", "NAME", "the domain that the names lie below")
    add("--processes", 0, "N", "processes of the generator; 0: one for each client, 16 at most")
    add("--timeout", 60.0, "SECONDS", "for an answer, and for an object to settle")
    group.add_argument("--fresh-names", action="store_true", help="new names each time, not a client's own")
    group.add_argument(
        "--key-type",
        choices=KEY_TYPES,
        default=KEY_TYPES[0],
        help="P-256 or RSA 2048, of accounts and certificates (%(default)s)",
    )


def add_challenges(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how pending authorizations are proved."""
    group = parser.add_argument_group("pending authorizations")
    group.add_argument(
        "--challenge",
        choices=("none", "http-01"),
        default="none",
        help="http-01: answer challenges; none: ask for validation and answer nothing, which suits"
        " a server that takes all for valid (%(default)s)",
    )
    add = _adder(group)
    add("--http-port", 5002, "PORT", "where http-01 is answered on 127.0.0.1")
    add("--dns-port", 0, "PORT", "where each DNS question is answered with 127.0.0.1; 0: nowhere")
    add("--answer-delay", 0.0, "SECONDS", "before an http-01 challenge is answered")


def _adder(group: argparse._ArgumentGroup) -> Callable[[str, int | float | str, str, str], None]:
    def add(name: str, default: int | float | str, metavar: str, text: str) -> None:
        group.add_argument(
            name, type=type(default), default=default, metavar=metavar, help=f"{text} ({default})"
        )

    return add


def load_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return what ``add_work`` asked for, as members of a Plan."""
    names = ("clients", "certificates", "warmup", "names", "domain", "processes", "timeout", "fresh_names")
    return {name: getattr(options, name) for name in (*names, "key_type")}


def plan_of(options: argparse.Namespace) -> Plan:
    """Return the plan that the command line asks for."""
    answers = Answers(http_port=options.http_port, dns_port=options.dns_port, delay=options.answer_delay)
    return Plan(
        directory=options.directory,
        ca=options.ca,
        root=options.root,
        pids=tuple(options.pid),
        database_pids=tuple(options.database_pid),
        answers=None if options.challenge == "none" else answers,
        **load_of(options),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(arguments)
    plan = plan_of(options)
    try:
        found = figures(plan, run(plan))
    except LoadFailed as error:
        print(f"the run failed:\n{error}", file=sys.stderr)
        return 1
    print("\n".join(lines(plan, found)))
    if options.json:
        options.json.write_text(json.dumps(document(plan, found), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
