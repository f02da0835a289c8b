"""What a program beside the server asks of a database: whether it is whole, which schema it has, a copy of it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from certctl.storage.database import Query, Unavailable

PAGES = 1000  # copied between two looks at who else wants the file
PATIENCE = 10.0  # seconds


class DatabaseHeld(Exception):
    """A server runs on the file."""


def integrity() -> Query[list[str]]:
    """What SQLite finds wrong with its file; empty if nothing is."""
    return Query(
        "PRAGMA integrity_check(20)", (), lambda rows: [str(each[0]) for each in rows if each[0] != "ok"]
    )


def schema() -> Query[tuple[int, int]]:
    """The newest migration that ran, and the oldest code that can live with all of them."""
    return Query(
        "SELECT max(version), max(oldest_code) FROM schema_migrations",
        (),
        lambda rows: (int(rows[0][0] or 0), int(rows[0][1] or 0)),
    )


def postgres_time() -> Query[datetime]:
    """The time on the database's clock."""
    return Query("SELECT now()", (), lambda rows: datetime.fromisoformat(str(rows[0][0])))


def copy(source: Path, target: Path) -> None:
    """Copy an SQLite database to a new file, whole as of one moment, while a server runs on it; raise Unavailable."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            closing(
                sqlite3.connect(f"file:{quote(str(source.absolute()))}?mode=ro", uri=True, timeout=PATIENCE)
            ) as here,
            closing(sqlite3.connect(target)) as there,
        ):
            here.backup(there, pages=PAGES)
            there.execute("PRAGMA journal_mode = DELETE")  # one file, which needs no other beside it
    except sqlite3.Error as error:
        raise Unavailable(f"{source}: {error}") from error


def in_use(path: Path) -> bool:
    """Whether a server runs on an SQLite file."""
    try:
        with held(path, make=False):
            return False
    except FileNotFoundError:
        return False
    except DatabaseHeld:
        return True


@contextmanager
def held(path: Path, *, make: bool = True) -> Iterator[None]:
    """Keep servers off an SQLite file meanwhile; raise DatabaseHeld if one runs on it.

    The lock that a server finds later is its own, whoever made it.
    """
    lock = path.with_name(path.name + ".lock")
    new = make and not lock.exists()
    descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o600)
    try:
        if new and not os.geteuid():
            owner = path.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DatabaseHeld(f"a server runs on {path}") from None
    finally:
        os.close(descriptor)
