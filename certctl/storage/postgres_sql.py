"""Statements as PostgreSQL takes them: ``?`` replaced, prepared once for each connection, executed in batches.

A batch is one text of several commands, which PostgreSQL runs as one transaction in one round trip. A statement is
prepared by the first batch that needs it on a connection; from then on the server neither parses nor plans it again,
which is half of what a short statement costs.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import attrs
import psycopg2
from psycopg2 import extensions

from certctl.storage.database import Json, Statement, storable

MOST_PREPARED = 24  # parameters; a longer statement lists ids, is rarely the same twice, and is not prepared
CONFLICT = (
    "UC001"  # the SQLSTATE of certctl_require; the standard leaves classes from I to Z to whoever wants one
)

_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|\?")
_numbers = itertools.count(1)


@attrs.frozen(eq=False)
class Command:
    """One SQL text for PostgreSQL, with ``%s`` where psycopg2 puts the parameters."""

    name: str  # of the prepared statement; empty if it is not to be prepared
    prepare: str
    execute: str


@cache
def command(sql: str) -> Command:
    """What runs an SQL text with ``?`` for its parameters, outside of literals, quoted names and comments."""
    parts = _parts(sql)
    count = len(parts) - 1
    if count > MOST_PREPARED:
        return Command("", "", plain(sql))
    text = parts[0] + "".join(f"${number}{part}" for number, part in enumerate(parts[1:], start=1))
    name = f"certctl_{next(_numbers)}"
    given = f"({', '.join(['%s'] * count)})" if count else ""
    return Command(name, f"PREPARE {name} AS {text}".replace("%", "%%"), f"EXECUTE {name}{given}")


def plain(sql: str) -> str:
    """The SQL text as psycopg2 takes it, not prepared: with ``%s`` for its parameters."""
    return "%s".join(part.replace("%", "%%") for part in _parts(sql))


def _parts(sql: str) -> list[str]:
    """The texts between the placeholders."""
    parts, begin = [], 0
    for token in _TOKEN.finditer(sql):
        if token[0] == "?":
            parts.append(sql[begin : token.start()])
            begin = token.end()
    return [*parts, sql[begin:]]


@cache
def _checked(sql: str) -> str:
    counted = "SELECT certctl_require((SELECT count(*) FROM changed), CAST(? AS BIGINT))"
    return f"WITH changed AS ({sql} RETURNING 1) {counted}"


def changing(statement: Statement) -> tuple[Command, Sequence[Any]]:
    """The command of a change; the server itself counts the rows, and ends the whole batch if they are not right."""
    if statement.rows is None:
        return command(statement.sql), statement.parameters
    return command(_checked(statement.sql)), (*statement.parameters, statement.rows)


def _adapt_json(parameter: Json) -> Any:
    text = _encode(parameter.value)
    if r"\u0000" in text or r"\ud" in text:
        text = _encode(storable(parameter.value))
    return extensions.QuotedString(text)


def _to_bytes(value: Any, cursor: Any) -> bytes | None:
    return None if value is None else bytes(psycopg2.BINARY(value, cursor))


def _to_json(text: str | None, cursor: Any) -> Any:
    if text is None:
        return None
    return {} if text == "{}" else [] if text == "[]" else json.loads(text)


BYTES = extensions.new_type((17,), "CERTCTL_BYTES", _to_bytes)  # pg_type.dat: bytea
JSONB = extensions.new_type((3802,), "CERTCTL_JSONB", _to_json)  # pg_type.dat: jsonb


extensions.register_adapter(Json, _adapt_json)
