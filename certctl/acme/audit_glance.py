"""A look at the end of the audit trail's chain: whether the newest batches hold what the newest events are.

It reads little, so that it can be had at any time. What it finds intact may still be the end of a chain that was
rewritten before: that is for ``audit_verification`` and for checkpoints that were kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from certctl.acme.audit_chain import Batch, Entry


def glance(batches: Sequence[Batch], entries: Iterable[Entry]) -> list[str]:
    """What is wrong with batches, which follow one another, and the events in them; nothing if all is well."""
    found = {each.id: each.digest() for each in entries}
    return [*_links(batches), *_events(batches, found)]


def _links(batches: Sequence[Batch]) -> Iterator[str]:
    for before, batch in zip([None, *batches], batches, strict=False):
        if batch.hash != batch.computed_hash():
            yield f"batch {batch.id} was changed: its hash is not that of what it holds"
        if before is not None and (batch.previous != before.hash or batch.id != before.id + 1):
            yield f"batch {batch.id} does not follow batch {before.id}"


def _events(batches: Sequence[Batch], found: dict[int, bytes]) -> Iterator[str]:
    for batch in batches:
        for id, digest in batch.items():
            if id not in found:
                yield f"event {id} is missing"
            elif found[id] != digest:
                yield f"event {id} is not what it was"
