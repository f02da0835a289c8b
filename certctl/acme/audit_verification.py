"""Whether the audit trail is what it was: batches and events are read once, in order, and compared.

Memory holds one batch, the events that may still find their batch, and what was found to be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

import attrs

from certctl.acme.audit_chain import (
    GENESIS,
    Batch,
    Checkpoint,
    Entry,
    Ranges,
    ranges_of,
)
from certctl.acme.audit_coverage import Coverage

MOST_WRONG = 100_000  # events of a kind that are kept in memory; the others are counted


T = TypeVar("T")


class Kind(StrEnum):
    """What may be wrong."""

    CHANGED = "changed"
    REMOVED = "removed"
    REORDERED = "reordered"
    INSERTED = "inserted"
    BATCH = "batch"
    SIGNATURE = "signature"
    CHECKPOINT = "checkpoint"


@attrs.frozen
class Finding:
    """Something that is wrong, in words, and with the ids of the events that it is about."""

    kind: Kind
    words: str
    events: Ranges = ()


@attrs.frozen
class Damage:
    """A batch that cannot be read."""

    id: int
    why: str


@attrs.frozen
class Witness:
    """A checkpoint, and where it was found."""

    checkpoint: Checkpoint
    where: str


@attrs.define
class Report:
    """What a verification found."""

    findings: list[Finding] = attrs.field(factory=list)
    batches: int = 0
    events: int = 0  # that are in batches and as they were
    pending: int = 0  # that are in no batch yet, and may come into the next
    unmentioned: int = 0  # wrong events beyond MOST_WRONG of a kind
    checkpoints: int = 0  # that are signed, and in the chain

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify(
    batches: Iterable[Batch | Damage],
    entries: Iterable[Entry],
    witnesses: Iterable[Witness],
    now: datetime,
    keys: frozenset[bytes] = frozenset(),
) -> Report:
    """Compare events with batches, batches with one another, and both with checkpoints.

    Batches and events come in the order of their ids. With ``keys`` only their signatures count.
    """
    events = _Events(entries)
    links = _Links(witnesses, keys)
    for each in batches:
        if isinstance(each, Damage):
            links.damaged(each)
        else:
            links.follow(each)
            events.follow(each, links)
    events.end(now, links.lost)
    links.end()
    links.report.findings[:0] = events.findings(links.lost)
    links.report.events, links.report.pending = events.matched, events.pending
    links.report.unmentioned = events.unmentioned
    return links.report


class _Links:
    """The batches, one after another, and the checkpoints over them."""

    def __init__(self, witnesses: Iterable[Witness], keys: frozenset[bytes]) -> None:
        self.report = Report()
        self._next = 1
        self._tail: Batch | None = None
        self.lost = False  # whether there was a batch that cannot be read any more
        self._broken = False  # the last batch could not be read, so nothing is known of what follows it
        self._vouched: Batch | None = None  # the last batch that a checkpoint is over
        self._awaited: dict[int, list[Witness]] = {}
        for each in witnesses:
            if self._is_good(each, keys):
                self._awaited.setdefault(each.checkpoint.batch_id, []).append(each)

    def say(self, kind: Kind, words: str, events: Ranges = ()) -> None:
        """Note what is wrong."""
        self.report.findings.append(Finding(kind, words, events))

    def damaged(self, damage: Damage) -> None:
        """Note a batch that cannot be read."""
        self._count(damage.id)
        self.say(Kind.BATCH, f"batch {damage.id} is damaged: {damage.why}")
        self._broken = self.lost = True

    def follow(self, batch: Batch) -> None:
        """Judge a batch by itself, by the one before, and by the checkpoints over it."""
        self._count(batch.id)
        self.report.batches += 1
        if batch.hash != batch.computed_hash():
            self.say(
                Kind.BATCH,
                f"batch {batch.id} was changed: its hash is not that of what it holds",
                batch.ranges,
            )
        before = GENESIS if self._tail is None else self._tail.hash
        if batch.previous != before and not self._broken:
            self.say(
                Kind.BATCH,
                f"batch {batch.id} does not follow the one before it: its previous hash is another's",
            )
        self._broken, self._tail = False, batch
        for each in self._awaited.pop(batch.id, ()):
            self._compare(each, batch)

    def end(self) -> None:
        """Judge the checkpoints over batches that never came."""
        last = 0 if self._tail is None else self._tail.id
        for id, witnesses in sorted(self._awaited.items()):
            for each in witnesses:
                cut = f"the chain ends at batch {last}" if id > last else "that batch is missing"
                self.say(
                    Kind.CHECKPOINT,
                    f"{_name(each)}: {cut}; there were events up to {each.checkpoint.last_event_id}",
                )

    def _count(self, id: int) -> None:
        """Note batches that are missing before this one."""
        if id > self._next:
            missing = str(self._next) if id == self._next + 1 else f"{self._next} to {id - 1}"
            self.say(Kind.BATCH, f"removed: batch {missing} is missing")
            self._broken = self.lost = True
        elif id < self._next:
            self.say(Kind.BATCH, f"batch {id} is there twice")
        self._next = id + 1

    def _is_good(self, witness: Witness, keys: frozenset[bytes]) -> bool:
        checkpoint = witness.checkpoint
        if not checkpoint.is_signed():
            self.say(Kind.SIGNATURE, f"{_name(witness)}: its signature is not good")
            return False
        if keys and checkpoint.public_key not in keys:
            key = checkpoint.public_key.hex()
            self.say(Kind.SIGNATURE, f"{_name(witness)}: it is signed by an unknown key, {key}")
            return False
        return True

    def _compare(self, witness: Witness, batch: Batch) -> None:
        if witness.checkpoint.hash == batch.hash:
            self.report.checkpoints += 1
            self._vouched = batch
            return
        since = "from the beginning" if self._vouched is None else f"after batch {self._vouched.id}"
        first = 1 if self._vouched is None else self._vouched.last_event_id + 1
        self.say(
            Kind.CHECKPOINT,
            f"{_name(witness)}: the chain there is another; it was rewritten {since}, from event {first} on",
        )


def _name(witness: Witness) -> str:
    checkpoint = witness.checkpoint
    at = checkpoint.created_at.isoformat(timespec="seconds")
    return f"checkpoint of {at} over batch {checkpoint.batch_id} ({witness.where})"


class _Events:
    """The events, in step with the batches."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.matched = self.pending = self.unmentioned = 0
        self._entries = iter(entries)
        self._ahead: Entry | None = next(self._entries, None)
        self._coverage = Coverage()
        self._unclaimed: dict[int, bytes] = {}  # passed over, and not in a batch so far; ascending
        self._changed: dict[int, tuple[bytes, bytes]] = {}  # found, and as it was
        self._removed: dict[int, bytes] = {}
        self._inserted: dict[int, bytes] = {}

    def follow(self, batch: Batch, links: _Links) -> None:
        """Compare the events that a batch holds with what it says of them."""
        self._close(batch.created_at)
        refused = self._coverage.take(batch)
        for first, last in refused:
            links.say(
                Kind.BATCH,
                f"batch {batch.id} holds what was in a batch before, or came too late: {spell(((first, last),))}",
                ((first, last),),
            )
        if self._coverage.last != batch.last_event_id and not links.lost:
            links.say(Kind.BATCH, f"batch {batch.id} names another event as the last than there is")
        for id, digest in batch.items():
            if not any(first <= id <= last for first, last in refused):
                self._compare(id, digest)

    def end(self, now: datetime, lost: bool) -> None:
        """Read what is left, which is in no batch; ``lost``: batches are missing, and events may have been in them."""
        self._pass(self._coverage.last + 1)
        self._close(now)
        for id, digest in self._unclaimed.items():
            if self._coverage.is_open(id) and not lost:
                self.pending += 1
            else:
                self._note(self._inserted, id, digest)
        while self._ahead is not None:
            self.pending += 1
            self._ahead = next(self._entries, None)

    def findings(self, lost: bool) -> Iterator[Finding]:
        """What is wrong with the events, by kind; ``lost`` as for ``end``."""
        stray = "in no batch that is left" if lost else "in no batch, where no new one can be"
        moved = self._moved()
        for id, origin in moved.items():
            words = f"reordered: in the place of event {id} stands what was event {origin}"
            yield Finding(Kind.REORDERED, words, ((id, id),))
        came_from = set(moved.values())
        for kind, ids, one, more in (
            (Kind.CHANGED, self._changed.keys() - moved, "is not what it was", "are not what they were"),
            (Kind.REMOVED, self._removed.keys() - came_from, "is missing", "are missing"),
            (Kind.INSERTED, self._inserted.keys() - moved, f"is {stray}", f"are {stray}"),
        ):
            for span in ranges_of(sorted(ids)):
                words = one if span[0] == span[1] else more
                yield Finding(kind, f"{kind.value}: {spell((span,))} {words}", (span,))

    def _moved(self) -> dict[int, int]:
        """The places where events stand that were somewhere else, and where that was."""
        places = {digest: id for id, (_, digest) in self._changed.items()}
        places.update((digest, id) for id, digest in self._removed.items())
        found = {id: digest for id, (digest, _) in self._changed.items()} | self._inserted
        return {id: places[digest] for id, digest in sorted(found.items()) if places.get(digest, id) != id}

    def _compare(self, id: int, sealed: bytes) -> None:
        found = self._find(id)
        if found == sealed:
            self.matched += 1
        elif found is None:
            self._note(self._removed, id, sealed)
        else:
            self._note(self._changed, id, (found, sealed))

    def _find(self, id: int) -> bytes | None:
        self._pass(id)
        if self._ahead is not None and self._ahead.id == id:
            digest = self._ahead.digest()
            self._ahead = next(self._entries, None)
            return digest
        return self._unclaimed.pop(id, None)

    def _pass(self, id: int) -> None:
        """Read on up to an id."""
        while self._ahead is not None and self._ahead.id < id:
            self._unclaimed[self._ahead.id] = self._ahead.digest()
            self._ahead = next(self._entries, None)

    def _close(self, now: datetime) -> None:
        """Judge what was passed over and can come into no batch any more."""
        self._coverage.close(now)
        if self._unclaimed:
            for id in [each for each in self._unclaimed if each <= self._coverage.closed]:
                self._note(self._inserted, id, self._unclaimed.pop(id))

    def _note(self, wrong: dict[int, T], id: int, what: T) -> None:
        if len(wrong) < MOST_WRONG:
            wrong[id] = what
        else:
            self.unmentioned += 1


def spell(events: Ranges) -> str:
    """Ids in words: ``event 7``, ``events 7 to 9``."""
    return ", ".join(
        f"event {first}" if first == last else f"events {first} to {last}" for first, last in events
    )
