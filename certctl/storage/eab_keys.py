"""Keys for external account bindings in ``eab_keys``."""

from __future__ import annotations

from datetime import datetime

from certctl.acme.eab import EabKey, Standing
from certctl.storage.database import Json, Query, Row, Statement, every, first, placeholders

_COLUMNS = "id, profile_id, name, sealed_key, single_use, policy, uses, created_by, created_at, expires_at, revoked_at"
_LIVING = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"
_UNUSED = "(NOT single_use OR uses = 0)"
_STANDING = {
    Standing.ACTIVE: f"{_LIVING} AND {_UNUSED}",
    Standing.USED: f"{_LIVING} AND NOT {_UNUSED}",
    Standing.EXPIRED: "revoked_at IS NULL AND expires_at <= ?",
    Standing.REVOKED: "revoked_at IS NOT NULL",
}  # as EabKey.standing has it; a question mark is the time


def _key(row: Row) -> EabKey:
    (
        id,
        profile_id,
        name,
        sealed_key,
        single_use,
        policy,
        uses,
        created_by,
        created_at,
        expires_at,
        revoked_at,
    ) = row
    return EabKey(
        id=id,
        profile_id=profile_id,
        name=name,
        sealed_key=bytes(sealed_key),
        single_use=single_use,
        policy=policy,
        uses=uses,
        created_by=created_by,
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )


def by_id(key_id: str) -> Query[EabKey | None]:
    """The key of that id, of whatever profile."""
    return Query(f"SELECT {_COLUMNS} FROM eab_keys WHERE id = ?", (key_id,), first(_key))


def page(
    now: datetime,
    *,
    profile_id: str | None = None,
    standing: Standing | None = None,
    limit: int,
    offset: int = 0,
) -> Query[list[EabKey]]:
    """Keys, the newest first: of a profile, and of a standing, if they are given."""
    where, parameters = _filter(now, profile_id, standing)
    return Query(
        f"SELECT {_COLUMNS} FROM eab_keys{where} ORDER BY id DESC LIMIT ? OFFSET ?",
        (*parameters, limit, offset),
        every(_key),
    )


def count(now: datetime, *, profile_id: str | None = None, standing: Standing | None = None) -> Query[int]:
    """How many keys there are of a profile, and of a standing, if they are given."""
    where, parameters = _filter(now, profile_id, standing)
    return Query(f"SELECT count(*) FROM eab_keys{where}", parameters, lambda rows: int(rows[0][0]))


def _filter(
    now: datetime, profile_id: str | None, standing: Standing | None
) -> tuple[str, tuple[object, ...]]:
    conditions: list[str] = []
    parameters: list[object] = []
    if profile_id is not None:
        conditions.append("profile_id = ?")
        parameters.append(profile_id)
    if standing is not None:
        conditions.append(_STANDING[standing])
        parameters += [now] * _STANDING[standing].count("?")
    return f" WHERE {' AND '.join(conditions)}" if conditions else "", tuple(parameters)


def insert(key: EabKey) -> Statement:
    """Add a key."""
    return Statement(
        f"INSERT INTO eab_keys ({_COLUMNS}) VALUES ({placeholders(11)})",
        (
            key.id,
            key.profile_id,
            key.name,
            key.sealed_key,
            key.single_use,
            Json(key.policy),
            key.uses,
            key.created_by,
            key.created_at,
            key.expires_at,
            key.revoked_at,
        ),
        rows=1,
    )


def use(key_id: str, now: datetime) -> Statement:
    """Count an account that a key binds; touches no row unless the key can bind one now."""
    return Statement(
        f"UPDATE eab_keys SET uses = uses + 1 WHERE id = ? AND {_STANDING[Standing.ACTIVE]}",
        (key_id, now),
        rows=1,
    )


def revoke(key_id: str, now: datetime) -> Statement:
    """Let a key bind no more accounts; touches no row if it was revoked before."""
    return Statement(
        "UPDATE eab_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, key_id), rows=1
    )
