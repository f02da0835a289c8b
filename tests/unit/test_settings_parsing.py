from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.settings_parsing import format_duration, parse_duration

# Text and seconds, as Go's time.ParseDuration has them.
DURATIONS = (
    ("5m", 300),
    ("24h", 86400),
    ("1h30m", 5400),
    ("1.5h", 5400),
    (".5s", 0.5),
    ("5.s", 5),
    ("500ms", 0.5),
    ("250us", 0.00025),
    ("250µs", 0.00025),  # micro sign
    ("250μs", 0.00025),  # Greek mu
    ("5000ns", 0.000005),
    ("1m1h", 3660),
    ("0", 0),
    ("0s", 0),
)


class DurationTests(SynchronousTestCase):
    """Durations are Go's."""

    def test_values(self) -> None:
        for text, seconds in DURATIONS:
            self.assertEqual((text, parse_duration(text)), (text, timedelta(seconds=seconds)))

    def test_refused(self) -> None:
        for text in (
            "",
            "5",
            "m",
            "+5m",
            "-5m",
            "5 m",
            "5m 1s",
            "1d",
            "5M",
            "1e3s",
            ".s",
            "1..5s",
            "٥m",
            "5m\n",
        ):
            self.assertRaises(ValueError, parse_duration, text)

    @given(st.timedeltas(timedelta(0), timedelta(days=400)))
    def test_round_trip(self, value: timedelta) -> None:
        """What is shown as a default can be typed in again."""
        self.assertEqual(parse_duration(format_duration(value)), value)
