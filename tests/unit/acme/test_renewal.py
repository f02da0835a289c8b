from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.members import Members, PolicyError
from certctl.acme.renewal import LEAST, CertID, RenewalPolicy, overdue

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
        window = RenewalPolicy().window(BEGIN, END)
        self.assertAlmostEqual((window.start - BEGIN) / (END - BEGIN), 2 / 3)
        self.assertAlmostEqual((window.end - BEGIN) / (END - BEGIN), 5 / 6)

    def test_overdue(self) -> None:
        """Once it is revoked, the window lies in the past."""
        window = overdue(BEGIN + timedelta(hours=1, microseconds=5))
        self.assertLess(window.start, window.end)
        self.assertEqual(window.end, BEGIN + timedelta(hours=1))

    @given(
        st.integers(min_value=1, max_value=10**9),
        st.integers(min_value=1, max_value=98),
        st.integers(min_value=1, max_value=98),
    )
    def test_never_empty(self, seconds: int, begins: int, more: int) -> None:
        """However short a life is, the window ends after its beginning (RFC 9773 section 4.2)."""
        policy = read({"begins_percent": begins, "ends_percent": min(99, begins + more)})
        window = policy.window(BEGIN, BEGIN + timedelta(seconds=seconds))
        self.assertGreaterEqual(window.end - window.start, LEAST)


def read(renewal: object) -> RenewalPolicy:
    """The member ``renewal`` of a policy."""
    return RenewalPolicy.of(Members("policy", {"renewal": renewal}))


class PolicyTests(SynchronousTestCase):
    def test_percent(self) -> None:
        """A profile says at which part of a life the window begins and ends."""
        window = read({"begins_percent": 50, "ends_percent": 60}).window(BEGIN, END)
        self.assertAlmostEqual((window.start - BEGIN) / (END - BEGIN), 0.5, places=5)
        self.assertAlmostEqual((window.end - BEGIN) / (END - BEGIN), 0.6, places=5)
        self.assertEqual(read({}), RenewalPolicy())
        self.assertEqual(read({"begins_percent": 70}).ends, RenewalPolicy().ends)

    def test_refused(self) -> None:
        """What is no window, and no page, is refused by its path."""
        for renewal, path in (
            ({"begins_percent": 0}, "begins_percent"),
            ({"ends_percent": 100}, "ends_percent"),
            ({"begins_percent": 60, "ends_percent": 60}, "ends_percent"),
            ({"begins_percent": 90}, "ends_percent"),
            ({"begins": 0.5}, "begins"),
            ({"explanation_url": "javascript:x"}, "explanation_url"),
        ):
            error = self.assertRaises(PolicyError, read, renewal)
            self.assertEqual(error.path, f"policy.renewal.{path}")
