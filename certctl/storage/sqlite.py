"""The embedded engine: one SQLite file, everything in the caller's thread but the wait for the disk.

A statement takes 5 to 10 us, less than a trip to a thread and back and the fight for the interpreter that comes with
it, so statements are plain calls. COMMIT waits for the disk: it alone runs in a thread, and what is to be written
meanwhile gathers and goes into the next transaction together. Spent nonces lie beside it (see ``nonce_store``).
"""

from __future__ import annotations

import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from certctl.acme.nonces import NonceKeys
from certctl.storage import sqlite_types
from certctl.storage.database import (
    A,
    B,
    Conflict,
    Database,
    NonceSpent,
    Query,
    Statement,
    T,
    Unavailable,
)
from certctl.storage.migrations import pending
from certctl.storage.nonce_store import NonceStore

PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",  # what was answered is on the disk
    "foreign_keys = ON",
    "busy_timeout = 20",  # milliseconds that all wait for another program; see PATIENCE
    "mmap_size = 268435456",  # octets of it that are read without a copy
)
PATIENCE = 5.0  # seconds that a change waits while another program holds the file
PAUSE = 0.05  # seconds between tries
GATHER = (
    0.003  # seconds between two transactions in which more changes gather, while there are several at once
)
MAX_BATCH = 100  # changes in one transaction: about 10 ms in which nothing else runs
CACHED_STATEMENTS = 256
MEMORY = Path(":memory:")


class DatabaseInUse(Exception):
    """Another certctl runs on this file."""


@attrs.define(eq=False)
class _Change:
    """Statements that wait to be durable, and who waits for them."""

    statements: Sequence[Statement]
    done: Deferred[None]
    failure: Failure | None = None


def connect(path: Path) -> sqlite3.Connection:
    """Open the file in the mode that all of certctl's connections use."""
    connection = sqlite3.connect(
        path,
        isolation_level=None,
        check_same_thread=False,
        detect_types=sqlite3.PARSE_DECLTYPES,
        cached_statements=CACHED_STATEMENTS,
    )
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    connection.create_function(
        "certctl_reverse", 1, lambda text: text[::-1], deterministic=True
    )  # migrations 5 and 25
    return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to this version of certctl; raise SchemaTooNew if it is beyond."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations"
        " (version INTEGER PRIMARY KEY, name TEXT NOT NULL, oldest_code INTEGER NOT NULL, applied_at TIMESTAMPTZ)"
    )
    connection.execute("BEGIN IMMEDIATE")
    try:
        state = connection.execute("SELECT max(version), max(oldest_code) FROM schema_migrations").fetchone()
        for migration in pending(state[0] or 0, state[1] or 0):
            for statement in _statements(migration.script("sqlite", "INTEGER")):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_migrations VALUES (?, ?, ?, ?)",
                (migration.version, migration.name, migration.oldest_code, datetime.now(UTC)),
            )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    """Split a script where SQLite finds a statement complete."""
    found, gathered = [], ""
    for line in script.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            found.append(gathered)
            gathered = ""
    return found


class SqliteDatabase(Database):
    """A Database in one file, for one process.

    With a reactor, changes are made durable in a thread; without one (command line, tests) in the caller's.
    """

    def __init__(self, path: Path, reactor: Any = None) -> None:
        """Open or make the file; raise DatabaseInUse, SchemaTooNew or sqlite3.Error."""
        self._lock = _lock(path) if reactor is not None else None
        self._writing = connect(path)
        migrate(self._writing)
        self._reading = self._writing if path == MEMORY else connect(path)
        self._nonces = NonceStore(None if path == MEMORY else path.with_name(path.stem + "-nonces"))
        self._reactor = reactor
        self._closed = False
        self._gathered: list[_Change] = []
        self._committing: list[_Change] = []
        self._idle: Deferred[None] | None = None
        self._gathering = 0.0  # seconds that the next transaction waits for more
        self._patience = PATIENCE
        self._commits: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._commit_for_ever, name="certctl-sqlite", daemon=True)
        if reactor is not None:
            self._thread.start()

    @property
    def nonce_keys(self) -> NonceKeys:
        return self._nonces.keys

    async def read(self, query: Query[T]) -> T:
        return self._read(query)

    async def redeem(self, nonce: bytes, first: Query[A], second: Query[B]) -> tuple[A, B]:
        try:
            unspent = self._nonces.spend(nonce)
        except OSError as error:
            raise Unavailable(f"a nonce cannot be spent: {error}") from error
        if not unspent:
            raise NonceSpent
        return self._read(first), self._read(second)

    async def write(self, *statements: Statement) -> None:
        if self._closed:
            raise Unavailable("the database is closed")
        change = _Change(statements, Deferred())
        self._gathered.append(change)
        if self._reactor is None:
            self._begin()
        elif len(self._gathered) == 1 and not self._committing:
            self._reactor.callLater(self._gathering, self._begin)  # at least with all that this turn brings
        await change.done

    async def look_after_nonce_keys(self, now: float, floor: bytes) -> None:
        try:
            self._nonces.look_after_keys(now, floor)
        except OSError as error:
            raise Unavailable(f"the nonces' keys cannot be kept: {error}") from error

    async def forget_nonces(self, floor: bytes) -> int:
        return self._nonces.forget(floor)

    async def lead(self) -> bool:
        return True  # there is no other process

    async def close(self) -> None:
        self._closed = True
        self._begin()
        while self._committing or self._gathered:
            self._idle = Deferred()
            await self._idle
        if self._reactor is not None:
            self._commits.put(False)
            self._thread.join()
        for connection in {self._reading, self._writing}:
            connection.close()
        self._nonces.close()
        if self._lock is not None:
            os.close(self._lock)

    def _read(self, query: Query[T]) -> T:
        if not query.sql:  # nothing is asked for
            return query.build([])
        try:
            rows = self._reading.execute(query.sql, query.parameters).fetchall()
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the database refused a read: {error}") from error
        return query.build(rows)

    def _begin(self) -> None:
        """Put what has gathered into a transaction and commit it, unless the one before is still under way."""
        if self._committing or not self._gathered:
            return
        self._committing, self._gathered = self._gathered[:MAX_BATCH], self._gathered[MAX_BATCH:]
        try:
            self._apply_all()
        except sqlite3.OperationalError as error:
            if not self._again_later(error):
                self._end(error)
            return
        self._patience = PATIENCE
        if self._reactor is None:
            self._end(self._commit())
        else:
            self._commits.put(True)

    def _again_later(self, error: sqlite3.Error) -> bool:
        """Whether another program holds the file, and we try again soon; nothing but writes waits meanwhile."""
        if self._reactor is None or error.sqlite_errorcode != sqlite3.SQLITE_BUSY or self._patience <= 0:
            return False
        self._patience -= PAUSE
        self._committing, self._gathered = [], self._committing + self._gathered
        self._reactor.callLater(PAUSE, self._begin)
        return True

    def _commit_for_ever(self) -> None:
        """The thread: wait for the disk, again and again."""
        assert self._reactor is not None
        while self._commits.get():
            self._reactor.callFromThread(self._end, self._commit())

    def _commit(self) -> sqlite3.Error | None:
        try:
            self._writing.commit()
        except sqlite3.Error as error:
            return error
        return None

    def _end(self, error: sqlite3.Error | None) -> None:
        """Tell all who wait for the transaction what became of their changes, and go on with the next."""
        if error is not None:
            if self._writing.in_transaction:
                self._writing.execute("ROLLBACK")
            self._patience = PATIENCE
            for change in self._committing:
                change.failure = Failure(Unavailable(f"the database refused a commit: {error}"))
        settled, self._committing = self._committing, []
        self._begin_next(len(settled))
        for change in settled:
            if change.failure is None:
                change.done.callback(None)
            else:
                change.done.errback(change.failure)
        if self._idle is not None and not self._committing and not self._gathered:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _begin_next(self, settled: int) -> None:
        """Go on with what has gathered; where several changes went together, wait a little for company.

        Changes share pages, and each commit has its price: half as many of them, as fast as the disk may be, save a
        twentieth of a certificate's CPU. A client that is alone waits for nothing.
        """
        self._gathering = GATHER if settled > 1 and self._reactor is not None and not self._closed else 0.0
        if not self._gathering:
            self._begin()
        elif self._gathered:
            self._reactor.callLater(self._gathering, self._begin)

    def _apply_all(self) -> None:
        """Make all changes in one transaction.

        One that fails is rare: then all are undone, and the others made again, which costs less than a savepoint for
        each.
        """
        while True:
            self._writing.execute("BEGIN IMMEDIATE")
            for change in self._committing:
                if change.failure is None and not self._apply(change):
                    self._writing.execute("ROLLBACK")
                    break
            else:
                return

    def _apply(self, change: _Change) -> bool:
        """Make one change; if it cannot be made, note why and return False."""
        execute = self._writing.execute
        try:
            for statement in change.statements:
                touched = execute(statement.sql, statement.parameters).rowcount
                if statement.rows is not None and touched != statement.rows:
                    raise Conflict(f"{touched} rows instead of {statement.rows}: {statement.sql[:60]}")
        except sqlite3.OperationalError:
            raise  # disk full, input/output error: the whole transaction is in doubt
        except Exception:
            change.failure = Failure()
            return False
        return True


def _lock(path: Path) -> int:
    """Keep a second server off the file; return the descriptor that holds the lock."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DatabaseInUse(
            f"another certctl runs on {path}: stop it, or set CERTCTL_STATE_DIR to another"
        ) from None
    return descriptor


sqlite_types.register()
