"""Sessions of the console in ``console_sessions``: of each only digests."""

from __future__ import annotations

from datetime import datetime

import attrs

from certctl.storage.database import Query, Row, Statement, first

_COLUMNS = "digest, key_digest, began_at, good_until, ends_at"


@attrs.frozen(kw_only=True)
class ConsoleSession:
    """A session: good until ``good_until``, which moves on while it is used, up to ``ends_at``."""

    digest: bytes = attrs.field(repr=False)
    key_digest: bytes = attrs.field(repr=False)
    began_at: datetime
    good_until: datetime
    ends_at: datetime

    @property
    def name(self) -> str:
        """How the trail names it: enough to tell sessions apart, and too little to use one."""
        return self.digest.hex()[:16]


def _read(row: Row) -> ConsoleSession:
    digest, key_digest, began_at, good_until, ends_at = row
    return ConsoleSession(
        digest=bytes(digest),
        key_digest=bytes(key_digest),
        began_at=began_at,
        good_until=good_until,
        ends_at=ends_at,
    )


def good(digest: bytes, now: datetime) -> Query[ConsoleSession | None]:
    """The session of that token's digest, if it is not over."""
    return Query(
        f"SELECT {_COLUMNS} FROM console_sessions WHERE digest = ? AND good_until > ?",
        (digest, now),
        first(_read),
    )


def insert(session: ConsoleSession) -> Statement:
    """Add a session."""
    values = (
        session.digest,
        session.key_digest,
        session.began_at,
        session.good_until,
        session.ends_at,
    )
    return Statement(f"INSERT INTO console_sessions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", values, rows=1)


def prolong(session: ConsoleSession, good_until: datetime) -> Statement:
    """Move the end of a session that was used; one that was ended meanwhile stays ended."""
    return Statement(
        "UPDATE console_sessions SET good_until = ? WHERE digest = ?", (good_until, session.digest)
    )


def end(session: ConsoleSession) -> Statement:
    """End a session; touches no row if it was ended before."""
    return Statement("DELETE FROM console_sessions WHERE digest = ?", (session.digest,), rows=1)


def end_all(key_digest: bytes) -> Statement:
    """End all sessions that a key opened."""
    return Statement("DELETE FROM console_sessions WHERE key_digest = ?", (key_digest,))


def any_over(now: datetime) -> Query[bool]:
    """Whether there are sessions that are over."""
    return Query(
        "SELECT 1 FROM console_sessions WHERE good_until <= ? LIMIT 1", (now,), lambda rows: bool(rows)
    )


def forget_over(now: datetime) -> Statement:
    """Forget sessions that are over."""
    return Statement("DELETE FROM console_sessions WHERE good_until <= ?", (now,))
