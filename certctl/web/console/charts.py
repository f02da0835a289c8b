"""Small plots as SVG: one bar for each day. Beside each stands a table with the same numbers."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

HEIGHT = 40
STEP = 10  # units of width for each bar
GAP = 2


@attrs.frozen
class Bar:
    """One bar, and the words for who points at it."""

    x: int
    y: float
    width: int
    height: float
    words: str
    is_zero: bool


@attrs.frozen
class Plot:
    """A plot of one number over days."""

    name: str
    total: int
    width: int
    height: int
    bars: tuple[Bar, ...]
    words: str  # for who does not see it

    @classmethod
    def of(cls, name: str, days: Sequence[tuple[str, int]]) -> Plot:
        """A plot of days and their numbers."""
        most = max((number for _, number in days), default=0)
        total = sum(number for _, number in days)
        peak = next((date for date, number in days if number == most), "")
        words = f"{name} in {len(days)} days: {total} in all"
        bars = tuple(_bar(place, date, number, most, name) for place, (date, number) in enumerate(days))
        return cls(
            name=name,
            total=total,
            width=max(1, len(days)) * STEP,
            height=HEIGHT,
            bars=bars,
            words=f"{words}, most on {peak}: {most}" if most else words,
        )


def _bar(place: int, date: str, number: int, most: int, name: str) -> Bar:
    height = round(max(1.5, (HEIGHT - 1) * number / most), 2) if number else 1.0
    return Bar(
        x=place * STEP,
        y=HEIGHT - height,
        width=STEP - GAP,
        height=height,
        words=f"{date}: {number} {name}",
        is_zero=not number,
    )
