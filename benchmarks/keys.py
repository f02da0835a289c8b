"""Account keys that sign requests, certificate keys and CSRs: all that is made before the clock starts."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Protocol

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY_TYPES = ("ES256", "RS256")
RSA_BITS = 2048  # of account and certificate keys alike
RSA_KEYS = 2  # certificate keys of a client, used in turn: one takes about 50 ms to make
COORDINATE = 32  # bytes of one half of an ES256 signature (RFC 7518 section 3.4)

CertificateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def base64url(data: bytes) -> str:
    """Encode as RFC 7515 section 2 has it: without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _number(value: int) -> str:
    return base64url(value.to_bytes((value.bit_length() + 7) // 8))


class AccountKey(Protocol):
    """Signs what a client sends."""

    algorithm: str

    def jwk(self) -> dict[str, str]:
        """Return the public key as a JWK of its required members alone."""

    def sign(self, data: bytes) -> bytes:
        """Return the signature as a JWS has it."""


class ES256:
    """A P-256 key (RFC 7518 section 3.4)."""

    algorithm = "ES256"

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._hash = ec.ECDSA(SHA256())

    def jwk(self) -> dict[str, str]:
        """Return the public key (RFC 7518 section 6.2)."""
        numbers = self._key.public_key().public_numbers()
        x, y = (base64url(each.to_bytes(COORDINATE)) for each in (numbers.x, numbers.y))
        return {"crv": "P-256", "kty": "EC", "x": x, "y": y}

    def sign(self, data: bytes) -> bytes:
        """Sign, and turn DER into the two numbers side by side."""
        r, s = decode_dss_signature(self._key.sign(data, self._hash))
        return r.to_bytes(COORDINATE) + s.to_bytes(COORDINATE)


class RS256:
    """An RSA key (RFC 7518 section 3.3)."""

    algorithm = "RS256"

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, RSA_BITS)

    def jwk(self) -> dict[str, str]:
        """Return the public key (RFC 7518 section 6.3)."""
        numbers = self._key.public_key().public_numbers()
        return {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}

    def sign(self, data: bytes) -> bytes:
        """Sign with PKCS #1 v1.5."""
        return self._key.sign(data, padding.PKCS1v15(), SHA256())


def account_key(key_type: str) -> AccountKey:
    """Make an account key of one of KEY_TYPES."""
    return ES256() if key_type == "ES256" else RS256()


def thumbprint(key: AccountKey) -> str:
    """Return the JWK thumbprint (RFC 7638), which is half of a key authorization."""
    canonical = json.dumps(key.jwk(), separators=(",", ":"), sort_keys=True)
    return base64url(hashlib.sha256(canonical.encode("ascii")).digest())


@attrs.frozen
class Wanted:
    """A certificate to be asked for: its names, its public key and the payload with its CSR."""

    names: tuple[str, ...]
    public_key: bytes  # DER SubjectPublicKeyInfo
    finalize: bytes


def wanted(names: Sequence[str], key: CertificateKey) -> Wanted:
    """Make the CSR for ``names``, with an empty subject, as most clients do."""
    subject_names = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = builder.add_extension(subject_names, critical=False).sign(key, SHA256())
    public_key = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    payload = json.dumps({"csr": base64url(csr.public_bytes(Encoding.DER))}).encode("ascii")
    return Wanted(tuple(names), public_key, payload)


def certificate_keys(key_type: str) -> Iterator[CertificateKey]:
    """Yield certificate keys for ever: a new one each time, or few in turn where they are slow to make."""
    few = [rsa.generate_private_key(65537, RSA_BITS) for _ in range(RSA_KEYS if key_type == "RS256" else 0)]
    while not few:
        yield ec.generate_private_key(ec.SECP256R1())
    while True:
        yield from few
