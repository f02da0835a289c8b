"""How many instructions certctl executes for a certificate: ``python -m benchmarks.instructions``."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import servers
from benchmarks.responder import Answers
from benchmarks.servers import Certctl, Running, free_port, started
from benchmarks.workers import Plan, run

DESCRIPTION = """\
Run certctl under valgrind's callgrind (Debian: apt-get install valgrind), and count the
instructions that it executes for a certificate. The count is the same, to a thousandth or two,
on whatever machine and whatever else runs there, so it shows what a change is worth where CPU
time does not. It knows nothing of the kernel, of caches, and of PostgreSQL's processes, and the
processor that callgrind plays has no instructions for long numbers (ADX), so that signatures
count for more than they take.

The profile is left behind: see it with callgrind_annotate FILE.
"""
PATIENCE = 300.0  # seconds for a server that is some fifty times slower
TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instructions",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--http-01", dest="http01", action="store_true", help="fresh names, each proved by http-01")
    add("--postgres", action="store_true", help="on PostgreSQL")
    add("--certificates", type=int, default=40, metavar="N", help="that are counted (40)")
    add("--clients", type=int, default=4, metavar="N", help="at the same time (4)")
    add("--profile", type=Path, metavar="FILE", help="where the profile goes (a temporary file)")
    return parser


@contextmanager
def counting(server: Running) -> Iterator[None]:
    """Count what is executed within."""
    (pid,) = server.pids
    _control("on", pid)
    try:
        yield
    finally:
        _control("off", pid)


def _control(to: str, pid: int) -> None:
    subprocess.run(["callgrind_control", "-i", to, str(pid)], check=True, capture_output=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(arguments)
    servers.PATIENCE = PATIENCE
    profile = options.profile or Path(tempfile.mkdtemp(prefix="benchmark-")) / "callgrind.out"
    tool = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={profile}")
    certctl = Certctl(
        before=tool,
        postgres=options.postgres,
        dns_port=free_port() if options.http01 else 0,
        # The same order of sets and dictionaries each time; and nobody polls because all is slow.
        settings={"PYTHONHASHSEED": "1", "CERTCTL_ACME_SERVER_POLL_HOLD": "60s"},
    )
    with started(certctl) as server:
        plan = Plan(
            directory=server.directory,
            ca=server.ca,
            root=server.root,
            clients=options.clients,
            certificates=options.certificates,
            fresh_names=options.http01,
            timeout=PATIENCE,
            answers=Answers(http_port=certctl.http_port, dns_port=certctl.dns_port)
            if options.http01
            else None,
        )
        run(plan, counting(server))
    counted = max(int(each) for each in TOTAL.findall(profile.read_text()))
    print(
        f"{counted / options.certificates / 1e6:.3f} million instructions a certificate; profile: {profile}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
