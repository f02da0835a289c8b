"""Several servers on one PostgreSQL, under load from clients that remember every promise, and a judge of both."""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

import attrs
import psycopg2

from tests.integration.acme import Refused, Session
from tests.integration.postgres import PostgresServer, shared
from tests.integration.server import HOST, READY_WITHIN, RunningServer, ServerTestCase, free_port, run
from tests.integration.test_crash import Client, Told
from tests.unit.web.wire import Response

CLIENTS = 6
FINISHES_WITHIN = 60.0  # seconds that a client has to get what it was promised, once all is well again
CHAIN = {"CERTCTL_AUDIT_CHAIN_INTERVAL": "500ms"}
GONE = (OSError, HTTPException)
_numbers = itertools.count(1)
T = TypeVar("T")


class Counting(Session):
    """A session that says whether a request of it is under way."""

    busy = False

    def request(self, method: str, url: str, body: bytes = b"", headers: Any = None) -> Response:
        """Send one request."""
        self.busy = True
        try:
            return super().request(method, url, body, headers)
        finally:
            self.busy = False


class Patient(Client):
    """Gets certificates from servers that die, and databases that go away, and tries again."""

    def __init__(self, server: Any, number: int, over: threading.Event) -> None:
        super().__init__(server, number, over)
        self.session: Counting = Counting(server)
        self.broken = 0  # connections
        self.unavailable = 0  # answers 503

    def run(self) -> None:
        """Go on until it is over."""
        while not self.over.is_set():
            self.attempt(self.step)
        self.session.close()

    def attempt(self, work: Callable[[], T]) -> T | None:
        """Try something, and take what happens in a failure as it is told to be taken."""
        try:
            return work()
        except GONE:
            self.broken += 1
        except Refused as refused:
            if refused.response.status == 503:
                self.unavailable += 1
                if "Retry-After" not in {name.title() for name, _ in refused.response.headers}:
                    self.told.surprises.append(f"no Retry-After: {refused}")
            elif refused.response.error != "badNonce":
                self.told.surprises.append(str(refused))
        except Exception as error:
            self.told.surprises.append(repr(error))
        self.session.nonce = None
        time.sleep(0.1)
        return None

    def finish_all(self) -> int:
        """Bring every order that it was told of to its certificate; return how many had none before."""
        deadline, count = time.monotonic() + FINISHES_WITHIN, 0
        for id, (url, name) in self.told.orders.items():
            count += id not in self.told.valid

            def finish(url: str = url, name: str = name) -> bool:
                self.finish(url, name)
                return True

            if id not in self.told.valid:
                while not self.attempt(finish) and time.monotonic() < deadline:
                    pass
        self.session.close()
        return count


@attrs.define
class Row:
    """A line of the failure table: what was done, when, and what came of it."""

    fault: str
    rounds: int
    in_flight: list[int] = attrs.field(factory=list)  # at the moment of each fault
    promised: int = 0  # answers that told of an account, an order, a certificate or a revocation
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    unaudited: int = 0
    certificates: int = 0
    finished: int = 0  # afterwards, of what the fault had interrupted
    broken: int = 0
    unavailable: int = 0

    def __str__(self) -> str:
        low, high = (min(self.in_flight), max(self.in_flight)) if self.in_flight else (0, 0)
        return (
            f"failure table: {self.fault} | {self.rounds} | {low}-{high}, {sum(self.in_flight)} in all | "
            f"{self.certificates} certificates, {self.promised} promises | broken {self.broken}, "
            f"503 {self.unavailable}, finished afterwards {self.finished} | "
            f"lost {self.lost} | doubled {self.doubled} | stuck {self.stuck} | "
            f"unaudited {self.unaudited}"
        )


class FleetCase(ServerTestCase):
    """Servers on a database of their own."""

    def setUp(self) -> None:
        self.postgres = self.make_postgres()
        self.name = f"fleet_{next(_numbers)}"
        self.url = self.postgres.database(self.name)
        self.servers: list[RunningServer] = []

    def make_postgres(self) -> PostgresServer:
        """The database server: that of all tests, for those that do it no harm."""
        return shared()

    def another(self, **settings: str) -> RunningServer:
        """A server on the database, with the CA of the first if there is one; not started yet."""
        server = RunningServer(self.path(), {"CERTCTL_DATABASE_URL": self.url, **CHAIN, **settings})
        if self.servers:
            shutil.copytree(self.servers[0].state, server.state)
        self.servers.append(server)
        self.addCleanup(server.end)
        return server

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        """What a query finds in the database that is in use."""
        return self.postgres.sql(text, self.name)

    # Load, and what is done meanwhile.

    def under_load(self, server: Any, row: Row, work: Callable[[list[Patient]], None]) -> list[Patient]:
        """Do something while clients get certificates; judge all that was promised."""
        over = threading.Event()
        self.addCleanup(over.set)
        clients = [Patient(server, number, over) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            self.wait_for(lambda: all(client.told.valid for client in clients), "every client has something")
            work(clients)
        finally:
            over.set()
            for client in clients:
                client.join(60)
        self.assertFalse([client for client in clients if client.is_alive()])
        row.finished = sum(client.finish_all() for client in clients)
        row.broken = sum(client.broken for client in clients)
        row.unavailable = sum(client.unavailable for client in clients)
        surprises = [said for client in clients for said in client.told.surprises]
        self.judge(row, [client.told for client in clients])
        print(f"\n{row}", flush=True)
        self.assertEqual(surprises, [])
        self.assertEqual((row.lost, row.doubled, row.stuck, row.unaudited), (0, 0, 0, 0))
        return clients

    def strike(self, row: Row, clients: Sequence[Patient], fault: Callable[[], T]) -> T:
        """Do it, and note how many requests were under way."""
        row.in_flight.append(sum(client.session.busy for client in clients))
        return fault()

    def progress(self, clients: Sequence[Patient], more: int = 5) -> None:
        """Wait until clients have got so many certificates more."""

        def got() -> int:
            return sum(len(client.told.certificates) for client in clients)

        wanted = got() + more
        self.wait_for(lambda: got() >= wanted, "certificates are issued again")

    def wait_for(self, happened: Callable[[], bool], what: str, within: float = 60.0) -> None:
        """Return when it has happened."""
        deadline = time.monotonic() + within
        while not happened():
            self.assertLess(time.monotonic(), deadline, f"not in time: {what}")
            time.sleep(0.02)

    # The judge.

    def judge(self, row: Row, told: Sequence[Told]) -> None:
        """Compare what clients were told with the database, and the database with its audit, whose chain is whole."""
        self.compare(row, told)
        self.verify_chain()

    def compare(self, row: Row, told: Sequence[Told]) -> None:
        """Count what is not as clients were told, or not as the audit says."""
        accounts = {id for (id,) in self.sql("SELECT id FROM acme_accounts")}
        orders = {
            id: (status, cert)
            for id, status, cert in self.sql("SELECT id, status, certificate_id FROM acme_orders")
        }
        versions = self.sql(
            "SELECT id, order_id, serial_number, certificate, revoked_at IS NOT NULL FROM certificate_versions"
        )
        stored = {bytes(each[3]) for each in versions}
        revoked = {each[2] for each in versions if each[4]}
        for one in told:
            for promised, kept in (
                (one.accounts, accounts),
                (set(one.orders), set(orders)),
                (one.valid, {id for id, (status, _) in orders.items() if status == "valid"}),
                (one.certificates, stored),
                (one.revoked, revoked),
            ):
                row.promised += len(promised)
                row.lost += len(set[Any](promised) - set[Any](kept))
        by_order = Counter(each[1] for each in versions)
        serials = Counter(each[2] for each in versions)
        row.doubled += sum(count - 1 for counts in (by_order, serials) for count in counts.values())
        owned = {each[1]: each[0] for each in versions}
        row.stuck += sum(1 for status, _ in orders.values() if status not in ("ready", "valid"))
        row.stuck += sum(1 for id, (status, cert) in orders.items() if owned.get(id) != cert)
        promised_orders = {id for one in told for id in one.orders}
        row.stuck += sum(1 for id in promised_orders if orders.get(id, ("",))[0] != "valid")
        row.certificates = len(versions)
        row.unaudited += self._unaudited(accounts, set(orders), versions)

    def _unaudited(self, accounts: set[str], orders: set[str], versions: list[tuple[Any, ...]]) -> int:
        """How many changes have no audit row, or several, and how many audit rows no change."""

        def audited(action: str) -> Counter[str]:
            return Counter(
                id for (id,) in self.sql(f"SELECT resource_id FROM audit_events WHERE action = '{action}'")
            )

        expected = {
            "acme_account_created": Counter(accounts),
            "acme_order_created": Counter(orders),
            "acme_order_finalized": Counter(each[1] for each in versions),
            "certificate_revoked": Counter(each[0] for each in versions if each[4]),
        }
        wrong = 0
        for action, counts in expected.items():
            found = audited(action)
            wrong += sum(((found - counts) + (counts - found)).values())
        return wrong

    def verify_chain(self) -> None:
        """Raise AssertionError if the trail's chain is not whole, or does not hold every event in the end."""
        last = "SELECT max(id) FROM audit_events"

        def chained() -> bool:
            (ids,) = self.sql("SELECT max(last_event_id) FROM audit_batches")
            return ids == self.sql(last)[0]

        self.wait_for(chained, "all events are in the chain")
        run(
            sys.executable, "-m", "certctl", "audit", "verify", env=self.servers[0].settings, within=120
        ).must_succeed()


class Balancer:
    """HAProxy before several servers: TCP, round robin, nothing sticky. To clients it looks like a server."""

    def __init__(self, directory: Path, servers: Sequence[RunningServer], *, in_turn: bool = True) -> None:
        """If not in turn, the first server gets everything as long as it is there."""
        self.port = free_port()
        self.root = self.trust = servers[0].root
        spare = "" if in_turn else " backup"
        config = directory / "haproxy.cfg"
        lines = [
            "global",
            "  maxconn 2000",
            "defaults",
            "  mode tcp",
            "  timeout connect 2s",
            "  timeout client 75s",
            "  timeout server 75s",
            "  option redispatch 1",
            "  retries 3",
            "listen certctl",
            f"  bind {HOST}:{self.port}",
            "  balance roundrobin",
            *(
                f"  server s{number} {HOST}:{each.port} check inter 200ms fall 2 rise 1{spare if number else ''}"
                for number, each in enumerate(servers)
            ),
        ]
        config.write_text("\n".join(lines) + "\n")
        self._process = _started(directory, config)
        deadline = time.monotonic() + READY_WITHIN
        while not _answers(self.port):
            assert time.monotonic() < deadline and self._process.poll() is None, "HAProxy does not start"
            time.sleep(0.05)

    @property
    def url(self) -> str:
        """What all URLs begin with."""
        return f"https://{HOST}:{self.port}"

    directory_url = RunningServer.directory_url
    context = RunningServer.context
    connect = RunningServer.connect

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(10)


def _answers(port: int) -> bool:
    """Whether connections are taken there."""
    try:
        socket.create_connection((HOST, port), timeout=5).close()
    except OSError:
        return False
    return True


def _started(directory: Path, config: Path) -> subprocess.Popen[bytes]:
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        raise AssertionError("haproxy is missing: apt-get install haproxy")
    with (directory / "haproxy.log").open("wb") as log:
        return subprocess.Popen(
            [program, "-db", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


@contextmanager
def locked(postgres: PostgresServer, name: str, table: str) -> Iterator[Callable[[], None]]:
    """Nobody else touches a table until the end of the block, or until what it gives is called."""
    with closing(psycopg2.connect(postgres.url(name))) as connection:
        connection.cursor().execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield connection.commit
        connection.commit()
