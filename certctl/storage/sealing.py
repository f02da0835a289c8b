"""Which secret sealed what the database holds sealed, by its fingerprint."""

from __future__ import annotations

from datetime import datetime

from certctl.storage.database import Query, Statement

_ID = "secret-key"


def fingerprint() -> Query[str | None]:
    """The fingerprint of the secret that is recorded."""
    return Query(
        "SELECT fingerprint FROM sealing WHERE id = ?", (_ID,), lambda rows: str(rows[0][0]) if rows else None
    )


def record(fingerprint: str, seen: str | None, now: datetime) -> Statement:
    """Record a secret's fingerprint in place of the one that was seen; touches no row if that is not there now."""
    if seen is None:
        return Statement(
            "INSERT INTO sealing (id, fingerprint, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (_ID, fingerprint, now),
            rows=1,
        )
    return Statement(
        "UPDATE sealing SET fingerprint = ?, created_at = ? WHERE id = ? AND fingerprint = ?",
        (fingerprint, now, _ID, seen),
        rows=1,
    )
