"""The audit trail, as operators read it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from certctl.storage.database import Query, Row, every, placeholders, searching
from certctl.storage.search.where import Where

_WALKED = (
    "acme_order_created",
    "acme_order_finalized",
)  # actions that the index leaves out, as they are so many
INDEXED = "action NOT IN ('acme_order_created', 'acme_order_finalized')"
_WALKED_TYPE = "acme_order"  # the type that the index leaves out
_INDEXED_TYPE = f"resource_type <> '{_WALKED_TYPE}'"
LAST = 2**63 - 1  # greater than every id
SKEW = timedelta(hours=1)  # that the clocks of servers may differ by; others could not tell what is valid
_FIRST = "SELECT id FROM audit_events WHERE created_at >= ? ORDER BY created_at, id LIMIT 1"


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
        """The conditions.

        Times are conditions on ids as well, so that a walk begins and ends where they do. Ids are in the order of the
        times but for what clocks differ by: so it begins and ends a little outside.
        """
        where = Where().equal(
            actor=self.actor,
            action=self.action,
            resource_type=self.resource_type,
            resource_id=self.resource_id,
        )
        if self.action is not None and self.action not in _WALKED:
            where.also(INDEXED)
        if self.resource_type is not None and self.resource_type != _WALKED_TYPE:
            where.also(_INDEXED_TYPE)
        if self.since is not None:
            where.also(f"id >= coalesce(({_FIRST}), {LAST})", self.since - SKEW)
            where.also("created_at >= ?", self.since)
        if self.until is not None:
            where.also(f"id <= coalesce(({_FIRST}), {LAST})", self.until + SKEW)
            where.also("created_at < ?", self.until)
        return where


def about(resource_ids: Sequence[str], limit: int) -> Query[list[Recorded]]:
    """Events about any of some resources, the oldest first."""
    return searching(
        "SELECT id, created_at, actor, action, resource_type, resource_id, details FROM audit_events"
        f" WHERE resource_id IN ({placeholders(len(resource_ids))}) ORDER BY id LIMIT ?",
        (*resource_ids, limit),
        every(_recorded),
    )


def page(wanted: AuditFilter, before: int | None, limit: int) -> Query[list[Recorded]]:
    """Events behind a cursor, the newest first."""
    where = wanted.where().before("id", before)
    return searching(
        "SELECT id, created_at, actor, action, resource_type, resource_id, details"
        f" FROM audit_events{where} ORDER BY id DESC LIMIT ?",
        (*where.parameters, limit),
        every(_recorded),
    )
