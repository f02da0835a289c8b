"""Rate limits in ``rate_limits``: a bucket is checked and spent in the transaction of the change that it guards.

Times are whole milliseconds since 1970 here, because SQL must add them up, and engines differ in how they add times.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from certctl.acme.limits import Limit
from certctl.storage.database import Query, Statement

_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime.fromtimestamp(0, UTC)


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND


def spend(bucket: str, limit: Limit, now: datetime) -> Statement:
    """Spend one of a bucket; touches no row if none is left."""
    at, interval = _milliseconds(now), limit.interval // _MILLISECOND
    return Statement(
        "INSERT INTO rate_limits (bucket, empty_at) VALUES (?, ?) ON CONFLICT (bucket) DO UPDATE SET"
        " empty_at = CASE WHEN rate_limits.empty_at > ? THEN rate_limits.empty_at ELSE ? END + ?"
        " WHERE rate_limits.empty_at <= ?",
        (bucket, at + interval, at, at, interval, _milliseconds(limit.latest(now))),
        rows=1,
    )


def empty_at(bucket: str) -> Query[datetime | None]:
    """When a bucket will be empty again; None if nothing of it was ever spent."""
    return Query(
        "SELECT empty_at FROM rate_limits WHERE bucket = ?",
        (bucket,),
        lambda rows: _EPOCH + rows[0][0] * _MILLISECOND if rows else None,
    )


def any_empty(now: datetime) -> Query[bool]:
    """Whether there are buckets of which nothing is spent any more."""
    return Query("SELECT 1 FROM rate_limits WHERE empty_at < ? LIMIT 1", (_milliseconds(now),), bool)


def forget_empty(now: datetime, most: int) -> Statement:
    """Forget buckets of which nothing is spent any more, so many at most; also not if they are spent from meanwhile."""
    at = _milliseconds(now)
    return Statement(
        "DELETE FROM rate_limits WHERE empty_at < ? AND bucket IN"
        " (SELECT bucket FROM rate_limits WHERE empty_at < ? ORDER BY empty_at LIMIT ?)",
        (at, at, most),
    )
