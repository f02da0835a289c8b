"""A connection to PostgreSQL: what it says of itself, what runs on it, and what its errors mean."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from typing import Any

import psycopg2
from psycopg2 import extensions
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from txpostgres import txpostgres

from certctl.storage.database import Unavailable, storable
from certctl.storage.postgres_sql import BYTES, CONFLICT, JSONB, Command

STATEMENT_TIMEOUT = 10  # seconds that the server works on a batch

# What every connection says to the server. Changes are right under READ COMMITTED, which is cheapest. A plan made
# while a table is empty is kept for the minutes in which it fills, so it must use the index; jit would take the cost
# that stands for "rather not" for a reason to compile.
OPTIONS = (
    f"-c statement_timeout={STATEMENT_TIMEOUT}s -c timezone=UTC -c default_transaction_isolation=read\\ committed"
    " -c enable_seqscan=off -c jit=off"
)
# Where the URL does not say otherwise. A peer that vanishes is noticed within 15 seconds.
DEFAULTS = {
    "application_name": "certctl",
    "client_encoding": "UTF8",
    "keepalives_idle": "6",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "target_session_attrs": "read-write",
}
_HARMLESS = (  # errors while statements run, after which the connection is as it was
    CONFLICT,
    "23",  # a rule of the schema
    "40001",  # serialization failure
    "40P01",  # deadlock
)
_TEMPORARY = (
    "08",  # connection exception
    "25006",  # read only: this is a standby now
    "40",  # rolled back for another reason
    "53",  # out of connections, disk or memory
    "55P03",  # lock not available
    "57",  # statement timeout, shutdown, crash, not started yet
    "58",  # disk errors
    "0A000",  # "cached plan must not change result type", after a migration
    "26000",  # a prepared statement is not there: not the session that it was
)


def hosts(url: str) -> list[dict[str, str]]:
    """What to connect to, in this order: one set of libpq's parameters for each host of the URL.

    libpq would try one host after another itself, but watches no clock when it is asked not to block.
    """
    given = {**DEFAULTS, **extensions.parse_dsn(url)}
    given["options"] = f"{OPTIONS} {given.get('options', '')}".strip()
    lists = {key: given[key].split(",") for key in ("host", "hostaddr", "port") if key in given}
    count = max((len(each) for each in lists.values()), default=1)
    return [
        {**given, **{key: each[number if len(each) == count else 0] for key, each in lists.items()}}
        for number in range(count)
    ]


def judged(error: Exception) -> Exception:
    """What the rest of certctl is to make of a driver's error."""
    if not isinstance(error, psycopg2.Error):  # Twisted's, of a connection that was closed
        return Unavailable(f"the connection to the database was lost: {error}")
    code = error.pgcode or ""
    if not code or code.startswith(_TEMPORARY):
        return Unavailable(f"the database does not answer: {line(error)}")
    unexpected: Exception = error
    return unexpected


def line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


class Wire(txpostgres.Connection):  # type: ignore[misc]
    """A connection, and the names of what is prepared on it."""

    def __init__(self, reactor: Any, gone: Callable[[Wire], None]) -> None:
        super().__init__(reactor=reactor)
        self.since = 0.0  # when the query under way began
        self._gone = gone
        self._prepared: set[str] = set()
        self._cursor: Any = None
        # The reactor watches a copy of libpq's descriptor, which libpq cannot close while it is watched.
        self._descriptor: int | None = None
        self._pollingD: Any = None  # txpostgres' name for who waits for the query under way

    @property
    def alive(self) -> bool:
        """Whether a query can be sent."""
        return self._connection is not None and not self._connection.closed

    async def open(self, parameters: Mapping[str, str]) -> None:
        """Connect; raise psycopg2.Error, or what Twisted raises if ``end`` is called meanwhile."""
        await self.connect(**parameters)
        for type in (BYTES, JSONB):
            extensions.register_type(type, self._connection)
        self.reactor.removeReader(self)
        self._descriptor = os.dup(self._connection.fileno())
        self.reactor.addReader(self)
        self._cursor = self._connection.cursor()
        self._cursor.tzinfo_factory = lambda _: UTC  # the session's time zone

    async def run(self, commands: Sequence[tuple[Command, Sequence[Any]]]) -> Any:
        """Run commands as one transaction in one round trip; return the cursor, which has what the last one found."""
        new = {
            each.name: each.prepare for each, _ in commands if each.name and each.name not in self._prepared
        }
        text = ";".join((*new.values(), *(each.execute for each, _ in commands)))
        parameters = [each for _, given in commands for each in given]
        try:
            cursor = await self.query(text, parameters)
        except psycopg2.Error:  # harmless, so it came after what was to be prepared
            self._prepared.update(new)
            raise
        self._prepared.update(new)
        return cursor

    async def query(self, text: str, parameters: Sequence[Any] = ()) -> Any:
        """Send a text with ``%s``; return the cursor. The connection is dropped after what leaves it in doubt."""
        self.since = self.reactor.seconds()
        try:
            self._cursor.execute(_filled(self._cursor, text, parameters))
            await self._answered()
        except Exception as error:
            if (getattr(error, "pgcode", None) or "").startswith(_HARMLESS):
                raise
            self.end()
            raise judged(error) from error
        return self._cursor

    def end(self) -> None:
        """Close; a query under way fails."""
        if self._connection is not None:
            self.close()

    def _answered(self) -> Deferred[Any]:
        """Fire when the query that was begun has ended.

        txpostgres has a reader for each query beside that of the connection, on the same descriptor, and gives the
        result in the reactor's next turn. Here the connection stays the reader, and gives it at once.
        """
        answered: Deferred[Any] = Deferred()
        self._pollingD = answered
        self.continuePolling()
        return answered

    def continuePolling(self, swallowErrors: bool = False) -> None:
        """Go on with what is under way, as libpq asks for it. No cursor is there until the connection stands."""
        if self._cursor is None:
            super().continuePolling(swallowErrors)
            return
        waiting = self._pollingD
        try:
            state = self._connection.poll()
        except psycopg2.Error:
            self._pollingD = None
            if waiting is not None:
                waiting.errback(Failure())
            elif not swallowErrors:
                raise
            return
        if state == extensions.POLL_WRITE:
            self.reactor.addWriter(self)
        elif state == extensions.POLL_OK and waiting is not None:
            self._pollingD = None
            waiting.callback(None)

    def doRead(self) -> None:
        """Take what came; notice an idle connection's end, which txpostgres would raise into the reactor."""
        try:
            if self._cursor is None:
                super().doRead()
            elif self.alive:
                self.continuePolling()
        except (psycopg2.Error, ValueError):  # ValueError: there is no socket left to be read from
            self.end()

    def fileno(self) -> int:
        """The descriptor that the reactor watches."""
        return super().fileno() if self._descriptor is None else self._descriptor

    def connectionLost(self, reason: Failure) -> None:
        """Let go of the connection; it may have been let go of before."""
        super().connectionLost(reason)
        if self._descriptor is not None:
            self.reactor.removeReader(self)
            self.reactor.removeWriter(self)
            os.close(self._descriptor)
            self._descriptor = None
        self._gone(self)


def _filled(cursor: Any, text: str, parameters: Sequence[Any]) -> bytes:
    """The text with its parameters, of which what PostgreSQL could not keep is replaced."""
    try:
        return bytes(cursor.mogrify(text, parameters))
    except ValueError:  # NUL, or half of a surrogate pair
        return bytes(cursor.mogrify(text, [storable(each) for each in parameters]))
