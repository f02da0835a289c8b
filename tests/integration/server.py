"""A server in a process of its own, as an operator starts it, for tests that look at it from outside."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from twisted.trial.unittest import TestCase

CHECKOUT = Path(__file__).parent.parent.parent
PROGRAMS = Path(sys.executable).parent
TWISTD = (str(PROGRAMS / "twistd"), "--nodaemon", "--pidfile=", "certctl")
MAKE_RUN = ("make", "--no-print-directory", "-C", str(CHECKOUT), "run", f"VENV={sys.prefix}")
HOST = "127.0.0.1"
PROFILE = "prof-default"
READY_WITHIN = 30.0  # seconds, on a busy machine; one is usual
STOPS_WITHIN = 30.0  # more than the server gives to requests that run
CLIENT_ENDS_WITHIN = 60.0
# What would change how the server or a client behaves, or what belongs to the make that runs the tests.
_NOT_HANDED_ON = ("CERTCTL_", "MAKE", "MFLAGS", "LEGO_", "ACME_", "CURL_", "SSL_CERT_", "REQUESTS_")
_BASIC = {
    "CERTCTL_ACME_SERVER_ENABLED": "true",
    "CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID": PROFILE,
    "CERTCTL_LOG_FORMAT": "text",
    "CERTCTL_ACME_SERVER_RATE_LIMIT_ORDERS_PER_HOUR": "0",
    "CERTCTL_ACME_SERVER_RATE_LIMIT_CONCURRENT_ORDERS": "0",
    "CERTCTL_ACME_SERVER_RATE_LIMIT_NETWORK_ACCOUNTS_PER_HOUR": "0",
}


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a program that a test starts: this one's, without what would change its behaviour."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_HANDED_ON) and not name.lower().endswith("_proxy")
    }
    return {**inherited, **(extra or {})}


def free_port() -> int:
    """A TCP port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _hear_control_c() -> None:
    """Undo what a shell does to what it starts in the background, the tests perhaps: that ignores SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Ran:
    """A program that came to its end, and what it said."""

    def __init__(self, command: Sequence[str | Path], status: int, output: str) -> None:
        self.command, self.status, self.output = command, status, output

    def __str__(self) -> str:
        return f"{shlex.join(map(str, self.command))} ended with {self.status}:\n{self.output}"

    def must_succeed(self) -> Ran:
        """Return this; raise AssertionError with all that was said if the exit status is not 0."""
        if self.status:
            raise AssertionError(str(self))
        return self


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    within: float = CLIENT_ENDS_WITHIN,
) -> Ran:
    """Run a program to its end, which comes within so many seconds, or AssertionError with what it said so far."""
    with subprocess.Popen(
        [str(each) for each in command],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(str(Ran(command, process.returncode, f"{output}\n(too slow)"))) from None
    return Ran(command, process.returncode, output)


class RunningServer:
    """One certctl: a state directory, a port, and the process that has them at the moment.

    Started by ``with`` or ``start``; after ``stop`` or ``kill`` it can be started again.
    """

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, str] | None = None,
        *,
        command: Sequence[str] = TWISTD,
    ) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.port = free_port()
        self.command = command
        self.settings = {
            **(_BASIC if command is TWISTD else {}),
            "CERTCTL_STATE_DIR": str(self.state),
            "CERTCTL_SERVER_PORT": str(self.port),
            **(settings or {}),
        }
        self.root = self.state / "root-ca.pem"
        self.trust = self.root  # what the server's own certificate is judged by
        self.handed: tuple[int, ...] = ()  # file descriptors that the process gets beside the usual three
        self._log = directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """What all of the server's URLs begin with."""
        return f"https://{HOST}:{self.port}"

    @property
    def directory_url(self) -> str:
        """Where clients begin."""
        return f"{self.url}/acme/profile/{PROFILE}/directory"

    @property
    def pid(self) -> int:
        """The process, or the make above it."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """All that the server has said since the first start."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def context(self) -> ssl.SSLContext:
        """A client's TLS context that trusts the server's root alone."""
        return ssl.create_default_context(cafile=str(self.trust))

    def connect(self, timeout: float = 20.0) -> HTTPSConnection:
        """A connection for HTTP requests, opened by the first one."""
        return HTTPSConnection(HOST, self.port, context=self.context(), timeout=timeout)

    def socket(self, timeout: float = 20.0) -> ssl.SSLSocket:
        """A TLS connection for whatever octets a test likes to send."""
        plain = socket.create_connection((HOST, self.port), timeout=timeout)
        return self.context().wrap_socket(plain, server_hostname=HOST)

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What a query finds in the server's database, read beside the server."""
        with closing(sqlite3.connect(f"file:{self.state}/certctl.sqlite?mode=ro", uri=True)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def launch(self) -> None:
        """Start the process, and do not wait until it answers."""
        assert self._process is None, "it runs"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                env=environment(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=self.handed,
                start_new_session=True,
                preexec_fn=_hear_control_c,
            )

    def start(self) -> Self:
        """Start it, and return when it is ready."""
        self.launch()
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Return when ``/ready`` says so; raise AssertionError with the log if it ends or takes too long."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError(f"the server ended with {self._process.returncode}:\n{self.log}")
            if self._is_ready():
                return
            time.sleep(0.05)
        raise AssertionError(f"the server is not ready after {READY_WITHIN} s:\n{self.log}")

    def _is_ready(self) -> bool:
        try:
            with closing(self.connect(timeout=5)) as connection:
                connection.request("GET", "/ready")
                return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False

    def wait_logged(self, words: str, within: float = 10.0) -> None:
        """Return when the log has these words; raise AssertionError with the log if it never has."""
        deadline = time.monotonic() + within
        while words not in self.log:
            if time.monotonic() > deadline:
                raise AssertionError(f"{words!r} is not in the log:\n{self.log}")
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        os.kill(self.pid, number)

    def interrupt(self) -> int:
        """Press Ctrl-C, which reaches the whole process group; return the exit status."""
        os.killpg(self.pid, signal.SIGINT)
        return self._ended()

    def stop(self) -> None:
        """Stop it as systemd does; raise AssertionError if the exit status is not 0."""
        self.signal(signal.SIGTERM)
        status = self._ended()
        if status:
            raise AssertionError(f"the server ended with {status}:\n{self.log}")

    def kill(self) -> None:
        """Kill it as a power cut would, all of its processes at once."""
        os.killpg(self.pid, signal.SIGKILL)
        _ = self._ended()

    def restart(self) -> Self:
        """Stop it and start it again."""
        self.stop()
        return self.start()

    def end(self) -> None:
        """Stop it if it runs; raise AssertionError if its log shows that it stumbled over anything."""
        try:
            if self._process is not None and self._process.poll() is None:
                self.stop() if self.command is TWISTD else self.interrupt()
        finally:
            if self._process is not None and self._process.poll() is None:
                self.kill()
        self.must_be_unhurt()

    def must_be_unhurt(self) -> None:
        """Raise AssertionError if the log shows that the server stumbled over anything."""
        if "Traceback" in self.log or " critical " in self.log or "a request failed" in self.log:
            raise AssertionError(f"the server stumbled:\n{self.log}")

    def _ended(self) -> int:
        assert self._process is not None
        status = self._process.wait(STOPS_WITHIN)
        self._process = None
        return status

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, type: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class ServerTestCase(TestCase):
    """A test that starts servers; each ends with it, and must end well."""

    def path(self) -> Path:
        """A directory of this test's own."""
        made = Path(self.mktemp()).absolute()
        made.mkdir(parents=True)
        return made

    def serve(
        self, settings: Mapping[str, str] | None = None, *, command: Sequence[str] = TWISTD
    ) -> RunningServer:
        """Start a server that ends with the test."""
        server = RunningServer(self.path(), settings, command=command)
        self.addCleanup(server.end)
        return server.start()

    def refused(self, settings: Mapping[str, str], *, command: Sequence[str] = TWISTD) -> Ran:
        """Start a server that must not start."""
        server = RunningServer(self.path(), settings, command=command)
        ran = run(*server.command, cwd=server.directory, env=server.settings, within=READY_WITHIN)
        self.assertNotEqual(ran.status, 0, ran)
        return ran


def processes_of(session: int) -> Iterator[int]:
    """The processes that live in a session, so after its leader too."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                yield int(entry.name)
