"""Tests for certctl.acme.csr with CSRs that were damaged at random."""

from __future__ import annotations

import random
from functools import cache

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.problems import Problem, ProblemType
from tests.acme_client import make_csr
from tests.unit.acme.jwk_corpus import rsa_key
from tests.unit.acme.jws_builder import signer
from tests.unit.acme.test_csr import parse

MUTATIONS = 2000


@cache
def samples() -> tuple[bytes, ...]:
    """Return CSRs to be damaged: of all keys, with all kinds of names and with extensions."""
    extensions = (
        x509.TLSFeature([x509.TLSFeatureType.status_request]),
        x509.BasicConstraints(ca=False, path_length=None),
        x509.KeyUsage(True, False, True, False, False, False, False, False, False),
    )
    owners = (signer("ES256").key, signer("EdDSA").key, rsa_key(2048))
    return tuple(
        make_csr(["a.example.org", "192.0.2.1", "2001:db8::1"], key, "a.example.org", extensions)[1]
        for key in owners
    )


def damaged(randomness: random.Random) -> bytes:
    """Return a CSR with one to four octets changed, taken away, put in or doubled."""
    der = bytearray(randomness.choice(samples()))
    for _ in range(randomness.randint(1, 4)):
        place = randomness.randrange(len(der))
        match randomness.randrange(5):
            case 0:
                der[place] = randomness.randrange(256)
            case 1:
                der[place] ^= 1 << randomness.randrange(8)
            case 2:
                del der[place : place + randomness.randint(1, 8)]
            case 3:
                der[place:place] = randomness.randbytes(randomness.randint(1, 8))
            case _:
                der[place:place] = der[place : place + randomness.randint(1, 64)]
    return bytes(der)


class DamageTests(SynchronousTestCase):
    """Nothing comes out of a CSR but what it asks for, or a problem."""

    def test_mutations(self) -> None:
        """Two thousand damaged CSRs are read or refused, and nothing else happens (like CVE-2026-40097)."""
        randomness = random.Random(20_260_401)
        for _ in range(MUTATIONS):
            der = damaged(randomness)
            try:
                parse(der)
            except Problem as problem:
                self.assertIs(problem.type, ProblemType.BAD_CSR, der.hex())
