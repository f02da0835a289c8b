"""Tests for certctl.sealing."""

from __future__ import annotations

import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.sealing import FILE, Seal, SealError, _make

SECRET = b"the MAC key of an operator"
BOUND = ("eab-key", "prof-default", "eab-1")


class SealTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.seal = Seal(bytes(32))

    def test_round_trip(self) -> None:
        """What was sealed opens, does not show in what is stored, and is sealed anew each time."""
        one, other = (self.seal.seal(SECRET, *BOUND) for _ in range(2))
        self.assertEqual(self.seal.open(one, *BOUND), SECRET)
        self.assertNotEqual(one, other)
        self.assertNotIn(SECRET[:6], one)

    def test_another_secret(self) -> None:
        """A server with another secret cannot open it, and says in one sentence what to do."""
        error = self.assertRaises(
            SealError, Seal(bytes(31) + b"\1").open, self.seal.seal(SECRET, *BOUND), *BOUND
        )
        self.assertIn("eab-1 does not open with the secret-key of this server: copy that file", str(error))

    def test_bound(self) -> None:
        """What was sealed for one key of one profile opens for no other, however the ids are cut."""
        sealed = self.seal.seal(SECRET, *BOUND)
        others = (
            ("eab-key", "prof-default", "eab-2"),
            ("eab-key", "prof-other", "eab-1"),
            ("eab-key", "prof-defaulteab-1", ""),
            ("eab-key", "prof-default"),
            ("eab-key", 'prof-default", "eab-1'),
        )
        for other in others:
            self.assertRaises(SealError, self.seal.open, sealed, *other)

    @given(st.data())
    def test_changed(self, data: st.DataObject) -> None:
        """No octet may be changed, added or taken away, and nothing else opens."""
        sealed = bytearray(self.seal.seal(SECRET, *BOUND))
        place = data.draw(st.integers(0, len(sealed) - 1))
        cut = bytes(sealed[:place])
        sealed[place] ^= data.draw(st.integers(1, 255))
        for each in (bytes(sealed), cut, bytes(sealed) + b"\0", data.draw(st.binary(max_size=80))):
            self.assertRaises(SealError, self.seal.open, each, *BOUND)

    def test_fingerprint(self) -> None:
        """Two secrets have two fingerprints, which are not the secret."""
        self.assertEqual(self.seal.fingerprint, Seal(bytes(32)).fingerprint)
        self.assertNotEqual(self.seal.fingerprint, Seal(b"\1" * 32).fingerprint)
        self.assertRegex(self.seal.fingerprint, r"\A[0-9a-f]{64}\Z")
        self.assertNotIn("00000000", self.seal.fingerprint)


class FileTests(SynchronousTestCase):
    """The secret in the state directory."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.file = self.directory / FILE

    def test_made_once(self) -> None:
        """The first start makes it, for nobody else's eyes, and the next finds it."""
        first = Seal.kept_in(self.directory)
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)
        self.assertEqual([each.name for each in self.directory.iterdir()], [FILE])
        self.assertEqual(Seal.kept_in(self.directory).fingerprint, first.fingerprint)

    def test_another_process_was_first(self) -> None:
        """Of two processes that make one at the same moment, both use the first one's."""
        first = Seal.kept_in(self.directory)
        _make(self.file)
        self.assertEqual(Seal.kept_in(self.directory).fingerprint, first.fingerprint)
        self.assertEqual([each.name for each in self.directory.iterdir()], [FILE])

    def test_open_to_others(self) -> None:
        """A secret that others may read is none."""
        Seal.kept_in(self.directory)
        self.file.chmod(0o604)
        self.assertIn("chmod 600", str(self.assertRaises(SealError, Seal.kept_in, self.directory)))

    def test_damaged(self) -> None:
        """A file that holds something else stops the start, and is not made anew over what it was."""
        for content in (b"", b"0" * 62, b"x" * 64, b"\xff\xfe", b"0" * 66):
            self.file.write_bytes(content)
            self.file.chmod(0o600)
            error = str(self.assertRaises(SealError, Seal.kept_in, self.directory))
            self.assertIn("put it back", error)
            self.assertEqual(self.file.read_bytes(), content)

    def test_no_directory(self) -> None:
        """What the operating system refuses is one sentence."""
        error = str(self.assertRaises(SealError, Seal.kept_in, self.directory / "absent"))
        self.assertIn("No such file or directory", error)
