"""How often the REST API may be asked, by one process, in memory: the generic cell rate algorithm again."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta

from certctl.acme.limits import Limit

MOST_KNOWN = 10_000  # who is remembered; the one who was not seen for longest is forgotten first


class Throttle:
    """So many a minute for each who asks; with 0 there is no limit."""

    def __init__(self, per_minute: int) -> None:
        self._limit = Limit(per_minute, timedelta(minutes=1)) if per_minute else None
        self._empty_at: OrderedDict[str, datetime] = OrderedDict()

    def wait(self, who: str, now: datetime) -> timedelta:
        """How long until somebody may ask again; not positive if that is now."""
        if self._limit is None or (empty_at := self._empty_at.get(who)) is None:
            return timedelta(0)
        return self._limit.wait(empty_at, now)

    def spend(self, who: str, now: datetime) -> None:
        """Count that somebody asked."""
        if self._limit is None:
            return
        self._empty_at[who] = max(self._empty_at.get(who, now), now) + self._limit.interval
        self._empty_at.move_to_end(who)
        if len(self._empty_at) > MOST_KNOWN:
            self._empty_at.popitem(last=False)
