"""Tests for certctl.acme.nonces."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.encoding import base64url, from_base64url
from certctl.acme.nonces import KEY_PERIOD, NonceKey, NonceKeys, NonceMint, due, over
from certctl.acme.problems import Problem, ProblemType

KEY = bytes(range(32))
KEYS = (NonceKey(0, KEY),)
NOW = 1_800_000_000.0
LIFETIME = 300.0


class NonceMintTests(SynchronousTestCase):
    """RFC 8555 section 6.5."""

    def setUp(self) -> None:
        """Make a mint whose nonces live five minutes."""
        self.mint = NonceMint(lambda: KEYS, timedelta(minutes=5))

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
            NonceMint(lambda: KEYS, timedelta(minutes=5)).redeemable(nonce, NOW),
            self.mint.redeemable(nonce, NOW),
        )
        other = NonceMint(lambda: _keys(bytes(32)), timedelta(minutes=5))
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
        mint = NonceMint(lambda: KEYS, timedelta(minutes=5))
        octets = bytearray(from_base64url(mint.mint(NOW)))
        octets[place] ^= change
        problem = self.assertRaises(Problem, mint.redeemable, base64url(bytes(octets)), NOW)
        self.assertIs(problem.type, ProblemType.BAD_NONCE)

    @given(st.text())
    def test_arbitrary(self, nonce: str) -> None:
        """Any text raises badNonce and nothing else."""
        mint = NonceMint(lambda: KEYS, timedelta(minutes=5))
        self.assertIs(self.assertRaises(Problem, mint.redeemable, nonce, NOW).type, ProblemType.BAD_NONCE)

    def test_one_spelling(self) -> None:
        """A spent nonce does not come back in another spelling: two bits of the last letter are zero."""
        nonce = self.mint.mint(NOW)
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        spelled = [nonce[:-1] + letter for letter in alphabet if letter != nonce[-1]]
        for each in spelled:
            self.refused(each, NOW, "not one of this server's")

    def test_key_of_its_time(self) -> None:
        """A nonce is under the key of the time that it names: the next key changes nothing for it."""
        later = NonceKey(int(NOW * 1000) + 100, bytes(32))
        before = self.mint.mint(NOW)
        mint = NonceMint(lambda: (*KEYS, later), timedelta(minutes=5))
        self.assertEqual(len(mint.redeemable(before, NOW + 1)), 16)
        after = mint.mint(NOW + 0.1)
        self.assertEqual(len(mint.redeemable(after, NOW + 1)), 16)
        self.refused(
            after, NOW + 1, "not one of this server's"
        )  # as this mint has not heard of the later key
        alone = NonceMint(lambda: (later,), timedelta(minutes=5))
        self.assertRaises(Problem, alone.redeemable, before, NOW)

    @given(st.floats(-60, 60), st.integers(0, 86_400_000))
    def test_clocks_that_differ(self, skew: float, at: int) -> None:
        """Around the change of keys it makes no difference whose clock is ahead."""
        keys = (*KEYS, NonceKey(86_400_000, bytes(32)))
        one, other = (NonceMint(lambda: keys, timedelta(minutes=5)) for _ in range(2))
        now = 86_400 - 40_000 / 1000 + at / 1000
        self.assertEqual(len(other.redeemable(one.mint(now), now + skew)), 16)

    @given(st.floats(-1000, 1000), st.floats(-60, 60))
    def test_floor(self, age: float, skew: float) -> None:
        """What lies below the floor can be redeemed on no replica, be its clock a minute behind or ahead."""
        mint = NonceMint(lambda: KEYS, timedelta(minutes=5))
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
        self.assertRaises(ValueError, NonceMint, lambda: _keys(bytes(31)), timedelta(minutes=5))


class KeyTests(SynchronousTestCase):
    """Keys follow one another."""

    def test_due(self) -> None:
        """The key that is made now begins at the end of tomorrow, and there is one for each day."""
        noon, day = 10 * 86_400 + 43_200, 86_400_000
        self.assertEqual(due(KEYS, noon), 12 * day)
        self.assertEqual(due(KEYS, noon + 43_199), 12 * day)
        self.assertIsNone(due((*KEYS, NonceKey(12 * day, KEY)), noon))
        self.assertEqual(due((*KEYS, NonceKey(12 * day, KEY)), noon + 43_200), 13 * day)

    @given(st.floats(0, 4e9))
    def test_known_in_time(self, now: float) -> None:
        """Whoever looks once in a period knows each key before it is used."""
        begins = due(KEYS, now)
        assert begins is not None
        self.assertGreaterEqual(begins, (now + KEY_PERIOD.total_seconds()) * 1000 - 1)

    def test_clock_set_back(self) -> None:
        """Who believes to be in an earlier time makes no key for a time that others are in already."""
        self.assertIsNone(due((*KEYS, NonceKey(12 * 86_400_000, KEY)), 9 * 86_400))

    def test_over(self) -> None:
        """A key is over when the key that followed it began before the oldest nonce that may be good."""
        keys: NonceKeys = tuple(NonceKey(begins, KEY) for begins in (0, 100, 200))
        floor = [each.to_bytes(6, "big") + bytes(10) for each in (99, 100, 199, 200, 10_000)]
        self.assertEqual([len(over(keys, each)) for each in floor], [0, 1, 1, 2, 2])


def _keys(octets: bytes) -> NonceKeys:
    return (NonceKey(0, octets),)
