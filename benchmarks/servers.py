"""Servers to be measured: each is started on loopback with a state of its own, and stopped again."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import attrs

from benchmarks.postgres import postgresql

LOOPBACK = "127.0.0.1"
PATIENCE = 30.0  # seconds for a server to start, and to stop
READY = re.compile(r"worker \d+ is ready")
HTTP_PORT = 5002  # where servers connect to for http-01, if they let themselves be told


LIMITS = (
    "ORDERS_PER_HOUR",
    "CONCURRENT_ORDERS",
    "KEY_CHANGE_PER_HOUR",
    "CHALLENGE_RESPONDS_PER_HOUR",
    "NETWORK_ACCOUNTS_PER_HOUR",
)


class ServerFailed(Exception):
    """A server did not start; the message has the end of its log."""


@attrs.frozen(kw_only=True)
class Running:
    """A server that answers."""

    pids: tuple[int, ...]
    database_pids: tuple[int, ...] = ()  # of a database beside it
    directory: str
    ca: Path  # PEM; TLS is verified against it
    root: Path | None = None  # PEM; where the chains end


class Server(Protocol):
    """A server that can be measured."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    @property
    def http_port(self) -> int:
        """Where it connects to for http-01."""

    @property
    def dns_port(self) -> int:
        """Where it asks for addresses; 0 if it asks for none."""

    def running(self, state: Path) -> Iterator[Running]:
        """Start it with its state below ``state``, yield it once, and stop it."""


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def started(server: Server) -> Iterator[Running]:
    """Run a server with a state directory that is removed afterwards."""
    with TemporaryDirectory(prefix="benchmark-") as state:
        yield from server.running(Path(state))


@contextmanager
def process(command: Sequence[str], environment: Mapping[str, str], state: Path, port: int) -> Iterator[int]:
    """Run a command in ``state`` until the context ends; yield its pid when it listens on ``port``."""
    log = state / "log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, cwd=state, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_for(child, port, log)
        yield child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_for(child: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and child.poll() is None:
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise ServerFailed(f"{child.args!r} does not listen on port {port}:\n{log.read_text()[-2000:]}")


@attrs.frozen(kw_only=True)
class Certctl:
    """certctl from this checkout, its limits switched off; on SQLite, or on a PostgreSQL of its own.

    With several workers its pid is that of their parent, whose descendants count with it.
    """

    name: str = "certctl"
    settings: Mapping[str, str] = attrs.field(factory=dict)
    postgres: bool = False
    workers: int = 1
    before: tuple[str, ...] = ()  # what its command begins with, such as a tool that counts
    http_port: int = HTTP_PORT
    dns_port: int = 0

    def running(self, state: Path) -> Iterator[Running]:
        """Start it by twistd, as an installation does."""
        if not self.postgres:
            yield from self._running(state, {}, ())
            return
        with postgresql(state / "postgres") as database:
            yield from self._running(state, {"CERTCTL_DATABASE_URL": database.url}, (database.pid,))

    def _running(self, state: Path, more: Mapping[str, str], database: tuple[int, ...]) -> Iterator[Running]:
        port = free_port()
        environment = {
            "CERTCTL_STATE_DIR": str(state / "certctl"),
            "CERTCTL_SERVER_PORT": str(port),
            "CERTCTL_ACME_SERVER_ENABLED": "true",
            "CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID": "prof-default",
            **{f"CERTCTL_ACME_SERVER_RATE_LIMIT_{limit}": "0" for limit in LIMITS},
            "CERTCTL_SERVER_WORKERS": str(self.workers),
            "PYTHONPATH": str(Path(__file__).parent.parent),
            **more,
            **(challenging(self.dns_port) if self.dns_port else {}),
            **self.settings,
        }
        command = [
            *self.before,
            sys.executable,
            f"{sysconfig.get_path('scripts')}/twistd",
            "--nodaemon",
            "--pidfile=",
            "certctl",
        ]
        with process(command, environment, state, port) as pid:
            root = state / "certctl" / "root-ca.pem"
            while not root.exists() or not self._all_ready(state):  # the port is taken before the CA is made
                time.sleep(0.05)
            directory = f"https://{LOOPBACK}:{port}/acme/directory"
            yield Running(pids=(pid,), database_pids=database, directory=directory, ca=root, root=root)

    def _all_ready(self, state: Path) -> bool:
        """Whether all workers have started, of which the parent tells by a line each, so that the start costs none of
        the certificates.
        """
        return self.workers == 1 or len(READY.findall((state / "log").read_text())) >= self.workers


def challenging(dns_port: int) -> dict[str, str]:
    """The settings of a certctl that has each name proved on this machine, with names looked up at ``dns_port``."""
    return {
        "CERTCTL_ACME_SERVER_DEFAULT_AUTH_MODE": "challenge",
        "CERTCTL_ACME_SERVER_HTTP01_PORT": str(HTTP_PORT),
        "CERTCTL_ACME_SERVER_DNS01_RESOLVER": f"{LOOPBACK}:{dns_port}",
        "CERTCTL_ACME_SERVER_EGRESS_ALLOW": f"{LOOPBACK}/32",
    }
