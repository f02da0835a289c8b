"""The audit trail (``/api/audit``)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from certctl.storage import audit_chain
from certctl.storage.search import audit
from certctl.storage.search.audit import AuditFilter, Recorded
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import READ, Operation
from certctl.web.api.schema import PER_PAGE, Document, Line, Moment, PerPage, Window, given, window

MOST = 1000  # events in one answer: a part of an export
CSV = "text/csv"
NEXT = "Next-Cursor"
EventCursor = Annotated[str, Meta(pattern=r"^[0-9]{0,18}$")]
_HEADING = ("id", "created_at", "actor", "action", "resource_type", "resource_id", "details")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula


class EventDocument(msgspec.Struct, kw_only=True):
    """An event: who did what to which resource."""

    id: int
    created_at: datetime
    actor: str
    action: str
    resource_type: str
    resource_id: str
    details: dict[str, Any]


class AuditQuery(Document):
    """Which events are asked for, and in which form.

    With ``format=csv`` the cursor of the next part is in the header Next-Cursor, which is missing at the end.
    """

    actor: Line | UnsetType = UNSET
    action: Line | UnsetType = UNSET
    resource_type: Line | UnsetType = UNSET
    resource_id: Line | UnsetType = UNSET
    since: Moment | UnsetType = UNSET
    until: Moment | UnsetType = UNSET
    format: Literal["json", "csv"] = "json"
    cursor: EventCursor = ""
    per_page: Annotated[int, Meta(ge=1, le=MOST)] = PER_PAGE


async def list_audit(call: Call[Nothing, AuditQuery]) -> Reply:
    """List the events of the audit trail, the newest first; as JSON, or as CSV for a spreadsheet."""
    asked = call.query
    wanted = AuditFilter(**given(asked, "actor", "action", "resource_type", "resource_id", "since", "until"))
    before = int(asked.cursor) if asked.cursor else None
    found = await call.administration.database.read(audit.page(wanted, before, asked.per_page + 1))
    page, cursor = window(found, asked, lambda each: str(each.id))
    if asked.format == "csv":
        headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
        headers |= {NEXT: cursor} if cursor else {}
        return Reply(content=_csv(page), content_type=f"{CSV}; charset=utf-8", headers=headers)
    data = [described_event(each) for each in page]
    return Reply(value=Window(data=data, next_cursor=cursor, per_page=asked.per_page))


def described_event(found: Recorded) -> EventDocument:
    """An event as it is shown."""
    return EventDocument(**{name: getattr(found, name) for name in _HEADING})


def _csv(found: Sequence[Recorded]) -> bytes:
    """RFC 4180, with a heading."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(_HEADING)
    for each in found:
        details = json.dumps(each.details, sort_keys=True, ensure_ascii=True)
        values = (each.actor, each.action, each.resource_type, each.resource_id, details)
        writer.writerow([each.id, each.created_at.isoformat(), *map(_harmless, values)])
    return text.getvalue().encode("utf-8", "replace")


def _harmless(text: str) -> str:
    """The text as a spreadsheet shows it and does not run it: with an apostrophe in front of a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


class CheckpointDocument(msgspec.Struct, kw_only=True):
    """A signature over the end of the trail's chain, by an Ed25519 key, all octets in hexadecimal.

    Kept elsewhere, it shows later whether what came before is still what it was: `certctl audit verify --checkpoints`.
    """

    batch_id: int
    created_at: str
    hash: str
    last_event_id: int
    public_key: str
    signature: str


class CheckpointQuery(Document):
    """Which part of the checkpoints is asked for, the oldest first."""

    cursor: EventCursor = ""
    per_page: PerPage = PER_PAGE


async def list_checkpoints(call: Call[Nothing, CheckpointQuery]) -> Reply:
    """List the signed checkpoints of the audit trail, the oldest first."""
    asked = call.query
    after = int(asked.cursor) if asked.cursor else -1
    found = await call.administration.database.read(audit_chain.checkpoints(after, asked.per_page + 1))
    page, cursor = window(found, asked, lambda each: str(each.batch_id))
    if (
        cursor and page[-1].batch_id == found[-1].batch_id
    ):  # of two keys, of which the next part would lack one
        page = [each for each in page if each.batch_id < found[-1].batch_id] or page
        cursor = str(page[-1].batch_id)
    data = [CheckpointDocument(**each.document()) for each in page]
    return Reply(value=Window(data=data, next_cursor=cursor, per_page=asked.per_page))


OPERATIONS = (
    Operation("GET", "audit", list_audit, READ, Window[EventDocument], query=AuditQuery, media=(CSV,)),
    Operation(
        "GET",
        "audit/checkpoints",
        list_checkpoints,
        READ,
        Window[CheckpointDocument],
        query=CheckpointQuery,
    ),
)
