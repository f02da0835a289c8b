"""What the rest of certctl may ask of a database, whatever its engine.

Reads are ``Query`` values and changes are ``Statement`` values, both built by the modules beside this one from one SQL
for all engines. An engine runs them in as few round trips as it can: all queries of a call in one, all statements of a
change in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from certctl.acme.nonces import NonceKeys

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
Row = tuple[Any, ...]


class Json(NamedTuple):
    """A parameter that is stored as JSON."""

    value: Any


class Query(NamedTuple, Generic[T]):
    """A SELECT with ``?`` for its parameters, and what to make of its rows.

    Where ``kept`` is true it finds one row at most, of tables that it names with aliases in FROM and JOIN alone, and
    an engine may give what it made of that again while those rows are the same.

    Where ``searches``, what is the best way to the rows depends on the parameters: an engine looks for it each time.
    """

    sql: str
    parameters: Sequence[Any]
    build: Callable[[list[Row]], T]
    kept: bool = False
    searches: bool = False


class Statement(NamedTuple):
    """An INSERT, UPDATE or DELETE with ``?`` for its parameters.

    ``rows`` is how many rows it must touch; where it touches another number, the whole change it belongs to is undone.
    """

    sql: str
    parameters: Sequence[Any]
    rows: int | None = None


class Conflict(Exception):
    """A statement touched another number of rows than it named: somebody else was first. Nothing was changed."""


class NonceSpent(Exception):
    """The nonce was redeemed before."""


class Unavailable(Exception):
    """The database cannot be reached or does not answer; what was asked may be asked again later."""


class Database(Protocol):
    """The store of everything but keys.

    A method raises Unavailable when the database does not answer. All times are aware, in UTC.
    """

    @property
    def nonce_keys(self) -> NonceKeys:
        """The keys under which nonces are minted, shared by all who use this database. They change."""

    async def read(self, query: Query[T]) -> T:
        """Return what the query finds."""

    async def redeem(self, nonce: bytes, first: Query[A], second: Query[B]) -> tuple[A, B]:
        """Spend a nonce for ever and read what its request asks for; raise NonceSpent if it was spent before.

        The first query finds one row or none, the second any number. What stands first in a row is never NULL.
        """

    async def write(self, *statements: Statement) -> None:
        """Make the change that all statements together are, durably; raise Conflict, and change nothing, if one of
        them touches another number of rows than it names.
        """

    async def look_after_nonce_keys(self, now: float, floor: bytes) -> None:
        """Learn the keys that others made, make the one that is due, forget those whose nonces lie below ``floor``.

        All who use this database call it once in ``acme.nonces.KEY_PERIOD`` at least.
        """

    async def forget_nonces(self, floor: bytes) -> int:
        """Forget spent nonces below ``floor``, which have expired; return how many were forgotten."""

    async def lead(self) -> bool:
        """Whether it is this process, of all that use this database, that looks after it: one at a time.

        It is so until the process ends or loses the database; then another is told that it is. For a moment two may
        believe it, so what they do must be right also if both do it.
        """

    async def close(self) -> None:
        """Finish the changes under way and let go of the database."""


def searching(sql: str, parameters: Sequence[Any], build: Callable[[list[Row]], T]) -> Query[T]:
    """A query that ``searches``."""
    return Query(sql, parameters, build, searches=True)


def first(build: Callable[[Row], T]) -> Callable[[list[Row]], T | None]:
    """The builder of a query that finds one row or none."""
    return lambda rows: build(rows[0]) if rows else None


def every(build: Callable[[Row], T]) -> Callable[[list[Row]], list[T]]:
    """The builder of a query that finds any number of rows."""
    return lambda rows: [build(row) for row in rows]


def nothing() -> Query[Any]:
    """The query for a place where nothing is asked for; engines need not run it."""
    return NOTHING


NOTHING: Query[Any] = Query("", (), lambda rows: None)


def placeholders(count: int) -> str:
    """``?, ?, ?``: as many as ``count``."""
    return ", ".join("?" * count)


def storable(value: Any) -> Any:
    """The value with U+FFFD in place of what not every engine keeps in texts: NUL and halves of surrogate pairs."""
    if isinstance(value, str):
        whole = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return whole.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {storable(key): storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [storable(each) for each in value]
    return value
