"""The schema on PostgreSQL: the numbered migrations, and what this engine alone has."""

from __future__ import annotations

from datetime import UTC, datetime

from certctl.storage.database import Unavailable
from certctl.storage.migrations import Migration, pending
from certctl.storage.postgres_sql import CONFLICT
from certctl.storage.postgres_wire import Wire

LOCK = 0x63657274_63746C00  # "certctl": the advisory lock under which one process at a time migrates
SERIAL = "BIGINT GENERATED ALWAYS AS IDENTITY"
EPOCHS_PLACE = b"\xff" * 17  # the nonce of the row that has the first key: longer than any, and behind all
EPOCH = f"'\\x{EPOCHS_PLACE.hex()}'::bytea"

_BEGIN = "BEGIN; SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock(%s)"
_EXISTING = (
    "SELECT to_regclass('schema_migrations'), to_regclass('acme_nonces'), current_setting('server_encoding')"
)
_STATE = "SELECT max(version), max(oldest_code) FROM schema_migrations"
_RECORD = "INSERT INTO schema_migrations VALUES (%s, %s, %s, %s)"
_CREATE = (
    "CREATE TABLE schema_migrations"
    " (version INTEGER PRIMARY KEY, name TEXT NOT NULL, oldest_code INTEGER NOT NULL, applied_at TIMESTAMPTZ)"
)
_OWN = f"""
CREATE UNLOGGED TABLE acme_nonces (nonce BYTEA PRIMARY KEY, epoch BYTEA, key BYTEA);
CREATE FUNCTION certctl_require(touched BIGINT, wanted BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    IF touched <> wanted THEN
        RAISE EXCEPTION USING ERRCODE = '{CONFLICT}', MESSAGE = touched || ' rows instead of ' || wanted;
    END IF;
END $$;
"""


async def migrate(wire: Wire) -> None:
    """Bring the schema up to this version of certctl; raise SchemaTooNew if it is beyond.

    All in one transaction, under a lock for which other processes wait that start at the same time. Where nothing is
    missing, nothing is asked for that needs a right to change the schema.
    """
    await wire.query(_BEGIN, (LOCK,))
    ((versions, nonces, encoding),) = (await wire.query(_EXISTING)).fetchall()
    if encoding != "UTF8":
        raise Unavailable(
            f"its encoding is {encoding}, and must be UTF8: CREATE DATABASE ... ENCODING 'UTF8'"
        )
    if versions is None:
        await wire.query(_CREATE)
    ((version, oldest_code),) = (await wire.query(_STATE)).fetchall()
    for migration in pending(version or 0, oldest_code or 0):
        await _apply(wire, migration)
    if nonces is None:
        await wire.query(_OWN)
    await wire.query("COMMIT")


async def _apply(wire: Wire, migration: Migration) -> None:
    await wire.query(migration.script("postgres", SERIAL).replace("%", "%%"))
    recorded = migration.version, migration.name, migration.oldest_code, datetime.now(UTC)
    await wire.query(_RECORD, recorded)
