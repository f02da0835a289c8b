"""What systemd would see of a server: readiness, watchdog, reload, and the sockets that it hands over.

There is no systemd that runs here: the tests hold the notify socket, and the listening sockets, in its place.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import sqlite3
import struct
import time
from contextlib import closing
from http.client import HTTPConnection

import attrs

from certctl.listening import listening_socket
from tests.integration.fleet import FleetCase
from tests.integration.server import _BASIC, HOST, TWISTD, RunningServer, ServerTestCase, free_port

WITHIN = 30.0  # seconds
WATCHDOG = 4.0  # seconds; a sign of life every two


@attrs.frozen
class Message:
    """A datagram, and who sent it."""

    pid: int
    text: str

    @property
    def lines(self) -> list[str]:
        """What it says."""
        return self.text.split("\n")


class NotifySocket:
    """Where systemd would listen: a path, or an abstract name."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.close = self._socket.close

    def next(self, within: float = WITHIN) -> Message:
        """The next message."""
        self._socket.settimeout(within)
        data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("3i")))
        (pid, _, _) = struct.unpack("3i", ancillary[0][2])
        return Message(pid, data.decode())

    def until(self, line: str) -> list[Message]:
        """All messages up to one that has this line."""
        found: list[Message] = []
        deadline = time.monotonic() + WITHIN
        while not found or line not in found[-1].lines:
            found.append(self.next(max(0.01, deadline - time.monotonic())))
        return found

    def silent(self, seconds: float) -> bool:
        """Whether nobody shows a sign of life in so long; what is waiting already is thrown away."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            pass
        try:
            deadline = time.monotonic() + seconds
            while True:
                if "WATCHDOG=1" in self.next(max(0.01, deadline - time.monotonic())).lines:
                    return False
        except TimeoutError:
            return True


class NotifyTests(FleetCase):
    """READY=1 and its like, by a server alone and by the parent of workers."""

    def notified(self, address: str, **settings: str) -> tuple[NotifySocket, RunningServer]:
        """A server that tells how it is, not ready yet."""
        listening = NotifySocket(address)
        self.addCleanup(listening.close)
        server = self.another(NOTIFY_SOCKET=address, WATCHDOG_USEC=str(int(WATCHDOG * 1_000_000)), **settings)
        server.launch()
        return listening, server

    def abstract(self) -> str:
        return f"@certctl-test-{secrets.token_hex(8)}"

    def lives_and_ends(self, listening: NotifySocket, server: RunningServer) -> None:
        """From a first sign of life to the end: all of it is said by the process that systemd started."""
        server.wait_ready()
        said = listening.until("WATCHDOG=1")
        began = time.monotonic()
        said += listening.until("WATCHDOG=1")
        self.assertLess(time.monotonic() - began, 2 * WATCHDOG)  # half of it, but for a busy machine
        server.signal(signal.SIGHUP)
        before = time.clock_gettime(time.CLOCK_MONOTONIC)
        (reloading, *_) = reload = listening.until("RELOADING=1")[-1:] + listening.until("READY=1")
        told = re.search(r"^MONOTONIC_USEC=(\d+)$", reloading.text, re.M)
        assert told is not None
        self.assertLess(abs(int(told[1]) / 1e6 - before), 5)
        pid = server.pid
        server.stop()
        said += reload + listening.until("STOPPING=1")
        self.assertEqual({each.pid for each in said}, {pid})

    def test_alone(self) -> None:
        """A server alone, on SQLite, by an abstract name; it shows no sign of life while its file cannot be read."""
        self.url = ""
        listening, server = self.notified(self.abstract())
        listening.until("WATCHDOG=1")
        with closing(sqlite3.connect(server.state / "certctl.sqlite")) as database:
            database.execute("ALTER TABLE certificate_profiles RENAME TO gone")
            listening.until("STATUS=the database does not answer")
            self.assertTrue(listening.silent(1.5 * WATCHDOG))
            database.execute("ALTER TABLE gone RENAME TO certificate_profiles")
        listening.until("WATCHDOG=1")
        self.lives_and_ends(listening, server)

    def test_workers(self) -> None:
        """Workers tell their parent, and the parent tells systemd, by a path; all that is said comes from it."""
        directory = self.path()
        address = f"/proc/{os.getpid()}/cwd/{os.path.relpath(directory)}/notify"
        listening, server = self.notified(address, CERTCTL_SERVER_WORKERS="2")
        listening.until("STATUS=2 of 2 workers: answers requests")
        server.signal(signal.SIGUSR2)
        listening.until("RELOADING=1")
        listening.until("READY=1")
        self.lives_and_ends(listening, server)

    def test_database_away(self) -> None:
        """While the database is away, the server says so, and lives on."""
        listening, server = self.notified(self.abstract())
        listening.until("READY=1")
        self.postgres.sql(f"ALTER DATABASE {self.name} WITH ALLOW_CONNECTIONS false")
        self.postgres.sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'"
        )
        listening.until("STATUS=the database does not answer")
        for _ in range(2):
            listening.until("WATCHDOG=1")
        self.postgres.sql(f"ALTER DATABASE {self.name} WITH ALLOW_CONNECTIONS true")
        listening.until("STATUS=answers requests")
        os.kill(server.pid, signal.SIGSTOP)
        self.assertTrue(listening.silent(1.5 * WATCHDOG))
        os.kill(server.pid, signal.SIGCONT)
        listening.until("WATCHDOG=1")


class ActivationCase(ServerTestCase):
    """Servers that are started with sockets."""

    def activated(self, names: str, *listening: socket.socket) -> RunningServer:
        """A server that is handed sockets as systemd hands them over; not started yet."""
        # Moved to 3, 4, ...: from numbers above those, and that nothing else here has.
        handed = tuple(fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 100) for each in listening)
        for number in handed:
            self.addCleanup(os.close, number)
        moves = "".join(f"exec {3 + n}<&{number} {number}<&-;" for n, number in enumerate(handed))
        wrapped = ("bash", "-c", f'{moves} LISTEN_PID=$$ exec "$@"', "-", *TWISTD)
        given = {"LISTEN_FDS": str(len(listening)), "LISTEN_FDNAMES": names}
        server = RunningServer(self.path(), {**_BASIC, **given}, command=wrapped)
        server.port = listening[0].getsockname()[1]
        server.handed = handed
        self.addCleanup(self.end, server)
        return server

    def end(self, server: RunningServer) -> None:
        server.command = TWISTD  # which is stopped by SIGTERM
        server.end()

    def listening(self) -> socket.socket:
        """A socket as systemd would have opened it."""
        made = listening_socket(HOST, 0)
        self.addCleanup(made.close)
        return made


class SocketActivationTests(ActivationCase):
    """LISTEN_FDS: the sockets are there before the server, and after it."""

    def test_by_name(self) -> None:
        """TLS on the first two, plain HTTP on pki; who comes before the server, or while it is away, waits."""
        tls, more, plain = (self.listening() for _ in range(3))
        server = self.activated("tls:tls:pki", tls, more, plain)
        early = socket.create_connection(tls.getsockname())
        server.start()
        server.wait_logged("but CERTCTL_SERVER_PORT is")
        self.addCleanup(early.close)
        with server.context().wrap_socket(early, server_hostname=HOST) as speaking:
            speaking.settimeout(20)
            speaking.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertIn(b"200 OK", speaking.recv(1000))
        connection = HTTPConnection(HOST, plain.getsockname()[1], timeout=20)
        connection.request("GET", "/pki/iss-internal-ca/ca")
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()
        server.kill()
        between = socket.create_connection(more.getsockname())
        between.settimeout(20)
        server.start()
        with server.context().wrap_socket(between, server_hostname=HOST) as speaking:
            speaking.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertIn(b"200 OK", speaking.recv(1000))

    def test_systemd_socket_activate(self) -> None:
        """Systemd's own program starts the server with the first connection, which is served."""
        program = shutil.which("systemd-socket-activate")
        if program is None:
            raise AssertionError("systemd-socket-activate is missing: apt-get install systemd")
        port = free_port()
        server = RunningServer(self.path())
        handed = [part for name, value in server.settings.items() for part in ("--setenv", f"{name}={value}")]
        server.command = (program, "--listen", f"{HOST}:{port}", "--fdname", "tls", *handed, *TWISTD)
        server.port = port
        self.addCleanup(self.end, server)
        server.launch()
        self.wait_for_port(port)
        server.wait_ready()
        self.assertIn("Listening on", server.log)

    def wait_for_port(self, port: int) -> None:
        """Return when somebody listens; the connection is what starts the server."""
        deadline = time.monotonic() + WITHIN
        while True:
            try:
                socket.create_connection((HOST, port)).close()
                return
            except ConnectionRefusedError:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)

    def test_no_socket(self) -> None:
        """A descriptor that is no listening socket ends the start with one sentence."""
        unfit = socket.socket()
        self.addCleanup(unfit.close)
        server = self.activated("tls", unfit)
        server.launch()
        self.assertNotEqual(server._ended(), 0)
        self.assertIn("certctl: file descriptor 3 (tls) is no listening TCP socket", server.log)


class LowPortTests(ActivationCase):
    """A port below 1024 takes one capability, or a socket that was opened by somebody else, and no root."""

    if os.geteuid() != 0:
        skip = "only root can give its capabilities away"

    def without(self, *kept: str) -> tuple[str, ...]:
        """How a command is started that has these capabilities alone."""
        wanted = ",".join(("-all", *(f"+{each}" for each in kept)))
        sets = [f"--{each}-caps={wanted}" for each in ("inh", "ambient")]
        return ("setpriv", f"--bounding-set={wanted}", *sets)

    def low(self) -> socket.socket:
        """A socket on a free port below 1024."""
        for port in range(1023, 600, -1):
            try:
                return listening_socket(HOST, port)
            except OSError:
                continue
        raise AssertionError("no port below 1024 is free")

    def test_capability(self) -> None:
        """With CAP_NET_BIND_SERVICE, as the unit's AmbientCapabilities= may give it, and not without any."""
        probe = self.low()
        port = str(probe.getsockname()[1])
        probe.close()
        ran = self.refused({"CERTCTL_SERVER_PORT": port}, command=(*self.without(), *TWISTD))
        self.assertIn(f"cannot listen on {HOST}:{port} (Permission denied)", ran.output)
        server = RunningServer(
            self.path(), {"CERTCTL_SERVER_PORT": port}, command=(*self.without("net_bind_service"), *TWISTD)
        )
        server.port = int(port)
        self.addCleanup(self.end, server)
        server.start()

    def test_socket(self) -> None:
        """Without any capability, on a socket that was handed over."""
        listening = self.low()
        self.addCleanup(listening.close)
        server = self.activated("tls", listening)
        server.command = (*self.without(), *server.command)
        server.start()
