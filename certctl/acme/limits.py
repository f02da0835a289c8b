"""Rate limits as the generic cell rate algorithm (ITU-T I.371) has them: one number for each bucket.

The number is the time at which the bucket would be empty again (the theoretical arrival time). Spending moves it on by
the interval of one; it may run ahead of now by the whole period, and then nothing is left to spend.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

HOUR = timedelta(hours=1)


@attrs.frozen
class Limit:
    """So many in a period, all at once if need be, and then one again with each interval."""

    count: int
    period: timedelta = HOUR

    @property
    def interval(self) -> timedelta:
        """The time in which the bucket wins back one."""
        return self.period / self.count

    def latest(self, now: datetime) -> datetime:
        """How far the bucket's time may have run ahead for one more to be spent now."""
        return now + self.period - self.interval

    def wait(self, empty_at: datetime, now: datetime) -> timedelta:
        """How long until one more may be spent; not positive if that is now."""
        return empty_at - self.latest(now)
