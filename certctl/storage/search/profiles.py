"""Profiles with the times that only operators see."""

from __future__ import annotations

from datetime import datetime

import attrs

from certctl.acme.objects import Profile
from certctl.storage import profiles
from certctl.storage.database import Query, Row, every, first


@attrs.frozen(kw_only=True)
class DatedProfile:
    """A profile, and when it was made and changed last."""

    profile: Profile
    created_at: datetime
    updated_at: datetime


def _dated(row: Row) -> DatedProfile:
    return DatedProfile(profile=profiles.read(row[: profiles.WIDTH]), created_at=row[-2], updated_at=row[-1])


_SELECT = f"SELECT {profiles.COLUMNS.format('p')}, p.created_at, p.updated_at FROM certificate_profiles p"


def everyone() -> Query[list[DatedProfile]]:
    """All profiles."""
    return Query(f"{_SELECT} ORDER BY p.id", (), every(_dated))


def by_id(profile_id: str) -> Query[DatedProfile | None]:
    """The profile of that id."""
    return Query(f"{_SELECT} WHERE p.id = ?", (profile_id,), first(_dated))
