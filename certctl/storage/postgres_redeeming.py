"""One command that spends a nonce and runs two queries, and what of their answers is kept.

A column costs PostgreSQL and psycopg2 more than its octets do, in every answer. So what is made of the rows of a query
that may be kept stays in memory, with the identity of the versions of these rows (xmin and ctid, which change with
every change of a row). The next command asks for the identities alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import attrs

from certctl.storage.database import Query, Row
from certctl.storage.postgres_schema import EPOCH
from certctl.storage.postgres_sql import Command, command

MOST = 1000  # answers that are kept, of a few kilobytes each

_REDEEM = (
    "WITH spent AS (INSERT INTO acme_nonces (nonce) SELECT CAST(? AS BYTEA) FROM acme_nonces"
    f" WHERE nonce = {EPOCH} AND epoch = ? ON CONFLICT DO NOTHING RETURNING 1)"
    " SELECT {columns} FROM spent{joins}"
)
_BETWEEN = "0 AS is_second"  # a column between those of the two queries
_TABLE = re.compile(r"\b(?:FROM|JOIN) \w+ (\w+)\b")


@attrs.define(eq=False)
class Redeeming:
    """The command that spends a nonce and runs two queries, and how many columns of its rows the first one has.

    It finds no row if the nonce was spent before.
    """

    command: Command
    width: int = -1  # not known before it first ran

    def rows(self, cursor: Any) -> list[Row]:
        """What it found."""
        if self.width < 0:
            self.width = [column.name for column in cursor.description].index("is_second")
        found: list[Row] = cursor.fetchall()
        return found


@cache
def redeeming(first: str, second: str) -> Redeeming:
    """The two queries side by side, in one row for each row of the second."""
    sides = {name: sql for name, sql in {"first": first, "second": second}.items() if sql}
    columns = [*(["first.*"] if first else []), _BETWEEN, *(["second.*"] if second else [])]
    joins = "".join(f" LEFT JOIN ({sql}) {name} ON TRUE" for name, sql in sides.items())
    return Redeeming(command(_REDEEM.format(columns=", ".join(columns), joins=joins)))


def found(rows: list[Row]) -> list[Row]:
    """The rows of one of both queries, whose first column is never NULL; one of NULLs stands for none."""
    return rows if rows[0] and rows[0][0] is not None else []


@cache
def identified(sql: str) -> tuple[str, str, int]:
    """A query of one row with the identity of the versions that it is made of in front; the identity alone; its width.

    Each table that the query names has an alias, and none stands in a subquery.
    """
    columns, _, rest = sql.removeprefix("SELECT ").partition(" FROM ")
    aliases = _TABLE.findall(sql)
    identity = ", ".join(f"{each}.xmin AS {each}_xmin, {each}.ctid AS {each}_ctid" for each in aliases)
    return (
        f"SELECT {identity}, {columns} FROM {rest}",
        f"SELECT {identity} FROM {rest}",
        2 * len(aliases),
    )


class Kept:
    """Answers, and the identities of the rows that they were made of."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, ...], tuple[Row, Any]] = {}

    def find(self, query: Query[Any]) -> tuple[Row, Any] | None:
        """The identity and the answer of a query, if they are kept."""
        return self._answers.get(_key(query))

    def keep(self, query: Query[Any], identity: Row, answer: Any) -> None:
        """Keep what was made of rows that have this identity, or of later ones: these will be asked for again."""
        key = _key(query)
        self._answers.pop(key, None)
        while len(self._answers) >= MOST:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = identity, answer

    def forget(self) -> None:
        """Forget all."""
        self._answers.clear()


def _key(query: Query[Any]) -> tuple[str, ...]:
    parameters: Sequence[Any] = query.parameters
    return query.sql, *parameters
