from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.renewal import CertID, suggested

EXAMPLE = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"  # RFC 9773 section 4.1
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC)


class CertIDTests(SynchronousTestCase):
    def test_example(self) -> None:
        """The RFC's own example is read, and written as it was."""
        found = CertID.parse(EXAMPLE)
        self.assertEqual(found.key_identifier.hex(), "69885b6b87464041e1b37b847ba0ae2cde01c8d4")
        self.assertEqual(found.serial, "87654321")
        self.assertEqual(str(found), EXAMPLE)

    def test_one_form(self) -> None:
        """What is not a certID in its one form is none."""
        key, serial = EXAMPLE.split(".")
        for text in (
            "",
            ".",
            key,
            f"{key}.",
            f".{serial}",
            f"{key}.{serial}.{serial}",
            f"{key}=.{serial}",
            f"{key}.{serial}=",
            f"{key}.h2VDIQ",  # a negative number
            f"{key}.AAB",  # a zero too many in front
            f"{key}.AA",  # the serial 0
            f"{key}.{'A' * 40}",
            f"{'A' * 200}.{serial}",
            f"{key}.AIdlQy+",
            f"{key} .{serial}",
        ):
            with self.assertRaises(ValueError, msg=text):
                CertID.parse(text)

    @given(st.binary(min_size=1, max_size=64), st.integers(min_value=1, max_value=2**160 - 1))
    def test_there_and_back(self, key: bytes, serial: int) -> None:
        """A certID that was written is read as what it was."""
        cert_id = CertID(key, f"{serial:x}")
        self.assertEqual(CertID.parse(str(cert_id)), cert_id)

    @given(st.text(max_size=80))
    def test_any_text(self, text: str) -> None:
        """Any text is a certID in its one form, or a ValueError."""
        with contextlib.suppress(ValueError):
            self.assertEqual(str(CertID.parse(text)), text)


class WindowTests(SynchronousTestCase):
    def test_last_third(self) -> None:
        """The window begins with the last third and leaves half of it."""
        window = suggested(BEGIN, END)
        self.assertAlmostEqual((window.start - BEGIN) / (END - BEGIN), 2 / 3)
        self.assertAlmostEqual((window.end - BEGIN) / (END - BEGIN), 5 / 6)

    def test_revoked(self) -> None:
        """Once it is revoked, the window lies in the past."""
        window = suggested(BEGIN, END, BEGIN + timedelta(hours=1))
        self.assertLess(window.start, window.end)
        self.assertLessEqual(window.end, BEGIN + timedelta(hours=1))

    @given(st.integers(min_value=1, max_value=10**9))
    def test_never_empty(self, seconds: int) -> None:
        """However short a life is, the window ends after its beginning (RFC 9773 section 4.2)."""
        window = suggested(BEGIN, BEGIN + timedelta(seconds=seconds))
        self.assertLess(window.start, window.end)
