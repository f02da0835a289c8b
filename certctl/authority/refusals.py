"""How often refusals are written down: nobody fills the disk by being refused."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime, timedelta

import attrs

PERIOD = timedelta(minutes=1)
MOST = 1000  # keys in a period; each is an account, and accounts leave rows of their own


@attrs.define
class _Recorded:
    at: datetime
    unrecorded: int = 0


class Seldom:
    """Lets one of a kind pass in a period, and counts those that it does not."""

    def __init__(self) -> None:
        self._recorded: dict[Hashable, _Recorded] = {}  # the oldest first

    def admit(self, key: Hashable, now: datetime) -> int | None:
        """Return how many of the kind were held back since the last that passed; None to hold back this one too."""
        last = self._recorded.get(key)
        if last is not None and now - last.at < PERIOD:
            last.unrecorded += 1
            return None
        if last is None and len(self._recorded) >= MOST and not self._forget(now):
            return None
        self._recorded.pop(key, None)
        self._recorded[key] = _Recorded(now)
        return last.unrecorded if last is not None else 0

    def _forget(self, now: datetime) -> bool:
        """Forget the oldest, if its period is over; say whether it was."""
        oldest = next(iter(self._recorded))
        if now - self._recorded[oldest].at < PERIOD:
            return False
        del self._recorded[oldest]
        return True
