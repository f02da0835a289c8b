"""A small ACME client's toolkit without I/O: signers of requests, and CSRs.

It shares no code with the server, so that the two cannot agree on a mistake.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

CURVES: Mapping[str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "ES256": ("P-256", ec.SECP256R1(), hashes.SHA256()),
    "ES384": ("P-384", ec.SECP384R1(), hashes.SHA384()),
    "ES512": ("P-521", ec.SECP521R1(), hashes.SHA512()),
}


def b64(data: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def b64_number(number: int) -> str:
    """Encode as RFC 7518's Base64urlUInt."""
    return b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def as_json(value: object) -> bytes:
    """Encode as compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode("utf-8")


def jwk_of(key: PrivateKey) -> dict[str, str]:
    """Return the public JSON Web Key of ``key``."""
    public = key.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        numbers = public.public_numbers()
        size = (public.curve.key_size + 7) // 8
        name = next(name for name, curve, _ in CURVES.values() if curve.name == public.curve.name)
        x, y = numbers.x.to_bytes(size, "big"), numbers.y.to_bytes(size, "big")
        return {"crv": name, "kty": "EC", "x": b64(x), "y": b64(y)}
    if isinstance(public, rsa.RSAPublicKey):
        return {
            "e": b64_number(public.public_numbers().e),
            "kty": "RSA",
            "n": b64_number(public.public_numbers().n),
        }
    return {"crv": "Ed25519", "kty": "OKP", "x": b64(public.public_bytes_raw())}


def raw_signature(key: PrivateKey, algorithm: str, data: bytes) -> bytes:
    """Sign ``data`` as RFC 7518 section 3 and RFC 8037 section 3.1 write signatures."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(CURVES[algorithm][2])))
        size = (key.curve.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=32)
        return key.sign(data, pss if algorithm == "PS256" else padding.PKCS1v15(), hashes.SHA256())
    return key.sign(data)


def _private_key(algorithm: str) -> PrivateKey:
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm][1])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


@attrs.frozen
class Signer:
    """An account's private key, and the requests that it signs."""

    algorithm: str
    key: PrivateKey

    @classmethod
    def generate(cls, algorithm: str) -> Signer:
        """Make a new key for ES256, ES384, ES512, RS256, PS256 or EdDSA."""
        return cls(algorithm, _private_key(algorithm))

    @property
    def jwk(self) -> dict[str, str]:
        """The public key."""
        return jwk_of(self.key)

    @property
    def thumbprint(self) -> str:
        """RFC 7638: SHA-256 over the sorted required members."""
        return b64(
            hashlib.sha256(json.dumps(self.jwk, sort_keys=True, separators=(",", ":")).encode()).digest()
        )

    def header(self, url: str, nonce: str | None, kid: str | None = None) -> dict[str, Any]:
        """Return an honest protected header: with the key itself, or with the account's URL ``kid``."""
        signer: dict[str, Any] = {"jwk": self.jwk} if kid is None else {"kid": kid}
        fresh = {} if nonce is None else {"nonce": nonce}
        return {"alg": self.algorithm, **signer, **fresh, "url": url}

    def sign(self, url: str, payload: object, nonce: str | None, kid: str | None = None) -> bytes:
        """Return a request's body; the payload is an object, None for POST-as-GET, or bytes as they are."""
        return as_json(self.sign_value(self.header(url, nonce, kid), payload))

    def sign_value(
        self,
        header: Mapping[str, Any] | bytes,
        payload: object,
        signature: Callable[[bytes], bytes] | None = None,
    ) -> dict[str, str]:
        """Return a JWS as an object, whatever its header says; ``signature`` may sign in place of the key."""
        protected = b64(header if isinstance(header, bytes) else as_json(header))
        octets = payload if isinstance(payload, bytes) else b"" if payload is None else as_json(payload)
        encoded = b64(octets)
        data = f"{protected}.{encoded}".encode("ascii")
        signed = signature(data) if signature else raw_signature(self.key, self.algorithm, data)
        return {"protected": protected, "payload": encoded, "signature": b64(signed)}


def general_name(text: str) -> x509.GeneralName:
    """Return the GeneralName of a DNS name or of an IP address."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def make_csr(
    names: Iterable[str],
    key: CertificateIssuerPrivateKeyTypes | None = None,
    cn: str | None = None,
    extensions: Iterable[x509.ExtensionType] = (),
) -> tuple[CertificateIssuerPrivateKeyTypes, bytes]:
    """Return a key (P-256 unless one is given) and a DER CSR for ``names``, addresses among them."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = [] if cn is None else [x509.NameAttribute(NameOID.COMMON_NAME, cn, _validate=False)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if general_names := [general_name(name) for name in names]:
        builder = builder.add_extension(x509.SubjectAlternativeName(general_names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    hashed = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return key, builder.sign(key, hashed).public_bytes(serialization.Encoding.DER)


@attrs.frozen
class BindingKey:
    """A MAC key and its identifier, as an operator hands them out (RFC 8555 section 7.3.4)."""

    id: str
    mac_key: str  # base64url

    def bind(self, account_key: Signer, url: str, algorithm: str = "HS256") -> dict[str, str]:
        """Return the member externalAccountBinding of a newAccount request to ``url``."""
        return self.sign({"alg": algorithm, "kid": self.id, "url": url}, account_key.jwk)

    def sign(self, header: Mapping[str, Any] | bytes, payload: object) -> dict[str, str]:
        """Return a JWS with a MAC, whatever its header and payload (an object, or bytes as they are) say."""
        octets = header if isinstance(header, bytes) else as_json(header)
        named = json.loads(octets).get("alg") if octets.startswith(b"{") else None
        hashed = {"HS384": "sha384", "HS512": "sha512"}.get(str(named), "sha256")
        protected, encoded = b64(octets), b64(payload if isinstance(payload, bytes) else as_json(payload))
        key = base64.urlsafe_b64decode(self.mac_key + "=" * (-len(self.mac_key) % 4))
        mac = hmac.digest(key, f"{protected}.{encoded}".encode("ascii"), hashed)
        return {"protected": protected, "payload": encoded, "signature": b64(mac)}
