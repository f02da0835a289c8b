"""The schema's numbered migrations: ``NNNN_name.sql``, run in order, each once, in one transaction.

A file's first line says the oldest code that may open a database on which it ran, as the number of the newest
migration that such code knows. What cannot be one text for all engines, such as triggers, follows in files of the same
name and the engine's: ``NNNN_name.sqlite.sql``, ``NNNN_name.postgres.sql``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

import attrs

_NAME = re.compile(r"(\d{4})_(\w+)\.sql\Z")
_ENGINES = ("sqlite", "postgres")
_OLDEST = re.compile(r"-- oldest code: (\d+)\n")


@attrs.frozen(order=True)
class Migration:
    """One step of the schema."""

    version: int
    name: str
    oldest_code: int
    sql: str
    own: Mapping[str, str] = attrs.field(factory=dict, order=False)  # what follows it, by engine

    def script(self, engine: str, serial: str) -> str:
        """All that an engine runs; ``serial`` is the type of its ids that count."""
        return (self.sql + self.own.get(engine, "")).replace("$SERIAL", serial)


class SchemaTooNew(Exception):
    """The database was written by a version of certctl that this one does not understand."""


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations of this version of certctl, in order."""
    found = []
    for entry in resources.files(__name__).iterdir():
        if match := _NAME.match(entry.name):
            sql = entry.read_text(encoding="utf-8")
            oldest = _OLDEST.match(sql)
            assert oldest is not None, f"{entry.name} does not say the oldest code"
            found.append(Migration(int(match[1]), match[2], int(oldest[1]), sql, _own(entry.name)))
    return tuple(sorted(found))


def _own(name: str) -> dict[str, str]:
    """The parts of the engines, by engine."""
    files = {each: resources.files(__name__) / f"{name.removesuffix('.sql')}.{each}.sql" for each in _ENGINES}
    return {engine: file.read_text(encoding="utf-8") for engine, file in files.items() if file.is_file()}


def pending(applied: int, oldest_code: int) -> tuple[Migration, ...]:
    """The migrations that a database at version ``applied`` lacks; raise SchemaTooNew if it asks for newer code."""
    newest = migrations()[-1].version
    if oldest_code > newest:
        raise SchemaTooNew(
            f"the database has schema version {applied}, which needs a certctl that knows version {oldest_code}; "
            f"this one knows {newest}: start the newer certctl, or restore the backup made before the upgrade"
        )
    return tuple(each for each in migrations() if each.version > applied)
