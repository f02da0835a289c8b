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
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

import attrs
import psycopg2
from psycopg2 import extensions

from certctl.storage.database import Json, Statement, storable

MOST_PREPARED = 24  # parameters; a longer statement lists ids, is rarely the same twice, and is not prepared
NOT_PREPARED = -1  # such a number of parameters: PostgreSQL might soon plan for whatever values they have
CONFLICT = (
    "UC001"  # the SQLSTATE of certctl_require; the standard leaves classes from I to Z to whoever wants one
)

_SHARED = (str, datetime)  # types of values of which a command is given each once

KNOWN_CHANGES = 1000  # kinds of changes whose commands are remembered

_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|\?")
_CHANGES = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)\b")
_numbers = itertools.count(1)


@attrs.frozen(eq=False)
class Command:
    """One SQL text for PostgreSQL, with ``%s`` where psycopg2 puts the parameters."""

    name: str  # of the prepared statement; empty if it is not to be prepared
    sql: str  # what is prepared, with ``?``
    prepare: str
    execute: str


@cache
def command(sql: str, most: int = MOST_PREPARED) -> Command:
    """What runs an SQL text with ``?`` for its parameters, outside of literals, quoted names and comments."""
    parts = _parts(sql)
    count = len(parts) - 1
    if count > most:
        return Command("", "", "", plain(sql))
    return _prepared(sql, range(1, count + 1))


def _prepared(sql: str, numbers: Sequence[int]) -> Command:
    """The command of an SQL text that has the parameters of these numbers in the places of its ``?``."""
    first, *others = _parts(sql)
    text = first + "".join(f"${number}{part}" for number, part in zip(numbers, others, strict=True))
    name = f"certctl_{next(_numbers)}"
    given = f"({', '.join(['%s'] * max(numbers))})" if numbers else ""
    return Command(name, sql, f"PREPARE {name} AS {text}".replace("%", "%%"), f"EXECUTE {name}{given}")


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


def changing(statements: Sequence[Statement]) -> list[tuple[Command, Sequence[Any]]]:
    """The commands of a change, of which the server itself counts the rows; it ends them all if they are not right.

    Statements that have nothing to do with each other become one command, which costs PostgreSQL less than each by
    itself: it is parsed, begun and ended once.
    """
    made: list[tuple[Command, Sequence[Any]]] = []
    at = 0
    for count, each in _joined(
        tuple((statement.sql, statement.rows is not None) for statement in statements)
    ):
        some = statements[at : at + count]
        parameters = [value for statement in some for value in statement.parameters]
        parameters += [statement.rows for statement in some if statement.rows is not None]
        made.append(_given_once(each, parameters) if each.name else (each, parameters))
        at += count
    return made


def _given_once(command: Command, parameters: Sequence[Any]) -> tuple[Command, Sequence[Any]]:
    """The command that takes a value once which stands in several places, as ids and the time of a change do.

    PostgreSQL reads each parameter of an EXECUTE as an expression, which costs it and psycopg2 more than its use. Only
    what is the same object counts as the same, so that the places depend on who built the statements alone; texts and
    times have one type of column, wherever they stand.
    """
    seen: dict[int, int] = {}
    places = tuple(
        [
            seen.setdefault(id(each), number) if type(each) in _SHARED else number
            for number, each in enumerate(parameters)
        ]
    )
    shared, taken = _sharing(command, places)
    return shared, [parameters[each] for each in taken]


@lru_cache(maxsize=KNOWN_CHANGES)
def _sharing(command: Command, places: tuple[int, ...]) -> tuple[Command, Sequence[int]]:
    """A command of which several parameters are one, and which of the parameters it takes."""
    taken = sorted(set(places))
    if len(taken) == len(places):
        return command, taken
    numbers = {place: number for number, place in enumerate(taken, start=1)}
    return _prepared(command.sql, [numbers[each] for each in places]), taken


@lru_cache(maxsize=KNOWN_CHANGES)
def _joined(texts: tuple[tuple[str, bool], ...]) -> list[tuple[int, Command]]:
    """For texts, and whether their rows are counted: how many go into each command, and the commands."""
    groups: list[list[tuple[str, bool]]] = []
    for text in texts:
        if groups and all(_apart(text[0], other) for other, _ in groups[-1]):
            groups[-1].append(text)
        else:
            groups.append([text])
    return [(len(group), _command(group)) for group in groups]


def _command(group: Sequence[tuple[str, bool]]) -> Command:
    ((sql, counted), *others) = group
    if not others and not counted:
        return command(sql)
    parts, checks = [], []
    for number, (sql, counted) in enumerate(group):
        parts.append(f"changed_{number} AS ({sql}{' RETURNING 1' if counted else ''})")
        if counted:
            rows = f"(SELECT count(*) FROM changed_{number})"
            checks.append(f"certctl_require({rows}, CAST(? AS BIGINT))")
    text = f"WITH {', '.join(parts)} SELECT {', '.join(checks)}"
    return command(text, len(group) * (MOST_PREPARED + 1) if others else MOST_PREPARED)


def _apart(one: str, other: str) -> bool:
    """Whether neither of two statements names the table that the other changes, so that their order means nothing.

    All parts of one command see the database as it was before it. What refers to a row of another part is looked at
    when all are done.
    """
    changes = _CHANGES.match(one), _CHANGES.match(other)
    if changes[0] is None or changes[1] is None or max(one.count("?"), other.count("?")) > MOST_PREPARED:
        return False
    return not any(
        re.search(rf"\b{table[1]}\b", text)
        for table, text in zip(changes, (other, one), strict=True)
        if table
    )


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
