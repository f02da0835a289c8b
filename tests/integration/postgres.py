"""A PostgreSQL of the tests' own: made in a temporary folder, never the machine's, and gone with the tests."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import psycopg2
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.trial.unittest import SkipTest

from certctl.storage.postgres import PostgresDatabase
from tests.integration.server import HOST, free_port

T = TypeVar("T")
ADMIN = "postgres"
TEMPLATE = "certctl_empty"  # a database with the schema and nothing in it
READY_WITHIN = 60.0  # seconds, on a busy machine
ANSWERS_WITHIN = 60.0


def programs() -> Path:
    """Where initdb and postgres are, of the newest version; the test is skipped if nowhere."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    if anywhere := shutil.which("initdb"):
        return Path(anywhere).resolve().parent
    raise SkipTest("there is no PostgreSQL here: apt-get install postgresql")


def _unprivileged() -> list[str]:
    """What a command begins with, so that it runs as somebody whom PostgreSQL accepts and ends when we do."""
    if os.geteuid():
        return ["setpriv", "--pdeathsig", "QUIT"]
    user = _user()
    return [
        "setpriv",
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--pdeathsig",
        "QUIT",
    ]


def _parents() -> Iterator[tuple[int, int]]:
    """Each process and its parent."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                yield int(entry.name), int(fields[1])


def _user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


class PostgresServer:
    """A server on a socket and a loopback port of its own, with fsync on; it can be stopped, killed and restarted."""

    def __init__(self, primary: PostgresServer | None = None) -> None:
        """With a primary, a standby of it."""
        self._programs = programs()
        self.directory = Path(tempfile.mkdtemp(prefix="certctl-postgres-"))
        self.port = free_port()
        self._data = self.directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        if not os.geteuid():
            os.chown(self.directory, _user().pw_uid, _user().pw_gid)
        make: Sequence[str | Path]
        if primary is None:
            make = ("initdb", "-D", self._data, "-U", ADMIN, "-A", "trust", "-E", "UTF8", "--no-locale")
        else:
            make = ("pg_basebackup", "-D", self._data, "-R", "-c", "fast", "-d", primary.url("postgres"))
        subprocess.run(
            [*_unprivileged(), self._programs / make[0], *make[1:]],
            check=True,
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            timeout=READY_WITHIN,
        )

    def start(self) -> PostgresServer:
        """Start it, and return when it answers."""
        settings = {
            "port": self.port,
            "listen_addresses": HOST,
            "unix_socket_directories": self.directory,
            "max_connections": 60,
            "fsync": "on",
            "timezone": "Pacific/Chatham",  # so that nobody relies on the server's being UTC
        }
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_unprivileged(),
                    str(self._programs / "postgres"),
                    "-D",
                    str(self._data),
                    *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
                ],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                self.sql("SELECT 1")
                return self
            except psycopg2.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise AssertionError(f"PostgreSQL does not start:\n{self.log}") from None
                time.sleep(0.05)

    @property
    def log(self) -> str:
        """All that the server said."""
        return (self.directory / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The process from which all others of the server come."""
        assert self._process is not None
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends all sessions and writes everything, SIGQUIT is a crash (``-m immediate``)."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(READY_WITHIN)
            self._process = None

    def kill(self) -> None:
        """Kill all of its processes with -9, as a power cut would."""
        children = [pid for pid, parent in _parents() if parent == self.pid]
        for pid in (self.pid, *children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.stop(signal.SIGKILL)

    def remove(self) -> None:
        """Stop it, and leave nothing behind."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, database: str, *, user: str = ADMIN) -> str:
        """A URL of one of its databases, by the socket."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.directory), safe='')}&port={self.port}"

    def tcp_url(self, database: str) -> str:
        """A URL of one of its databases, by the loopback port."""
        return f"postgresql://{ADMIN}@{HOST}:{self.port}/{database}"

    def sql(self, text: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement beside certctl, and return its rows."""
        with closing(psycopg2.connect(self.url(database))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(text)
                return cursor.fetchall() if cursor.description else []

    def database(self, name: str, template: str = "template0") -> str:
        """Make a database, and return its URL."""
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)


@cache
def shared() -> PostgresServer:
    """The server that all tests of a process share; each has databases of its own. Has the template."""
    server = PostgresServer()
    atexit.register(server.remove)
    url = server.start().database(TEMPLATE)
    loop = Loop()
    loop.result(loop.result(PostgresDatabase.open(url, loop.reactor, 1)).close())
    server.sql("DELETE FROM acme_nonces", TEMPLATE)
    return server


class Loop:
    """A reactor that turns only while somebody waits, so that a synchronous test can use what is not."""

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()

    def result(self, work: Coroutine[Any, Any, T] | Deferred[T], within: float = ANSWERS_WITHIN) -> T:
        """Return what it returns, or raise what it raises."""
        running = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
        outcome: list[Any] = []
        _ = running.addBoth(outcome.append)
        deadline = time.monotonic() + within
        while not outcome:
            assert time.monotonic() < deadline, "no answer came"
            self.reactor.iterate(0.02)
        if hasattr(outcome[0], "raiseException"):
            outcome[0].raiseException()
        found: T = outcome[0]
        return found

    def turn(self, seconds: float) -> None:
        """Let things happen for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.reactor.iterate(0.02)
