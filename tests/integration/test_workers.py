"""Several workers behind one socket: killed, stopped, reloaded and replaced while clients are served."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from contextlib import closing
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from tests.integration.fleet import FleetCase, Patient, Row
from tests.integration.server import HOST, RunningServer, free_port, processes_of
from tests.integration.test_crash import SEED
from tests.integration.test_tls import pem, signed
from tests.unit.web.tls_cases import private_pem

WORKERS = 2
KILLS = int(os.environ.get("CERTCTL_TEST_KILLS") or 5)
CONNECTIONS = 24
NEW_WORKER_WITHIN = 5.0  # seconds until the process is there; a second on a machine that is not busy


class WorkersCase(FleetCase):
    def workers(self, **settings: str) -> RunningServer:
        """A parent with workers, all of them ready."""
        server = self.another(CERTCTL_SERVER_WORKERS=str(WORKERS), **settings)
        server.start()
        self.all_ready(server)
        return server

    def all_ready(self, server: RunningServer, starts: int = WORKERS) -> None:
        """Return when so many starts of workers came to their end."""
        self.wait_for(
            lambda: len(re.findall(r"worker \d+ is (?:ready|replaced)", server.log)) >= starts, server.log
        )

    def pids(self, server: RunningServer) -> list[int]:
        """The workers' processes."""
        return sorted(set(processes_of(server.pid)) - {server.pid})

    def metrics(self, server: Any) -> str:
        """What /metrics says."""
        with closing(server.connect()) as connection:
            connection.request("GET", "/metrics")
            return str(connection.getresponse().read().decode())


class ServingTests(WorkersCase):
    def test_all_serve(self) -> None:
        """Connections are shared out, on both ports, and one scrape tells of all workers."""
        plain = free_port()
        server = self.workers(CERTCTL_PKI_HTTP_PORT=str(plain))
        connections = [server.connect() for _ in range(CONNECTIONS)]
        for each in connections:
            self.addCleanup(each.close)
            each.request("GET", "/acme/profile/prof-default/directory")
        for each in connections:
            answer = each.getresponse()
            self.assertEqual((answer.status, len(answer.read()) > 0), (200, True))
        time.sleep(1.1)  # what is told of all workers is a second old at most
        told = dict(
            re.findall(
                r'^certctl_acme_requests_total{worker="(\d)",operation="directory",\S+} (\d+)',
                self.metrics(server),
                re.M,
            )
        )
        self.assertEqual(set(told), {"1", "2"}, told)
        self.assertEqual(sum(map(int, told.values())), CONNECTIONS)
        for _ in range(4):
            with closing(HTTPConnection(HOST, plain, timeout=20)) as connection:
                connection.request("GET", "/pki/iss-internal-ca/ca")
                self.assertEqual(connection.getresponse().status, 200)

    def test_stop(self) -> None:
        """Parent and workers end at once and with status 0; the parent has had no part of the server in its memory."""
        server = self.workers()
        session, pids = server.pid, self.pids(server)
        self.assertEqual(len(pids), WORKERS)
        for library in ("psycopg2", "_sqlite3"):
            loaded = [library in Path(f"/proc/{pid}/maps").read_text() for pid in (session, pids[0])]
            self.assertEqual(loaded, [False, True], library)
        began = time.monotonic()
        server.stop()
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(list(processes_of(session)), [], pids)
        self.assertEqual(server.log.count("certctl has stopped"), WORKERS + 1)
        server.start()
        self.all_ready(server, 2 * WORKERS)
        session = server.pid
        server.interrupt()  # Control-C reaches all of them, and then the workers hear of it from their parent too
        self.assertEqual(list(processes_of(session)), [])
        self.assertEqual(server.log.count("certctl has stopped"), 2 * (WORKERS + 1))

    def test_parent_killed(self) -> None:
        """Workers do not outlive their parent."""
        server = self.workers()
        session = server.pid
        os.kill(session, signal.SIGKILL)
        self.wait_for(lambda: not list(processes_of(session)), "the workers end")
        server.kill()

    def test_first_worker_cannot_start(self) -> None:
        """What keeps a worker from starting ends the parent too, which is no use without."""
        self.url = f"postgresql://u@{HOST}:{free_port()}/x"
        said = self.refused({"CERTCTL_DATABASE_URL": self.url, "CERTCTL_SERVER_WORKERS": "2"})
        self.assertEqual(said.status, 1)
        self.assertEqual(said.output.count("the database cannot be opened"), 1, said)

    def test_worker_that_hangs(self) -> None:
        """A worker that shows no sign of life is killed, and another takes its place; a scrape does without it."""
        server = self.another(CERTCTL_SERVER_WORKERS=str(WORKERS), WATCHDOG_USEC="6000000")
        server.start()
        self.all_ready(server)
        os.kill(self.pids(server)[0], signal.SIGSTOP)
        told = set(re.findall(r'^certctl_build_info{worker="(\d)"', self.metrics(server), re.M))
        self.assertEqual(len(told), WORKERS - 1)
        server.wait_logged("shows no sign of life", within=30)
        self.all_ready(server, WORKERS + 1)


class KilledTests(WorkersCase):
    def test_killed_under_load(self) -> None:
        """A worker that is killed loses nothing that was answered; another process is there within a second."""
        server = self.workers()
        chance = random.Random(SEED)
        row = Row("worker killed with -9, its siblings go on", KILLS)
        pauses: list[float] = []

        def kill_again_and_again(clients: list[Patient]) -> None:
            for _ in range(KILLS):
                time.sleep(chance.random())
                before = set(self.pids(server))
                self.strike(row, clients, partial(os.kill, chance.choice(sorted(before)), signal.SIGKILL))
                began = time.monotonic()
                while not set(self.pids(server)) - before:
                    time.sleep(0.01)
                pauses.append(time.monotonic() - began)
                self.progress(clients, 2)
                while len(self.pids(server)) < WORKERS:
                    time.sleep(0.01)

        self.under_load(server, row, kill_again_and_again)
        told = ", ".join(f"{each:.2f}" for each in pauses)
        print(f"seconds until there was another process: {told}", flush=True)
        self.assertLess(pauses[0], NEW_WORKER_WITHIN)


class Visitor(threading.Thread):
    """Asks for the directory again and again; whatever goes wrong is kept."""

    def __init__(self, server: RunningServer, over: threading.Event, *, keeps: bool) -> None:
        super().__init__(daemon=True)
        self.answers = 0
        self.wrong: list[str] = []
        self.places = set[Any]()  # from which it asked: one for each connection
        self._server, self._over, self._keeps = server, over, keeps

    def run(self) -> None:
        """Go on until it is over."""
        connection = self._server.connect()
        while not self._over.is_set():
            try:
                self.ask(connection)
            except (OSError, HTTPException) as error:
                self.wrong.append(repr(error))
                connection.close()
            if not self._keeps:
                connection.close()
            time.sleep(0.01)
        connection.close()

    def ask(self, connection: HTTPSConnection) -> None:
        """Ask once."""
        if connection.sock is None:
            connection.connect()
        self.places.add(connection.sock.getsockname())
        connection.request("GET", "/acme/profile/prof-default/directory")
        answer = connection.getresponse()
        if answer.status != 200 or not answer.read():
            self.wrong.append(f"status {answer.status}")
        self.answers += 1


class ReloadTests(WorkersCase):
    """Clients that keep their connection, and clients that open one for each request, see nothing of it."""

    def setUp(self) -> None:
        super().setUp()
        self.files = self.path()
        self.authority = signed("Example root")
        (self.files / "root.pem").write_bytes(pem(self.authority))
        self.write("first.example")
        server = self.another(
            CERTCTL_SERVER_WORKERS=str(WORKERS),
            CERTCTL_SERVER_TLS_CERT_PATH=str(self.files / "server.pem"),
            CERTCTL_SERVER_TLS_KEY_PATH=str(self.files / "server-key.pem"),
        )
        server.trust = self.files / "root.pem"
        server.start()
        self.all_ready(server)
        self.server, self.over = server, threading.Event()
        self.addCleanup(self.over.set)
        self.keepers = [Visitor(server, self.over, keeps=True) for _ in range(3)]
        self.comers = [Visitor(server, self.over, keeps=False) for _ in range(2)]
        for each in self.visitors:
            each.start()
        self.move_on()

    @property
    def visitors(self) -> list[Visitor]:
        """All of them."""
        return [*self.keepers, *self.comers]

    def write(self, name: str) -> None:
        """Put another certificate of the server's there."""
        leaf = signed("a server", self.authority, names=(HOST, name))
        (self.files / "server-key.pem").write_bytes(private_pem(leaf[1]))
        (self.files / "server.pem").write_bytes(pem(leaf))

    def move_on(self) -> None:
        """Return when every visitor has been answered some times more."""
        wanted = [each.answers + 5 for each in self.visitors]
        self.wait_for(
            lambda: all(each.answers >= least for each, least in zip(self.visitors, wanted, strict=True)),
            "visitors are answered",
        )

    def leave(self) -> None:
        """Have all of them go, and nobody complain."""
        self.over.set()
        for each in self.visitors:
            each.join(30)
        self.assertEqual([each.wrong for each in self.visitors], [[]] * len(self.visitors))

    def test_certificate(self) -> None:
        """SIGHUP: all workers serve the new certificate, and every connection stands."""
        self.write("second.example")
        self.server.signal(signal.SIGHUP)
        self.wait_for(
            lambda: self.server.log.count("the server's certificate was read again") == WORKERS, "all read it"
        )
        self.move_on()
        for _ in range(4 * WORKERS):
            with self.server.socket() as connection:
                names = dict(connection.getpeercert() or {})["subjectAltName"]
            self.assertIn(("DNS", "second.example"), names)
        self.leave()
        self.assertEqual([len(each.places) for each in self.keepers], [1] * len(self.keepers))
        self.assertGreater(len(self.comers[0].places), 5)

    def test_workers(self) -> None:
        """SIGUSR2: other processes serve, and a client that was silent all the while is answered on its connection."""
        silent = [self.server.connect() for _ in range(2 * WORKERS)]
        for each in silent:
            self.addCleanup(each.close)
            each.connect()
        before = self.pids(self.server)
        self.server.signal(signal.SIGUSR2)
        self.all_ready(self.server, 2 * WORKERS)
        self.move_on()
        for each in silent:
            place = each.sock.getsockname()
            each.request("GET", "/ready")
            self.assertEqual(each.sock.getsockname(), place)
            answer = each.getresponse()
            answer.read()
            self.assertEqual((answer.status, answer.headers["Connection"]), (503, "close"))
        self.wait_for(lambda: not set(before) & set(self.pids(self.server)), "the old ones have gone")
        self.assertEqual(len(self.pids(self.server)), WORKERS)
        self.leave()
