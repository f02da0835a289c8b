"""Keys of the REST API in ``api_keys``: of each only the digest."""

from __future__ import annotations

from datetime import datetime

import attrs

from certctl.storage.database import Query, Row, Statement, every, first

_COLUMNS = "id, name, role, digest, created_by, created_at, expires_at, revoked_at"


@attrs.frozen(kw_only=True)
class ApiKey:
    """A key as it is kept: SHA-256 of what the caller sends, which has 256 random bits."""

    id: str
    name: str
    role: str
    digest: bytes = attrs.field(repr=False)
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_good(self, now: datetime) -> bool:
        """Whether the key opens anything at that time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def _read(row: Row) -> ApiKey:
    id, name, role, digest, created_by, created_at, expires_at, revoked_at = row
    return ApiKey(
        id=id,
        name=name,
        role=role,
        digest=bytes(digest),
        created_by=created_by,
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )


def by_digest(digest: bytes) -> Query[ApiKey | None]:
    """The key of that digest."""
    return Query(f"SELECT {_COLUMNS} FROM api_keys WHERE digest = ?", (digest,), first(_read))


def by_id(id: str) -> Query[ApiKey | None]:
    """The key of that id."""
    return Query(f"SELECT {_COLUMNS} FROM api_keys WHERE id = ?", (id,), first(_read))


def everyone() -> Query[list[ApiKey]]:
    """All keys, revoked and expired ones too."""
    return Query(f"SELECT {_COLUMNS} FROM api_keys ORDER BY id", (), every(_read))


def insert(key: ApiKey, now: datetime) -> Statement:
    """Add a key; touches no row if two good ones have its name: the old one and the new one of a rotation."""
    return Statement(
        f"INSERT INTO api_keys ({_COLUMNS}) SELECT ?, ?, ?, ?, ?, ?, ?, ?"
        " WHERE (SELECT count(*) FROM api_keys WHERE name = ? AND revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > ?)) < 2",
        (
            key.id,
            key.name,
            key.role,
            key.digest,
            key.created_by,
            key.created_at,
            key.expires_at,
            key.revoked_at,
            key.name,
            now,
        ),
        rows=1,
    )


def revoke(id: str, now: datetime) -> Statement:
    """Revoke a key that is not revoked yet."""
    return Statement(
        "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, id), rows=1
    )
