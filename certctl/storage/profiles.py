"""Certificate profiles in ``certificate_profiles``."""

from __future__ import annotations

from datetime import datetime

from certctl.acme.objects import AuthMode, Profile
from certctl.storage.database import Json, Query, Row, Statement, every, first

_COLUMNS = (
    "id, name, issuer_id, enabled, acme_auth_mode, max_ttl_seconds, policy, description, version, archived_at"
)
_NAMES = _COLUMNS.split(", ")
WIDTH = len(_NAMES)
COLUMNS = ", ".join(f"{{0}}.{name}" for name in _NAMES)  # to be formatted with the table's alias
_HANGING = ("acme_accounts", "acme_orders", "eab_keys")  # what keeps a profile from being deleted


def read(row: Row) -> Profile:
    """The profile in a row of COLUMNS."""
    id, name, issuer_id, enabled, mode, max_ttl_seconds, policy, description, version, archived_at = row
    return Profile(
        id=id,
        name=name,
        issuer_id=issuer_id,
        enabled=enabled,
        acme_auth_mode=AuthMode(mode),
        max_ttl_seconds=max_ttl_seconds,
        policy=policy,
        description=description,
        version=version,
        archived_at=archived_at,
    )


def by_id(profile_id: str) -> Query[Profile | None]:
    """The profile of that id."""
    return Query(f"SELECT {_COLUMNS} FROM certificate_profiles WHERE id = ?", (profile_id,), first(read))


def everyone() -> Query[list[Profile]]:
    """All profiles."""
    return Query(f"SELECT {_COLUMNS} FROM certificate_profiles ORDER BY id", (), every(read))


def insert(profile: Profile, now: datetime) -> Statement:
    """Add a profile; touches no row if the id is taken."""
    return Statement(
        f"INSERT INTO certificate_profiles ({_COLUMNS}, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            profile.id,
            profile.name,
            profile.issuer_id,
            profile.enabled,
            profile.acme_auth_mode.value,
            profile.max_ttl_seconds,
            Json(profile.policy),
            profile.description,
            profile.version,
            profile.archived_at,
            now,
            now,
        ),
        rows=1,
    )


def update(profile: Profile, seen: int, now: datetime) -> Statement:
    """Put a profile in the place of its version ``seen``; touches no row if that is not the newest."""
    return Statement(
        "UPDATE certificate_profiles SET name = ?, description = ?, issuer_id = ?, enabled = ?, acme_auth_mode = ?,"
        " max_ttl_seconds = ?, policy = ?, archived_at = ?, version = ?, updated_at = ? WHERE id = ? AND version = ?",
        (
            profile.name,
            profile.description,
            profile.issuer_id,
            profile.enabled,
            profile.acme_auth_mode.value,
            profile.max_ttl_seconds,
            Json(profile.policy),
            profile.archived_at,
            profile.version,
            now,
            profile.id,
            seen,
        ),
        rows=1,
    )


def delete(profile: Profile) -> Statement:
    """Delete a profile; touches no row if anything hangs on it, or if it was changed since it was read."""
    used = " AND ".join(f"NOT EXISTS (SELECT 1 FROM {table} WHERE profile_id = ?)" for table in _HANGING)
    return Statement(
        f"DELETE FROM certificate_profiles WHERE id = ? AND version = ? AND {used}",
        (profile.id, profile.version, *(profile.id for _ in _HANGING)),
        rows=1,
    )
