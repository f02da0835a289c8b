"""Tests for certctl.acme.keys."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, x25519
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme import jose, keys
from certctl.acme.problems import Problem, ProblemType
from tests.unit.acme.jwk_corpus import SMALL_ORDER, rsa_key
from tests.unit.acme.jws_builder import signer


class PublicKeyTests(SynchronousTestCase):
    """JSON Web Keys become keys."""

    def test_thumbprint_rsa(self) -> None:
        """The thumbprint of RFC 7638 section 3.1's key is the one given there."""
        n = (
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
            "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
            "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
            "kEgU8awapJzKnqDKgw"
        )
        key = keys.public_key({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"})
        self.assertEqual(key.thumbprint, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")
        self.assertEqual(key.jwk, f'{{"e":"AQAB","kty":"RSA","n":"{n}"}}')

    def test_thumbprint_ed25519(self) -> None:
        """The thumbprint of RFC 8037 appendix A.3's key is the one given there."""
        key = keys.public_key(
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
        )
        self.assertEqual(key.thumbprint, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")

    def test_every_kind(self) -> None:
        """Keys for all algorithms are read: the same key, the client's thumbprint, back from storage."""
        for algorithm in jose.ALGORITHMS:
            with self.subTest(algorithm):
                owner = signer(algorithm)
                key = keys.public_key(owner.jwk)
                self.assertEqual(key.key, owner.key.public_key())
                self.assertEqual(key.thumbprint, owner.thumbprint)
                self.assertEqual(json.loads(key.jwk), owner.jwk)
                self.assertEqual(keys.load(key.jwk), key)

    def test_canonical(self) -> None:
        """Other members, and the order of all, make no other key."""
        jwk = signer("ES256").jwk
        more = dict(reversed(jwk.items())) | {
            "kid": "x",
            "use": "sig",
            "alg": "ES256",
            "key_ops": ["verify"],
            "x5c": [],
        }
        self.assertEqual(keys.public_key(more), keys.public_key(jwk))
        self.assertEqual(len({keys.public_key(more), keys.public_key(jwk)}), 1)

    def test_load_keeps(self) -> None:
        """A stored key is made ready once, and a bounded number of them is kept."""
        stored = keys.public_key(signer("ES256").jwk).jwk
        self.assertIs(keys.load(stored), keys.load(stored))
        self.assertEqual(keys.load.cache_info().maxsize, 10_000)

    def test_worded(self) -> None:
        """The problem is badPublicKey and says what is wrong (RFC 8555 section 6.2)."""
        problem = self.assertRaises(Problem, keys.public_key, {"kty": "RSA", "e": "AQAB", "n": "gQ"})
        self.assertIs(problem.type, ProblemType.BAD_PUBLIC_KEY)
        self.assertEqual(problem.detail, "the JWK is refused: an RSA key has 2048 to 8192 bits, this one 8")

    def test_alg_of_rsa(self) -> None:
        """An RSA key may say either of its algorithms."""
        for algorithm in ("RS256", "PS256"):
            keys.public_key({**signer("RS256").jwk, "alg": algorithm})


class CheckKeyTests(SynchronousTestCase):
    """The keys of accounts and of certificates are judged alike."""

    def refused(self, key: Any, words: str) -> None:
        """Show that ``key`` is refused in these words."""
        with self.assertRaises(ValueError) as caught:
            keys.check_key(key)
        self.assertIn(words, str(caught.exception))

    def test_good(self) -> None:
        """The keys that requests may be signed with are good, and come back."""
        for algorithm in jose.ALGORITHMS:
            key = signer(algorithm).key.public_key()
            self.assertIs(keys.check_key(key), key)

    def test_rsa(self) -> None:
        """Short RSA keys are refused."""
        self.refused(rsa_key(1024).public_key(), "this one 1024")

    def test_curves(self) -> None:
        """Other curves than those of RFC 7518 section 6.2.1.1 are refused and have no name there."""
        for curve in (ec.SECP256K1(), ec.BrainpoolP256R1(), ec.SECP224R1()):
            key = ec.generate_private_key(curve).public_key()
            self.refused(key, "none of P-256, P-384 and P-521")
            self.assertIsNone(keys.curve_name(key))

    def test_small_order(self) -> None:
        """Ed25519 keys of small order are refused, whichever of the eight they are."""
        for point in SMALL_ORDER:
            with self.assertRaises(ValueError):
                keys.check_key(ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(point)))
        self.refused(ed25519.Ed25519PublicKey.from_public_bytes(bytes(32)), "small order")

    def test_no_point(self) -> None:
        """Of 32 octets that are no point of Ed25519 none is taken for one, and all real keys are."""
        refused = 0
        for number in range(2, 102):
            try:
                keys.check_key(ed25519.Ed25519PublicKey.from_public_bytes(bytes([number]) + bytes(31)))
            except ValueError:
                refused += 1
        self.assertTrue(30 < refused < 70, refused)  # about half of all y have an x
        for _ in range(20):
            keys.check_key(ed25519.Ed25519PrivateKey.generate().public_key())

    def test_other_kinds(self) -> None:
        """DSA, X25519, Ed448 and what is no key at all are refused."""
        unsupported = (
            dsa.generate_private_key(2048).public_key(),
            x25519.X25519PrivateKey.generate().public_key(),
            ed448.Ed448PrivateKey.generate().public_key(),
            None,
        )
        for key in unsupported:
            self.refused(key, "no supported type")
