"""PostgreSQL, for any number of processes: each call is one round trip.

Changes are right because each names the state that it leaves: under READ COMMITTED an UPDATE that had to wait for
another transaction looks at its condition again, on the row as that one left it, and the server counts the rows.

Spent nonces are rows of an UNLOGGED table: spending one does not wait for the disk, and after a crash of the server,
or on a standby that took its place, the table is empty. In the same table lie the rows with the keys under which all
processes mint. So a crash that forgets which nonces were spent takes the keys as well, and what was minted before is
refused instead of taken again.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import attrs
import psycopg2

from certctl.acme.nonces import NonceKey, NonceKeys, due, over
from certctl.storage.database import (
    A,
    B,
    Database,
    NonceSpent,
    Query,
    Row,
    Statement,
    T,
    Unavailable,
)
from certctl.storage.postgres_changes import Changes
from certctl.storage.postgres_leading import Leading
from certctl.storage.postgres_pool import Pool
from certctl.storage.postgres_redeeming import Kept, found, identified
from certctl.storage.postgres_redeeming import redeeming as redeemed
from certctl.storage.postgres_schema import EPOCH, EPOCHS_PLACE, migrate
from certctl.storage.postgres_sql import MOST_PREPARED, NOT_PREPARED, changing, command
from certctl.storage.postgres_wire import Wire

BATCH = 5000  # nonces forgotten in one statement
BATCHES = 100  # in one call; what is left waits for the next
_TIME = 6  # octets of the time at which a key begins, in milliseconds


@attrs.frozen
class _Epoch:
    """A life of the nonces' table, and the keys of the nonces that belong to it."""

    id: bytes
    keys: NonceKeys = attrs.field(repr=False)


class PostgresDatabase(Database):
    """A Database on a server that other processes use as well."""

    def __init__(self, url: str, reactor: Any, connections: int) -> None:
        self._pool = Pool(url, reactor, connections, self._begin)
        self._changes = Changes(self._pool, reactor)
        self._leading = Leading(self._pool, reactor)
        self._epoch = _Epoch(b"", ())
        self._kept = Kept()

    @classmethod
    async def open(cls, url: str, reactor: Any, connections: int) -> PostgresDatabase:
        """Connect, and bring the schema up to this version; raise Unavailable with why not, or SchemaTooNew."""
        try:
            database = cls(url, reactor, connections)
        except psycopg2.Error:  # whose words may have the password in them
            raise Unavailable("libpq does not understand its URL") from None
        try:
            wire = await database._pool.connect()
            await migrate(wire)
            await database._welcome(wire)
        except BaseException as error:
            await database.close()
            if isinstance(error, psycopg2.Error):
                raise Unavailable(" ".join(str(error).split())) from error
            raise
        database._pool.adopt(wire)
        return database

    @property
    def nonce_keys(self) -> NonceKeys:
        return self._epoch.keys

    async def read(self, query: Query[T]) -> T:
        if not query.sql:  # nothing is asked for
            return query.build([])
        how = command(query.sql, NOT_PREPARED if query.searches else MOST_PREPARED)
        asked = [(how, query.parameters)]
        return query.build(await self._pool.run(asked, _rows, quick=not query.searches))

    async def redeem(self, nonce: bytes, first: Query[A], second: Query[B]) -> tuple[A, B]:
        epoch, kept, asked, width = self._epoch, None, first.sql, 0
        if first.kept:
            whole, identity, width = identified(first.sql)
            kept = self._kept.find(first)
            asked = whole if kept is None else identity
        redeeming = redeemed(asked, second.sql)
        parameters = (nonce, epoch.id, *first.parameters, *second.parameters)
        rows = await self._pool.run([(redeeming.command, parameters)], redeeming.rows)
        if not rows:  # spent before, or of an epoch that is over: then there are other keys
            await self._pool.use(self._welcome)
            raise NonceSpent
        answered = found([rows[0][: redeeming.width]])
        if kept is not None and answered == [kept[0]]:
            answer = kept[1]
        elif kept is not None and answered:  # somebody changed it
            answer = await self.read(first)
        else:
            answer = first.build([row[width:] for row in answered])
        if first.kept and answered and epoch is self._epoch:
            self._kept.keep(first, answered[0][:width], answer)
        return answer, second.build(found([row[redeeming.width + 1 :] for row in rows]))

    async def write(self, *statements: Statement) -> None:
        if statements:
            await self._changes.make(changing(statements))

    async def look_after_nonce_keys(self, now: float, floor: bytes) -> None:
        await self._pool.use(self._welcome)
        keys = self._epoch.keys
        dead, begins = [each for each in over(keys, floor) if each.begins], due(keys, now)
        if begins is None and not dead:
            return
        made = [] if begins is None else [(_place(begins), secrets.token_bytes(32))]
        await self._pool.use(lambda wire: _change_keys(wire, made, [_place(each.begins) for each in dead]))
        await self._pool.use(self._welcome)

    async def forget_nonces(self, floor: bytes) -> int:
        forgotten = 0
        for _ in range(BATCHES):
            ((count,),) = await self._pool.run([(_FORGET, (floor, BATCH))], _rows)
            forgotten += count
            if count < BATCH:
                break
        return forgotten

    async def lead(self) -> bool:
        return await self._leading.is_ours()

    async def close(self) -> None:
        self._leading.end()
        await self._pool.close()

    async def _begin(self, wire: Wire) -> None:
        """Make a new connection ready. It may lead to another server, whose rows have other identities."""
        await self._welcome(wire)
        self._kept.forget()

    async def _welcome(self, wire: Wire) -> None:
        """Take the nonces' epoch from the server, or begin one if the table lost it.

        Each new connection begins so: all of them ended if the server went down.
        """
        found = (await wire.query(_READ_EPOCH)).fetchall()
        if not found or found[0][1] is None:
            new = secrets.token_bytes(16), secrets.token_bytes(32)
            found = (await wire.query(_BEGIN_EPOCH, new)).fetchall()
        (_, epoch, first), *others = found
        later = (NonceKey(int.from_bytes(place[-_TIME:], "big"), key) for place, _, key in others)
        self._epoch = _Epoch(epoch, (NonceKey(0, first), *later))


def _place(begins: int) -> bytes:
    """What stands in the place of a nonce where a key is that begins then: behind the epoch, in the keys' order."""
    return EPOCHS_PLACE + begins.to_bytes(_TIME, "big")


async def _change_keys(wire: Wire, made: Sequence[tuple[bytes, bytes]], dead: Sequence[bytes]) -> None:
    """Add keys, unless another process was first, and forget others."""
    adding = "INSERT INTO acme_nonces (nonce, key) VALUES (%s, %s) ON CONFLICT DO NOTHING"
    forgetting = "DELETE FROM acme_nonces WHERE nonce = %s"
    texts = [adding] * len(made) + [forgetting] * len(dead)
    await wire.query(";".join(texts), [part for each in made for part in each] + list(dead))


def _rows(cursor: Any) -> list[Row]:
    found: list[Row] = cursor.fetchall()
    return found


# The epoch comes first: it is a row with an id. The keys behind it have none.
_READ_EPOCH = f"SELECT nonce, epoch, key FROM acme_nonces WHERE nonce >= {EPOCH} ORDER BY nonce"
_BEGIN_EPOCH = (
    f"INSERT INTO acme_nonces (nonce, epoch, key) VALUES ({EPOCH}, %s, %s) ON CONFLICT DO NOTHING;"
    f" {_READ_EPOCH}"
)
_FORGET = command(
    "WITH forgotten AS (DELETE FROM acme_nonces WHERE nonce IN"
    " (SELECT nonce FROM acme_nonces WHERE nonce < ? ORDER BY nonce LIMIT ?) RETURNING 1)"
    " SELECT count(*) FROM forgotten"
)
