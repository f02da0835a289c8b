"""Tests for certctl.acme.nonces."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.encoding import base64url, from_base64url
from certctl.acme.nonces import NonceMint
from certctl.acme.problems import Problem, ProblemType

KEY = bytes(range(32))
NOW = 1_800_000_000.0
LIFETIME = 300.0


class NonceMintTests(SynchronousTestCase):
    """RFC 8555 section 6.5."""

    def setUp(self) -> None:
        """Make a mint whose nonces live five minutes."""
        self.mint = NonceMint(lambda: KEY, timedelta(minutes=5))

    def refused(self, nonce: str, now: float, words: str) -> None:
        """Show that a nonce is refused as badNonce in these words."""
        problem = self.assertRaises(Problem, self.mint.redeemable, nonce, now)
        self.assertIs(problem.type, ProblemType.BAD_NONCE)
        self.assertEqual(problem.status, 400)
        self.assertIn(words, problem.detail)

    def test_form(self) -> None:
        """A nonce is 43 characters of base64url, and no two are alike."""
        nonces = {self.mint.mint(NOW) for _ in range(1000)}
        self.assertEqual(len(nonces), 1000)
        for nonce in nonces:
            self.assertRegex(nonce, r"\A[A-Za-z0-9_-]{43}\Z")

    def test_identity(self) -> None:
        """A good nonce is spent by its first 16 octets, which begin with its milliseconds."""
        nonce = self.mint.mint(NOW + 0.25)
        identity = self.mint.redeemable(nonce, NOW + 1)
        self.assertEqual(identity, from_base64url(nonce)[:16])
        self.assertEqual(int.from_bytes(identity[:6], "big"), 1_800_000_000_250)

    def test_replicas(self) -> None:
        """Every mint with the key knows the nonce, after a restart too; a mint with another key does not."""
        nonce = self.mint.mint(NOW)
        self.assertEqual(
            NonceMint(lambda: KEY, timedelta(minutes=5)).redeemable(nonce, NOW),
            self.mint.redeemable(nonce, NOW),
        )
        other = NonceMint(lambda: bytes(32), timedelta(minutes=5))
        self.refused(other.mint(NOW), NOW, "not one of this server's")

    def test_expiry(self) -> None:
        """A nonce is good until its lifetime is over, to the millisecond."""
        nonce = self.mint.mint(NOW)
        self.mint.redeemable(nonce, NOW + LIFETIME)
        self.refused(nonce, NOW + LIFETIME + 0.001, "expired")

    def test_future(self) -> None:
        """A nonce from a replica whose clock is a minute ahead is good; from further ahead it is not."""
        nonce = self.mint.mint(NOW)
        self.mint.redeemable(nonce, NOW - 60)
        self.refused(nonce, NOW - 60.001, "future")

    def test_foreign(self) -> None:
        """What is no nonce of this server is refused, whatever it looks like."""
        good = self.mint.mint(NOW)
        for nonce in ("", "A", good[:-1], good + "A", good + "=", "\N{KELVIN SIGN}" * 43, "+" * 43, "A" * 43):
            self.refused(nonce, NOW, "not one of this server's")

    @given(st.integers(0, 31), st.integers(1, 255))
    def test_forged(self, place: int, change: int) -> None:
        """No octet can be changed: neither the time, nor the randomness, nor the MAC."""
        mint = NonceMint(lambda: KEY, timedelta(minutes=5))
        octets = bytearray(from_base64url(mint.mint(NOW)))
        octets[place] ^= change
        problem = self.assertRaises(Problem, mint.redeemable, base64url(bytes(octets)), NOW)
        self.assertIs(problem.type, ProblemType.BAD_NONCE)

    @given(st.text())
    def test_arbitrary(self, nonce: str) -> None:
        """Any text raises badNonce and nothing else."""
        mint = NonceMint(lambda: KEY, timedelta(minutes=5))
        self.assertIs(self.assertRaises(Problem, mint.redeemable, nonce, NOW).type, ProblemType.BAD_NONCE)

    def test_one_spelling(self) -> None:
        """A spent nonce does not come back in another spelling: two bits of the last letter are zero."""
        nonce = self.mint.mint(NOW)
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        spelled = [nonce[:-1] + letter for letter in alphabet if letter != nonce[-1]]
        for each in spelled:
            self.refused(each, NOW, "not one of this server's")

    def test_another_key(self) -> None:
        """When another key takes the place of the first, nonces of the first are bad, and new ones good."""
        keys = [KEY]
        mint = NonceMint(lambda: keys[-1], timedelta(minutes=5))
        before = mint.mint(NOW)
        keys.append(bytes(32))
        self.assertRaises(Problem, mint.redeemable, before, NOW)
        self.assertEqual(len(mint.redeemable(mint.mint(NOW), NOW)), 16)

    @given(st.floats(-1000, 1000), st.floats(-60, 60))
    def test_floor(self, age: float, skew: float) -> None:
        """What lies below the floor can be redeemed on no replica, be its clock a minute behind or ahead."""
        mint = NonceMint(lambda: KEY, timedelta(minutes=5))
        nonce = mint.mint(NOW - age)
        if from_base64url(nonce)[:16] < mint.floor(NOW):
            self.assertRaises(Problem, mint.redeemable, nonce, NOW + skew)

    def test_floor_rises(self) -> None:
        """What has expired for longer than clocks differ lies below the floor; at the epoch nothing does."""
        identity = self.mint.redeemable(self.mint.mint(NOW), NOW)
        self.assertLess(self.mint.floor(NOW + 360), identity)
        self.assertGreater(self.mint.floor(NOW + 360.001), identity)
        self.assertEqual(self.mint.floor(0), bytes(16))

    def test_short_key(self) -> None:
        """A key shorter than the hash is refused (RFC 2104 section 3)."""
        self.assertRaises(ValueError, NonceMint, lambda: bytes(31), timedelta(minutes=5))
