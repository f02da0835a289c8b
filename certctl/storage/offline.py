"""The database as a program beside the server has it: read without being in its way, row by row if it is much.

On SQLite that is a read-only connection, which waits for nobody and for which nobody waits; on PostgreSQL a session of
its own. All that is read comes from one moment. Nothing is migrated.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from certctl.storage import sqlite_types
from certctl.storage.database import Query, Row, Statement, T, Unavailable

AT_ONCE = 2000  # rows that are fetched together
PATIENCE = 10.0  # seconds for a server that holds the file
NO_DRIVER = "PostgreSQL needs psycopg2 and txpostgres: install certctl[postgres]"
_numbers = itertools.count(1)


class Snapshot(Protocol):
    """The database at one moment."""

    def read(self, query: Query[T]) -> T:
        """Return what the query finds; raise Unavailable."""

    def stream(self, query: Query[Any]) -> Iterator[Row]:
        """Yield the rows that the query finds, and leave out what would be built of them; raise Unavailable."""


@contextmanager
def snapshot(where: Path | str) -> Iterator[Snapshot]:
    """Open the SQLite file, or the URL of a PostgreSQL database, for reading; raise Unavailable with why not."""
    with _sqlite(where) if isinstance(where, Path) else _postgres(where) as opened:
        yield opened


def write(where: Path | str, statement: Statement) -> None:
    """Make a change of one statement, beside a server that runs; raise Unavailable."""
    if isinstance(where, Path):
        with _refusals(), closing(sqlite3.connect(where, timeout=PATIENCE)) as connection, connection:
            connection.execute(statement.sql, statement.parameters)
        return
    with _connected(where, read_only=False) as wire, wire, wire.cursor() as cursor:
        cursor.execute(_plain(statement.sql), statement.parameters)


class _Sqlite:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def read(self, query: Query[T]) -> T:
        return query.build([*self.stream(query)])

    def stream(self, query: Query[Any]) -> Iterator[Row]:
        with _refusals():
            cursor = self._connection.execute(query.sql, query.parameters)
            while rows := cursor.fetchmany(AT_ONCE):
                yield from rows


@contextmanager
def _sqlite(path: Path) -> Iterator[Snapshot]:
    with (
        _refusals(),
        closing(
            sqlite3.connect(
                f"file:{quote(str(path.absolute()))}?mode=ro",
                uri=True,
                isolation_level=None,
                timeout=PATIENCE,
            )
        ) as connection,
    ):
        connection.text_factory = _lenient
        connection.execute("BEGIN")
        yield _Sqlite(connection)


def _lenient(text: bytes) -> str:
    """What is stored as text, also if somebody put there what is none."""
    return text.decode("utf-8", "backslashreplace")


@contextmanager
def _refusals() -> Iterator[None]:
    """Make of SQLite's errors what the rest knows."""
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(str(error)) from error


class _Postgres:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def read(self, query: Query[T]) -> T:
        return query.build([*self.stream(query)])

    def stream(self, query: Query[Any]) -> Iterator[Row]:
        with self._connection.cursor(name=f"certctl_{next(_numbers)}") as cursor:
            cursor.itersize = AT_ONCE
            cursor.execute(_plain(query.sql), query.parameters)
            yield from cursor


@contextmanager
def _postgres(url: str) -> Iterator[Snapshot]:
    with _connected(url, read_only=True) as connection:
        yield _Postgres(connection)


@contextmanager
def changing(url: str) -> Iterator[tuple[Snapshot, Any]]:
    """A transaction on a PostgreSQL database: what it sees, and its connection; undone unless that commits it."""
    with _connected(url, read_only=False) as connection:
        yield _Postgres(connection), connection


@contextmanager
def _connected(url: str, *, read_only: bool) -> Iterator[Any]:
    try:
        import psycopg2
        from psycopg2.extensions import ISOLATION_LEVEL_READ_COMMITTED, ISOLATION_LEVEL_REPEATABLE_READ

        from certctl.storage.postgres_wire import hosts, line
    except ImportError:
        raise Unavailable(NO_DRIVER) from None
    try:
        *earlier, last = hosts(url)
        for each in earlier:
            try:
                connection = psycopg2.connect(**_patient(each, read_only))
                break
            except psycopg2.OperationalError:  # the next host may answer
                continue
        else:
            connection = psycopg2.connect(**_patient(last, read_only))
        with closing(connection):
            level = ISOLATION_LEVEL_REPEATABLE_READ if read_only else ISOLATION_LEVEL_READ_COMMITTED
            connection.set_session(isolation_level=level, readonly=read_only)
            yield connection
    except psycopg2.Error as error:
        raise Unavailable(line(error)) from error


def _patient(parameters: dict[str, str], read_only: bool) -> dict[str, str]:
    """The parameters of a session whose statements may take as long as they need; a standby will do for reading."""
    more = {"target_session_attrs": "any"} if read_only else {}
    return {**parameters, "options": f"{parameters['options']} -c statement_timeout=0", **more}


def _plain(sql: str) -> str:
    from certctl.storage.postgres_sql import plain

    return plain(sql)


sqlite_types.register()
