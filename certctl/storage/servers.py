"""The servers on this database in ``servers``, each of which writes its own row."""

from __future__ import annotations

from datetime import datetime

import attrs

from certctl.storage.database import Query, Row, Statement, every

_COLUMNS = "id, host, version, started_at, seen_at, swept_at, certificate_ends_at"


@attrs.frozen(kw_only=True)
class Server:
    """A process that serves, or did lately."""

    id: str
    host: str
    version: str
    started_at: datetime
    seen_at: datetime
    swept_at: datetime | None  # when its last sweep came to its end
    certificate_ends_at: datetime | None  # its own TLS certificate


def _read(row: Row) -> Server:
    id, host, version, started_at, seen_at, swept_at, certificate_ends_at = row
    return Server(
        id=id,
        host=host,
        version=version,
        started_at=started_at,
        seen_at=seen_at,
        swept_at=swept_at,
        certificate_ends_at=certificate_ends_at,
    )


def everyone() -> Query[list[Server]]:
    """All servers that were seen lately, the one that was seen last first."""
    return Query(f"SELECT {_COLUMNS} FROM servers ORDER BY seen_at DESC, id LIMIT 100", (), every(_read))


def seen(server: Server) -> Statement:
    """Write a server's row."""
    return Statement(
        f"INSERT INTO servers ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " seen_at = excluded.seen_at, swept_at = excluded.swept_at,"
        " certificate_ends_at = excluded.certificate_ends_at",
        attrs.astuple(server),
        rows=1,
    )


def forget(id: str) -> Statement:
    """Remove the row of a server that stops."""
    return Statement("DELETE FROM servers WHERE id = ?", (id,))


def forget_unseen(since: datetime) -> Statement:
    """Remove the rows of servers that were not seen since then."""
    return Statement("DELETE FROM servers WHERE seen_at < ?", (since,))
