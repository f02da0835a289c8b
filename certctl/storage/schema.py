"""The schema as a program beside the server sees it: what a database lacks of it, and how that is made up for."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs

from certctl.storage import inspection, offline
from certctl.storage.database import Query, Unavailable
from certctl.storage.migrations import Migration, migrations, pending

_HAS_SCHEMA = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'",
    "postgres": "SELECT 1 WHERE to_regclass('schema_migrations') IS NOT NULL",
}


@attrs.frozen
class Lack:
    """What a database lacks of this version's schema."""

    engine: str
    version: int  # of the newest migration that ran; 0 if none has
    pending: tuple[Migration, ...]

    @property
    def is_newer(self) -> bool:
        """Whether a newer version of certctl was here, which this one can live with."""
        return self.version > migrations()[-1].version

    def script(self, migration: Migration) -> str:
        """What the engine would run."""
        return migration.script(self.engine, _serial(self.engine))


def lack(where: Path | str) -> Lack:
    """Look, and change nothing; raise Unavailable, or SchemaTooNew if this version cannot live with what is there."""
    engine = "sqlite" if isinstance(where, Path) else "postgres"
    with offline.snapshot(where) as database:
        if not database.read(Query(_HAS_SCHEMA[engine], (), bool)):
            return Lack(engine, 0, pending(0, 0))
        version, oldest_code = database.read(inspection.schema())
    return Lack(engine, version, pending(version, oldest_code))


def make_up(path: Path) -> None:
    """Run what an SQLite file lacks, all of it or nothing; raise Unavailable, DatabaseHeld or SchemaTooNew."""
    from certctl.storage.sqlite import connect, migrate

    try:
        with inspection.held(path), closing(connect(path)) as connection:
            migrate(connection)
    except sqlite3.Error as error:
        raise Unavailable(str(error)) from error


async def make_up_together(url: str, reactor: Any) -> None:
    """Run what a PostgreSQL database lacks, under the lock for which servers wait; raise Unavailable, SchemaTooNew."""
    try:
        from certctl.storage.postgres import PostgresDatabase
    except ImportError:
        raise Unavailable(offline.NO_DRIVER) from None
    database = await PostgresDatabase.open(url, reactor, 1)
    await database.close()


def _serial(engine: str) -> str:
    if engine == "sqlite":
        return "INTEGER"
    from certctl.storage.postgres_schema import SERIAL

    return SERIAL
