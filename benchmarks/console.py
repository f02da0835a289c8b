"""How long operators' pages take in a database of years, by which plans: ``python -m benchmarks.console DIRECTORY``."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import attrs

from benchmarks import filled, pages, protocol
from benchmarks.measure import descendants
from benchmarks.postgres import Postgres, postgresql
from benchmarks.servers import Certctl
from tests.integration import plans
from tests.integration.acme import Session
from tests.integration.server import RunningServer

DESCRIPTION = """\
Fill a PostgreSQL in DIRECTORY as benchmarks.filled does, or take the one that is there. Start a
server on it, and ask for each page of the console and each list of the REST API, by filters that
find much, little and nothing, and at the lists' ends. For each it says the CPU of the server and
of PostgreSQL and the time until the answer, in milliseconds (the middle of several; the slowest
as well), and the octets of the answer.

Then everything is asked once more, and certificates are got by ACME, while PostgreSQL writes down
by which plan it does each statement: each one that reads a large table from end to end is shown,
and each that looks at many pages.
"""
TIMES = 5
KEY = "key-of-the-benchmark"
MANY = 2000  # pages of PostgreSQL, 16 MB: a statement that looks at more is shown
SERVER_SETTINGS = {
    "CERTCTL_API_KEYS_NAMED": f"admin:{KEY}:admin",
    "CERTCTL_API_REQUESTS_PER_MINUTE": "0",
    "CERTCTL_ACME_SERVER_GC_INTERVAL": "1h",  # so that no sweep is counted as a page's
}


class OnFilled(RunningServer):
    """A server on the state that ``benchmarks.filled`` made."""

    def __init__(self, directory: Path, database: Postgres, more: Mapping[str, str]) -> None:
        state = directory / "certctl"
        settings = {
            **SERVER_SETTINGS,
            **more,
            "CERTCTL_DATABASE_URL": database.url,
            "CERTCTL_STATE_DIR": str(state),
        }
        super().__init__(directory, settings)
        self.state, self.root, self.trust = state, state / "root-ca.pem", state / "root-ca.pem"


@attrs.frozen
class Visitor:
    """An operator at a server."""

    connection: HTTPSConnection
    headers: Mapping[str, Mapping[str, str]]  # by the first part of the path

    @classmethod
    def of(cls, server: RunningServer) -> Visitor:
        """Sign in."""
        connection = server.connect(timeout=120)
        cookie = {"Cookie": sign_in(connection)}
        return cls(connection, {"console": cookie, "api": {"Authorization": f"Bearer {KEY}"}})

    def ask(self, path: str) -> bytes:
        """Ask for a page; return it."""
        headers = self.headers[path.partition("/")[0]]
        self.connection.request("GET", f"/{quote(path, safe='/?=&:*-.')}", headers=dict(headers))
        answer = self.connection.getresponse()
        found = answer.read()
        assert answer.status == 200, (path, answer.status, found)
        return found


def sign_in(connection: HTTPSConnection) -> str:
    """Sign in; return the session's cookie."""
    connection.request("GET", "/console/sign-in")
    answer = connection.getresponse()
    csrf = answer.read().decode().partition('name="csrf" value="')[2][:64]
    secret = (answer.getheader("Set-Cookie") or "").partition(";")[0]
    form = {"Cookie": secret, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/console/sign-in", urlencode({"csrf": csrf, "key": KEY}), form)
    answer = connection.getresponse()
    answer.read()
    cookies = answer.headers.get_all("Set-Cookie") or ()
    return next(each for each in cookies if "console=" in each).partition(";")[0]


def cpu(pid: int) -> float:
    """Milliseconds that a process and its descendants were on a processor (finer than proc(5)'s stat)."""
    total = 0
    for each in descendants(pid):
        for task in Path(f"/proc/{each}/task").glob("*/schedstat"):
            total += int(task.read_text().split()[0])
    return total / 1e6


def timed(visitor: Visitor, paths: Sequence[str], server: int, database: int, times: int) -> Iterator[str]:
    """Ask for each page some times; yield a line for each."""
    yield "server  postgres     time  (slowest)  octets"
    for path in paths:
        seen, size = [], 0
        for _ in range(times):
            before, began = (cpu(server), cpu(database)), time.perf_counter()
            size = len(visitor.ask(path))
            took = (time.perf_counter() - began) * 1000
            seen.append((cpu(server) - before[0], cpu(database) - before[1], took))
        own, others, took = (statistics.median(column) for column in zip(*seen, strict=True))
        slowest = max(each[2] for each in seen)
        mark = "  <-- !" if own + others > 300 else ""
        yield f"{own:6.1f}  {others:8.1f}  {took:7.1f}  ({slowest:7.1f})  {size:6}  /{path}{mark}"


def shown(what: str, found: Sequence[plans.Plan], told: set[str]) -> Iterator[str]:
    """What is worth a look among the plans, each statement once."""
    for plan in found:
        scanned = plan.scanned()
        if plan.sql not in told and (scanned or plan.pages > MANY):
            told.add(plan.sql)
            why = f"reads all of {', '.join(sorted(scanned))}" if scanned else f"{plan.pages} pages"
            yield f"\n{what}: {why}\n  {plan.sql}"
            yield from (f"    {line}" for line in plan.lines())


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.console",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    filled.add_filling(parser)
    add = parser.add_argument
    add("--times", type=int, default=TIMES, metavar="N", help=f"answers of each page ({TIMES})")
    add("--only", default="", metavar="TEXT", help="only paths that have this in them")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(arguments)
    filled.make(Certctl(postgres=True), options.directory, options.filling, options.events)
    place, world = options.directory / "postgres", protocol.World(options.directory)
    try:
        with postgresql(place) as database:
            plans.prepare(database.sql)
            server = OnFilled(options.directory, database, world.settings).start()
            try:
                look(server, database, world, options)
            finally:
                server.stop()
    finally:
        world.stop()
    return 0


def look(
    server: RunningServer, database: Postgres, world: protocol.World, options: argparse.Namespace
) -> None:
    """Ask, and say what was seen."""
    session = Session(server)
    session.register()
    session.certificate("first.corp.example")
    paths = [each for each in pages.paths(database.sql) if options.only in each]
    visitor = Visitor.of(server)
    for line in timed(visitor, paths, server.pid, database.pid, options.times):
        print(line, flush=True)
    visitor.ask("api/renewals/renew-0")  # until its certificates were counted, which is done beside all this
    log, told, count = options.directory / "postgres" / "log", set[str](), 0
    asked: list[tuple[str, Callable[[], Any]]] = [(each, partial(visitor.ask, each)) for each in paths]
    asked.append(("", partial(database.sql, pages.END_OF_RENEWAL)))
    asked.append(("ACME", partial(protocol.everything, server, database.sql, world)))
    plans.record(database.sql, True)
    for what, ask in asked:
        found = plans.done_meanwhile(log, ask)
        count += len(found)
        for line in shown(f"/{what}", found, told):
            print(line, flush=True)
    plans.record(database.sql, False)
    print(f"\n{count} statements, {len(told)} shown")


if __name__ == "__main__":
    sys.exit(main())
