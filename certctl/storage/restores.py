"""When the database was put back from a backup."""

from __future__ import annotations

from datetime import UTC, datetime

from certctl.storage.database import Query, Statement

NEVER = datetime.fromtimestamp(0, UTC)


def last() -> Query[datetime]:
    """When that was the last time; long ago if never."""
    return Query(
        "SELECT restored_at FROM restores ORDER BY restored_at DESC LIMIT 1",
        (),
        lambda rows: rows[0][0] if rows else NEVER,
    )


def record(now: datetime) -> Statement:
    """Record that it was now."""
    return Statement("INSERT INTO restores (restored_at) VALUES (?) ON CONFLICT DO NOTHING", (now,))
