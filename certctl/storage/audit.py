"""The trail: one row for each change, written in the change's own transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from certctl.storage.database import Json, Statement


def insert(
    *,
    created_at: datetime,
    actor: str,
    action: str,
    resource_type: str,
    resource_id: str,
    details: dict[str, Any],
) -> Statement:
    """Record who did what to which resource."""
    return Statement(
        "INSERT INTO audit_events (created_at, actor, action, resource_type, resource_id, details)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (created_at, actor, action, resource_type, resource_id, Json(details)),
    )
