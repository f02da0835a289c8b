"""The audit trail, as operators read it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import attrs

from certctl.storage.database import Query, Row, every
from certctl.storage.search.where import Where

# Events are numbered in nearly the order of their time: changes that are made at once may be numbered either way.
SLACK = timedelta(minutes=1)
_EDGE = "(SELECT id FROM audit_events WHERE created_at >= ? ORDER BY created_at, id LIMIT 1)"
_BEYOND = 2**62


@attrs.frozen(kw_only=True)
class Recorded:
    """An event of the trail."""

    id: int
    created_at: datetime
    actor: str
    action: str
    resource_type: str
    resource_id: str
    details: dict[str, Any]


def _recorded(row: Row) -> Recorded:
    id, created_at, actor, action, resource_type, resource_id, details = row
    return Recorded(
        id=id,
        created_at=created_at,
        actor=actor,
        action=action,
        resource_type=resource_type,
        resource_id=resource_id,
        details=details,
    )


@attrs.frozen(kw_only=True)
class AuditFilter:
    """Which events are looked for; None stands for any."""

    actor: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def where(self) -> Where:
        """The conditions. Times are conditions on ids as well, so that a walk begins and ends where they do."""
        where = Where().equal(
            actor=self.actor,
            action=self.action,
            resource_type=self.resource_type,
            resource_id=self.resource_id,
        )
        if self.since is not None:
            where.also("created_at >= ?", self.since)
            where.also(f"id >= coalesce({_EDGE}, {_BEYOND})", _moved(self.since, -SLACK))
        if self.until is not None:
            where.also("created_at < ?", self.until)
            where.also(f"id <= coalesce({_EDGE}, {_BEYOND})", _moved(self.until, SLACK))
        return where


def _moved(moment: datetime, by: timedelta) -> datetime:
    try:
        return moment + by
    except OverflowError:  # at the end of all time
        return moment


def page(wanted: AuditFilter, before: int | None, limit: int) -> Query[list[Recorded]]:
    """Events behind a cursor, the newest first."""
    where = wanted.where().before("id", before)
    return Query(
        "SELECT id, created_at, actor, action, resource_type, resource_id, details"
        f" FROM audit_events{where} ORDER BY id DESC LIMIT ?",
        (*where.parameters, limit),
        every(_recorded),
    )
