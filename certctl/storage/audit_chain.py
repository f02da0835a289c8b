"""The audit trail's chain: batches of events, and checkpoints; and the events as they are hashed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from certctl.acme.audit_chain import Batch, Checkpoint, Entry, batch_of, checkpoint_of_row
from certctl.acme.audit_coverage import LOOKS
from certctl.storage.database import Json, Query, Row, Statement, every, first, searching

SPANS = 10  # that one query looks into; always as many, so that its text stays the same

# As text, so that what somebody wrote there who is not certctl can be read as well.
_ENTRY = (
    "SELECT id, CAST(created_at AS TEXT), actor, action, resource_type, resource_id, CAST(details AS TEXT)"
    " FROM audit_events"
)
_BATCH = (
    "SELECT id, CAST(created_at AS TEXT), CAST(ranges AS TEXT), last_event_id, digests, previous, hash"
    " FROM audit_batches"
)
_CHECKPOINT = (
    "SELECT batch_id, hash, last_event_id, CAST(created_at AS TEXT), public_key, signature"
    " FROM audit_checkpoints"
)


def entries_after(id: int, limit: int) -> Query[list[Entry]]:
    """The first events after an id."""
    return Query(f"{_ENTRY} WHERE id > ? ORDER BY id LIMIT ?", (id, limit), every(Entry._make))


def entries_in(spans: Sequence[tuple[int, int]], limit: int) -> Query[list[Entry]]:
    """The first events whose ids lie in one of at most SPANS spans, ends included."""
    among = " OR ".join(["id BETWEEN ? AND ?"] * SPANS)
    padded = [*spans, *[spans[-1]] * (SPANS - len(spans))]
    ends = [end for span in padded for end in span]
    return searching(f"{_ENTRY} WHERE {among} ORDER BY id LIMIT ?", (*ends, limit), every(Entry._make))


def all_batches() -> Query[list[Row]]:
    """All batches, as rows for ``acme.audit_chain.batch_of``."""
    return Query(f"{_BATCH} ORDER BY id", (), lambda rows: rows)


def batches_since(moment: datetime) -> Query[list[Batch]]:
    """The last batch made until a moment, and all after it; and LOOKS before it."""
    until = "SELECT id FROM audit_batches WHERE created_at <= ? ORDER BY id DESC LIMIT 1"
    sql = f"{_BATCH} WHERE id >= coalesce(({until}), 0) - CAST(? AS BIGINT) ORDER BY id"
    return Query(sql, (moment, LOOKS), every(batch_of))


def append(batch: Batch) -> Statement:
    """Append a batch; a conflict if another sealed at the same moment."""
    return Statement(
        "INSERT INTO audit_batches (id, created_at, ranges, last_event_id, digests, previous, hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            batch.id,
            batch.created_at,
            Json(batch.ranges),
            batch.last_event_id,
            batch.digests,
            batch.previous,
            batch.hash,
        ),
        rows=1,
    )


def hash_of(batch_id: int) -> Query[bytes | None]:
    """The hash of a batch."""
    return Query("SELECT hash FROM audit_batches WHERE id = ?", (batch_id,), first(lambda row: bytes(row[0])))


def keep(checkpoint: Checkpoint) -> Statement:
    """Keep a checkpoint, unless there is one over the same batch by the same key."""
    return Statement(
        "INSERT INTO audit_checkpoints (batch_id, hash, last_event_id, created_at, public_key, signature)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            checkpoint.batch_id,
            checkpoint.hash,
            checkpoint.last_event_id,
            checkpoint.created_at,
            checkpoint.public_key,
            checkpoint.signature,
        ),
    )


def checkpoints(after_batch: int, limit: int) -> Query[list[Checkpoint]]:
    """The first checkpoints over batches after one."""
    return Query(
        f"{_CHECKPOINT} WHERE batch_id > ? ORDER BY batch_id, public_key LIMIT ?",
        (after_batch, limit),
        every(checkpoint_of_row),
    )


def last_checkpoint() -> Query[Checkpoint | None]:
    """The checkpoint over the newest batch that has one."""
    return Query(f"{_CHECKPOINT} ORDER BY batch_id DESC, public_key LIMIT 1", (), first(checkpoint_of_row))


def all_checkpoints() -> Query[list[Row]]:
    """All checkpoints, as rows for ``acme.audit_chain.checkpoint_of_row``."""
    return Query(f"{_CHECKPOINT} ORDER BY batch_id, public_key", (), lambda rows: rows)


def last_batch() -> Query[Batch | None]:
    """The end of the chain."""
    return Query(f"{_BATCH} ORDER BY id DESC LIMIT 1", (), first(batch_of))


def last_batches(number: int) -> Query[list[Batch]]:
    """The last batches of the chain, in its order."""
    newest = every(batch_of)
    return Query(f"{_BATCH} ORDER BY id DESC LIMIT ?", (number,), lambda rows: newest(rows)[::-1])


def count_after(id: int, most: int) -> Query[int]:
    """How many events come after one, or so many if there are more."""
    return Query(
        "SELECT count(*) FROM (SELECT 1 FROM audit_events WHERE id > ? LIMIT ?) AS counted",
        (id, most),
        lambda rows: int(rows[0][0]),
    )


def between(since: datetime | None, until: datetime | None) -> Query[list[Entry]]:
    """The events from a time on and before another, for who reads them one by one."""
    limits = [(f"created_at {sign} ?", at) for sign, at in ((">=", since), ("<", until)) if at is not None]
    where = " AND ".join(text for text, _ in limits)
    sql = f"{_ENTRY} WHERE {where} ORDER BY id" if where else f"{_ENTRY} ORDER BY id"
    return Query(sql, [at for _, at in limits], every(Entry._make))


def count() -> Query[int]:
    """How many events there are."""
    return Query("SELECT count(*) FROM audit_events", (), lambda rows: int(rows[0][0]))
