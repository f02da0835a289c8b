"""A PostgreSQL for one benchmark: made in a temporary directory, on loopback, every commit on the disk."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import attrs
import psycopg2

LOOPBACK = "127.0.0.1"
ADMIN = "postgres"
PATIENCE = 60.0  # seconds for it to start
# What an operator would set, and what makes runs alike. Nothing here lets a commit return before it is on the disk.
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "max_connections": "100",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
}


@attrs.frozen
class Postgres:
    """A server that answers."""

    pid: int
    url: str

    def sql(self, text: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement, and return its rows."""
        with closing(psycopg2.connect(self.url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(text, parameters)
                return cursor.fetchall() if cursor.description else []


@contextmanager
def postgresql(place: Path, settings: Mapping[str, str] = SETTINGS) -> Iterator[Postgres]:
    """Run a server until the context ends, on the data that an earlier one left in the directory, if there was one."""
    place.mkdir(exist_ok=True)
    place.parent.chmod(0o711)  # for the user that it runs as
    if not os.geteuid():
        os.chown(place, *_user())
    if not (place / "data").exists():
        _run("initdb", "-D", "data", "-U", ADMIN, "-A", "trust", "-E", "UTF8", "--no-locale", cwd=place)
    with socket.create_server((LOOPBACK, 0)) as probe:
        port = probe.getsockname()[1]
    given = {**settings, "port": str(port), "unix_socket_directories": str(place)}
    options = (part for name, value in given.items() for part in ("-c", f"{name}={value}"))
    with (place / "log").open("ab") as log:
        command = _as_user("postgres", "-D", "data", *options)
        child = subprocess.Popen(command, cwd=place, stdout=log, stderr=subprocess.STDOUT)
    try:
        database = Postgres(child.pid, f"postgresql://{ADMIN}@{LOOPBACK}:{port}/postgres")
        _wait_for(database, child, place / "log")
        yield database
    finally:
        child.send_signal(signal.SIGINT)  # which ends the sessions, and writes all that is to be written
        child.wait()


def _wait_for(database: Postgres, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            database.sql("SELECT 1")
            return
        except psycopg2.OperationalError:
            if time.monotonic() > deadline or child.poll() is not None:
                raise RuntimeError(f"PostgreSQL does not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.05)


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(_as_user(*command), cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def _as_user(program: str, *arguments: str) -> list[str]:
    """A command of PostgreSQL, which refuses to run as root."""
    path = str(_programs() / program)
    if os.geteuid():
        return [path, *arguments]
    user, group = _user()
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", path, *arguments]


def _user() -> tuple[int, int]:
    found = pwd.getpwnam(ADMIN)
    return found.pw_uid, found.pw_gid


def _programs() -> Path:
    """Where initdb and postgres are, of the newest version; raise RuntimeError if nowhere."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    if anywhere := shutil.which("initdb"):
        return Path(anywhere).resolve().parent
    raise RuntimeError("there is no PostgreSQL here (Debian: apt-get install postgresql)")
