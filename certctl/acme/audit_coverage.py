"""Which events have been in a batch of the audit trail's chain, and which may still come into one."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

import attrs

from certctl.acme.audit_chain import Batch, Ranges

# How long an event may be on its way after one with a larger id was seen: statements end after 10 seconds, and what a
# commit may wait for a standby comes on top. Nobody gains by it: who can write may as well write at the end.
LATEST = timedelta(minutes=10)
LOOKS = (
    3  # batches that a late event may miss in any case, as when all servers were down for longer than that
)


@attrs.define
class Coverage:
    """Which ids have been in a batch, and which of those passed over may still come."""

    last: int = 0  # the largest id in any batch
    closed: int = 0  # up to here nothing more can come
    gaps: list[tuple[int, int]] = attrs.field(factory=list)  # ascending, above ``closed``
    _ends: deque[tuple[datetime, int]] = attrs.field(factory=deque, alias="ends")

    def close(self, now: datetime) -> None:
        """Close what nothing can come into any more."""
        while len(self._ends) > LOOKS and self._ends[0][0] <= now - LATEST:
            self.closed = max(self.closed, self._ends.popleft()[1])
        self.gaps = [(max(first, self.closed + 1), last) for first, last in self.gaps if last > self.closed]

    def take(self, batch: Batch) -> Ranges:
        """Note what a batch holds; return what of it was not open."""
        refused = []
        for first, last in batch.ranges:
            if first > self.last:
                if first > self.last + 1:
                    self.gaps.append((self.last + 1, first - 1))
                self.last = last
            elif not self._fill(first, last):
                refused.append((first, last))
        self._ends.append((batch.created_at, self.last))
        return tuple(refused)

    def is_open(self, id: int) -> bool:
        """Whether an event with this id may still come into a batch."""
        return id > self.last or any(first <= id <= last for first, last in self.gaps)

    def _fill(self, first: int, last: int) -> bool:
        for at, (low, high) in enumerate(self.gaps):
            if low <= first and last <= high:
                self.gaps[at : at + 1] = [
                    gap for gap in ((low, first - 1), (last + 1, high)) if gap[0] <= gap[1]
                ]
                return True
        return False
