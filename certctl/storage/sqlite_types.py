"""How values of the schema's types lie in SQLite: times as ISO 8601 in UTC, JSON as text, both readable by people."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from certctl.storage.database import Json, storable

_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


@lru_cache(maxsize=256)  # a change writes its time into many columns
def _adapt_moment(moment: datetime) -> str:
    # Always with microseconds and in UTC, so that texts sort as their times do.
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _adapt_json(value: Json) -> str:
    text = _encode(value.value)
    # What PostgreSQL does not keep is not kept here either, so that the trail's digests are the same there.
    return _encode(storable(value.value)) if r"\u0000" in text or r"\ud" in text else text


def _convert_moment(text: bytes) -> datetime:
    return datetime.fromisoformat(text.decode("ascii"))


def _convert_json(text: bytes) -> Any:
    return {} if text == b"{}" else [] if text == b"[]" else json.loads(text)  # mostly, and ten times as fast


def _convert_boolean(text: bytes) -> bool:
    return text not in (b"0", b"false", b"f")


def register() -> None:
    """Teach the sqlite3 module these types."""
    sqlite3.register_adapter(datetime, _adapt_moment)
    sqlite3.register_adapter(Json, _adapt_json)
    sqlite3.register_converter("TIMESTAMPTZ", _convert_moment)
    sqlite3.register_converter("JSONB", _convert_json)
    sqlite3.register_converter("BOOLEAN", _convert_boolean)
