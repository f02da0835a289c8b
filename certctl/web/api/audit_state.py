"""The state of the audit trail's chain (``/api/audit/state``)."""

from __future__ import annotations

from datetime import datetime

import msgspec

from certctl.acme.audit_chain import Batch, Damaged
from certctl.acme.audit_glance import glance
from certctl.storage import audit_chain
from certctl.storage.database import Database
from certctl.web.api.audit import CheckpointDocument
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import READ, Operation

LOOKED_AT = 3  # batches at the end of the chain
MOST_PENDING = 10_000  # events that are counted
FINDINGS = 20


class TrailDocument(msgspec.Struct, kw_only=True):
    """How the chain over the audit trail is.

    ``intact`` is said of the newest ``checked_events``, held against the newest batches; the whole is verified by
    `certctl audit verify`. ``pending`` are events that are in no batch yet.
    """

    batches: int
    sealed_at: datetime | None
    last_event_id: int
    pending: int
    intact: bool
    checked_events: int
    findings: list[str]
    checkpoint: CheckpointDocument | None


async def audit_state(call: Call[Nothing, Nothing]) -> Reply:
    """Show how the chain over the audit trail is: its end, and whether its newest part is intact."""
    database, findings, batches = call.administration.database, [], []
    checkpoint = None
    try:
        batches = await database.read(audit_chain.last_batches(LOOKED_AT))
        last = await database.read(audit_chain.last_checkpoint())
        checkpoint = None if last is None else CheckpointDocument(**last.document())
        findings = await _findings(database, batches)
    except Damaged as damage:
        findings = [f"the end of the chain is damaged: {damage}"]
    end = batches[-1] if batches else None
    after = 0 if end is None else end.last_event_id
    answer = TrailDocument(
        batches=0 if end is None else end.id,
        sealed_at=None if end is None else end.created_at,
        last_event_id=after,
        pending=await database.read(audit_chain.count_after(after, MOST_PENDING)),
        intact=not findings,
        checked_events=sum(last - first + 1 for each in batches for first, last in each.ranges),
        findings=findings[:FINDINGS],
        checkpoint=checkpoint,
    )
    return Reply(value=answer)


async def _findings(database: Database, batches: list[Batch]) -> list[str]:
    spans = [span for each in batches for span in each.ranges]
    if not spans:
        return []
    ends = min(first for first, _ in spans), max(last for _, last in spans)
    most = sum(last - first + 1 for first, last in spans)
    entries = await database.read(audit_chain.entries_in([ends], most + 1000))
    return glance(batches, entries)


OPERATIONS = (Operation("GET", "audit/state", audit_state, READ, TrailDocument),)
