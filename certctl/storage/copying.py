"""From the embedded engine to PostgreSQL: every row, in one transaction, compared before it is committed.

Which tables there are, what refers to what, and the types of columns are asked of the two databases, whose schemas must
be of the same version; nothing here names a table.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from graphlib import TopologicalSorter
from hashlib import sha256
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import attrs

from certctl.acme.audit_chain import canonical_time
from certctl.storage import inspection, offline
from certctl.storage.database import Query, Row, storable
from certctl.storage.offline import Snapshot

AT_ONCE = 2000  # rows between two words on how far it is
OWN = ("schema_migrations", "acme_nonces")  # each database has its own

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite/_%' ESCAPE '/' ORDER BY name"
_REFERENCES = 'SELECT "table" FROM pragma_foreign_key_list(?)'
_COLUMNS = "SELECT name, pk FROM pragma_table_info(?) ORDER BY cid"
_TYPES = (
    "SELECT column_name, data_type, is_identity FROM information_schema.columns"
    " WHERE table_schema = current_schema() AND table_name = ?"
)
_THERE = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY 1"
MOMENT = 32  # characters of a time in UTC with microseconds
_SPECIAL = re.compile(r"[\\\t\n\r]")
_ESCAPED = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})  # in the text format of COPY

Tell = Callable[[str, int], None]


class Refused(Exception):
    """Why nothing was copied, in a sentence that says what to do."""


@attrs.frozen
class Table:
    """A table that both databases have."""

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]  # PostgreSQL's
    key: tuple[str, ...]
    counter: str | None  # the column whose values the database counts out

    def rows(self, on_postgres: bool) -> Query[list[Row]]:
        """All rows in the order of their keys, which is that of octets on both engines."""
        typed = dict(zip(self.columns, self.types, strict=True))
        listed, order = self.columns, self.key
        if on_postgres:
            listed = tuple(_SHOWN.get(type, "{}").format(name) for name, type in typed.items())
            order = tuple(f'{each} COLLATE "C"' if typed[each] == "text" else each for each in self.key)
        return Query(f"SELECT {', '.join(listed)} FROM {self.name} ORDER BY {', '.join(order)}", (), list)


@attrs.define
class Copied:
    """A table that was copied, as far as it was."""

    table: Table
    rows: int = 0
    replaced: int = 0  # with characters that PostgreSQL cannot keep: U+FFFD stands in their place
    digest: str = ""  # of all rows as they were read back, which are those of the source


@contextmanager
def copied(source: Path, target: str, tell: Tell) -> Iterator[tuple[list[Copied], Snapshot]]:
    """Copy everything; yield what was, and the target as it will be. Only the end of the block makes it so.

    Raises Refused, with both databases as they were, Unavailable, or DatabaseHeld if a server runs on the source.
    """
    with (
        inspection.held(source),
        offline.snapshot(source) as here,
        offline.changing(target) as (there, connection),
    ):
        tables = _tables(here, there)
        with connection.cursor() as cursor:
            _lock(cursor, tables, there)
            done = [_copy(here, cursor, each, tell) for each in tables]
            for each in tables:
                _count_on(cursor, each)
        for copy in done:
            _compare(here, there, copy)
            tell(f"{copy.table.name}, compared", copy.rows)
        yield done, there
        connection.commit()
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def strangers(target: str) -> list[str]:
    """Tables of a PostgreSQL database that is not certctl's; none if it is, or if it is empty."""
    with offline.snapshot(target) as there:
        names = [str(name) for (name,) in there.read(Query(_THERE, (), list))]
    return [] if "schema_migrations" in names else names


def _tables(here: Snapshot, there: Snapshot) -> list[Table]:
    """The tables, each behind those that it refers to; raise Refused if the schemas differ."""
    state = [each.read(inspection.schema()) for each in (here, there)]
    if state[0] != state[1]:
        versions = f"{state[0][0]} and {state[1][0]}"
        raise Refused(f"the schemas have versions {versions}: certctl migrate brings each up to this one's")
    names = [str(name) for (name,) in here.read(Query(_TABLES, (), list)) if name not in OWN]
    references = {
        name: {str(other) for (other,) in here.read(Query(_REFERENCES, (name,), list))} - {name}
        for name in names
    }
    return [_table(name, here, there) for name in TopologicalSorter(references).static_order()]


def _table(name: str, here: Snapshot, there: Snapshot) -> Table:
    columns = here.read(Query(_COLUMNS, (name,), list))
    types = {
        column: (type, counts == "YES") for column, type, counts in there.read(Query(_TYPES, (name,), list))
    }
    if {column for column, _ in columns} != types.keys():
        raise Refused(
            f"table {name} is not the same in both databases: give a database that certctl migrate has made"
        )
    return Table(
        name,
        tuple(column for column, _ in columns),
        tuple(types[column][0] for column, _ in columns),
        tuple(column for column, place in sorted(columns, key=lambda each: each[1]) if place),
        next((column for column, (_, counts) in types.items() if counts), None),
    )


def _lock(cursor: Any, tables: Sequence[Table], there: Snapshot) -> None:
    """Keep servers off the target; raise Refused if there is anything in it."""
    from certctl.storage.postgres_schema import LOCK

    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))  # for which servers wait that start
    cursor.execute(f"LOCK TABLE {', '.join(each.name for each in tables)} IN EXCLUSIVE MODE")
    for each in tables:
        if there.read(Query(f"SELECT 1 FROM {each.name} LIMIT 1", (), bool)):
            has = f"the PostgreSQL database is not empty ({each.name} has rows)"
            raise Refused(f"{has}: give a database that no server was on")


def _copy(here: Snapshot, cursor: Any, table: Table, tell: Tell) -> Copied:
    copy = Copied(table)
    stream = here.stream(table.rows(on_postgres=False))
    columns, take = ", ".join(table.columns), [_TAKEN.get(type, _text) for type in table.types]
    while rows := list(islice(stream, AT_ONCE)):
        lines = []
        for row in rows:
            kept = [None if value is None else f(value) for f, value in zip(take, row, strict=True)]
            copy.replaced += _is_replaced(row, kept)
            lines.append("\t".join(map(_field, kept)))
        cursor.copy_expert(f"COPY {table.name} ({columns}) FROM STDIN", io.StringIO("\n".join(lines) + "\n"))
        copy.rows += len(rows)
        tell(table.name, copy.rows)
    return copy


def _count_on(cursor: Any, table: Table) -> None:
    """Let the database count on from the largest value that was copied."""
    if table.counter is not None:
        cursor.execute(
            f"SELECT setval(pg_get_serial_sequence(%s, %s), max({table.counter})) FROM {table.name}"
            f" HAVING max({table.counter}) IS NOT NULL",
            (table.name, table.counter),
        )


def _compare(here: Snapshot, there: Snapshot, copy: Copied) -> None:
    """Read everything back; raise Refused if a row is not what it was."""
    table, digest = copy.table, sha256()
    take = [_TAKEN.get(type, _text) for type in table.types]
    plain = [_PLAIN.get(type, _same) for type in table.types]
    streams = (each.stream(table.rows(each is there)) for each in (here, there))
    for one, other in zip_longest(*streams):
        was = one and [None if v is None else g(f(v)) for f, g, v in zip(take, plain, one, strict=True)]
        found = other and [None if v is None else g(v) for g, v in zip(plain, other, strict=True)]
        if was != found:
            row = one or other
            key = [each for each, column in zip(row, table.columns, strict=True) if column in table.key]
            raise Refused(f"{table.name} differs at {key}: nothing was kept; please report it")
        digest.update(_line(found).encode("ascii"))
    copy.digest = digest.hexdigest()


def _is_replaced(row: Row, kept: Sequence[Any]) -> bool:
    """Whether a text of a row is not kept as it was."""
    return any(
        isinstance(value, str) and isinstance(other, str) and value != other
        for value, other in zip(row, kept, strict=True)
    )


# What is made of the source's values for each of the target's types, as the target keeps them.


def _octets(value: Any) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else bytes(value)


def _number(value: Any) -> Any:
    return value if isinstance(value, int) else str(value)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _json(text: str) -> str:
    """The text of a JSON value, changed only where it says what PostgreSQL cannot keep."""
    if r"\u0000" in text or r"\ud" in text.lower():
        value = json.loads(text)
        if (kept := storable(value)) != value:
            return json.dumps(kept)
    return text


_TAKEN: dict[str, Callable[[Any], Any]] = {
    "boolean": bool,
    "bytea": _octets,
    "bigint": _number,
    "integer": _number,
    "jsonb": _json,
}


# What is compared: the same for what both engines mean by the same.


def _same(value: Any) -> Any:
    return value


def _moment(text: str) -> Any:
    is_canonical = len(text) == MOMENT and text.endswith("+00:00") and text[10] == "T"
    return text if is_canonical else canonical_time(text)


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "bytea": bytes,
    "jsonb": json.loads,
    "timestamp with time zone": _moment,
}
# How PostgreSQL is asked for it: JSON as text, as it has numbers that no two readers read alike.
_SHOWN = {
    "jsonb": "{}::text",
    "timestamp with time zone": "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"')",
}
_line = json.JSONEncoder(sort_keys=True, default=bytes.hex, separators=(",", ":")).encode


def _field(value: Any) -> str:
    """A value in the text format of COPY."""
    if isinstance(value, str):
        return value.translate(_ESCAPED) if _SPECIAL.search(value) else value
    if value is None:
        return r"\N"
    if isinstance(value, bool):
        return "t" if value else "f"
    return rf"\\x{value.hex()}" if isinstance(value, bytes) else str(value)
