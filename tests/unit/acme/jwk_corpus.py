"""Keys that are no good, each in a request to new-account whose other parts are: data like ``jws_corpus``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.acme_client import Signer, as_json, b64, b64_number
from tests.unit.acme.jws_builder import KEY, Case, Honest, signer

SMALL_ORDER = (
    "0100000000000000000000000000000000000000000000000000000000000000",  # 1, the neutral element
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # 2
    "0000000000000000000000000000000000000000000000000000000000000000",  # 4
    "0000000000000000000000000000000000000000000000000000000000000080",  # 4
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",  # 8, and so the next three
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
)  # the points of Ed25519 whose order divides eight; the comment is the order


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """Return a shared RSA key of a size of its own."""
    return rsa.generate_private_key(65537, bits)


def _jwk(algorithm: str, **changes: object) -> Callable[[Honest], bytes]:
    """Change members of the key, or take those away that are None."""

    def make(honest: Honest) -> bytes:
        members = {**signer(algorithm).jwk, **changes}
        return honest.with_key(algorithm, {k: v for k, v in members.items() if v is not None})

    return make


def _rsa_jwk(n: int, e: int = 65537) -> dict[str, str]:
    return {"kty": "RSA", "n": b64_number(n), "e": b64_number(e)}


def _modulus(change: Callable[[int], int]) -> Callable[[Honest], bytes]:
    def make(honest: Honest) -> bytes:
        return honest.with_key("RS256", _rsa_jwk(change(rsa_key(2048).public_key().public_numbers().n)))

    return make


def _exponent(e: int) -> Callable[[Honest], bytes]:
    return lambda honest: honest.with_key("RS256", _rsa_jwk(rsa_key(2048).public_key().public_numbers().n, e))


def _rsa_1024(honest: Honest) -> bytes:
    small = Signer("RS256", rsa_key(1024))
    return honest.with_key("RS256", small.jwk, small)


def _private(honest: Honest) -> bytes:
    key = honest.signer.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return honest.with_header(jwk={**honest.signer.jwk, "d": b64_number(key.private_numbers().private_value)})


def _low_order(point: str) -> Callable[[Honest], bytes]:
    """Sign with a key of small order: R the neutral element and S zero verify for one message in eight."""

    def make(honest: Honest) -> bytes:
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(bytes.fromhex(point))}
        forged = bytes.fromhex(SMALL_ORDER[0]) + bytes(32)
        header = {**honest.header, "alg": "EdDSA", "jwk": jwk}
        return as_json(honest.signer.sign_value(header, honest.payload, lambda data: forged))

    return make


KEYS = (
    Case("ES256 with P-384", lambda honest: honest.with_key("ES256", signer("ES384").jwk), KEY),
    Case("ES512 with P-256", lambda honest: honest.with_key("ES512", signer("ES256").jwk), KEY),
    Case("ES256 with RSA", lambda honest: honest.with_key("ES256", signer("RS256").jwk), KEY),
    Case("RS256 with EC", lambda honest: honest.with_key("RS256", signer("ES256").jwk), KEY),
    Case("EdDSA with EC", lambda honest: honest.with_key("EdDSA", signer("ES256").jwk), KEY),
    Case("a private key", _private, KEY),
    Case("a symmetric key", lambda honest: honest.with_key("ES256", {"kty": "oct", "k": "AAAA"}), KEY),
    Case("a symmetric key without the key", lambda honest: honest.with_key("ES256", {"kty": "oct"}), KEY),
    Case("an empty key", lambda honest: honest.with_key("ES256", {}), KEY),
    Case("kty that is a list", _jwk("ES256", kty=["EC"]), KEY),
    Case("secp256k1", _jwk("ES256", crv="secp256k1"), KEY),
    Case("no y", _jwk("ES256", y=None), KEY),
    Case("x that is a number", _jwk("ES256", x=1), KEY),
    Case("x padded", _jwk("ES256", x=signer("ES256").jwk["x"] + "="), KEY),
    Case("x with a leading zero", _jwk("ES256", x=b64(bytes(33))), KEY),
    Case("a point off the curve", _jwk("ES256", y=b64(bytes(31) + b"\1")), KEY),
    Case("coordinates beyond the field", _jwk("ES256", x=b64(b"\xff" * 32)), KEY),
    Case("the point at infinity", _jwk("ES256", x=b64(bytes(32)), y=b64(bytes(32))), KEY),
    Case("a key for encryption", _jwk("ES256", use="enc"), KEY),
    Case("a key that only signs", _jwk("ES256", key_ops=["sign"]), KEY),
    Case("key_ops that are a string", _jwk("ES256", key_ops="verify"), KEY),
    Case("a key for another algorithm", _jwk("ES256", alg="ES384"), KEY),
    Case("an RSA key for another algorithm", _jwk("RS256", alg="RSA-OAEP"), KEY),
    Case("a key whose alg is a list", _jwk("EdDSA", alg=["EdDSA"]), KEY),
    Case("RSA of 1024 bits", _rsa_1024, KEY),
    Case("RSA of 8200 bits", _modulus(lambda n: 2**8199 + 1), KEY),
    Case("RSA of 100,000 bits", _modulus(lambda n: 2**99_999 + 1), KEY),
    Case("RSA with an even modulus", _modulus(lambda n: n + 1), KEY),
    Case("RSA with a factor of 751", _modulus(lambda n: n // 751 * 751 + (0 if n // 751 % 2 else 751)), KEY),
    Case("RSA with exponent 3", _exponent(3), KEY),
    Case("RSA with exponent 1", _exponent(1), KEY),
    Case("RSA with an even exponent", _exponent(65538), KEY),
    Case("RSA with an exponent of 33 bits", _exponent(2**32 + 1), KEY),
    Case("RSA with a leading zero", _jwk("RS256", e="AAEAAQ"), KEY),
    Case("RSA with an empty modulus", _jwk("RS256", n=""), KEY),
    Case(
        "Ed448",
        lambda honest: honest.with_key("EdDSA", {"kty": "OKP", "crv": "Ed448", "x": b64(bytes(57))}),
        KEY,
    ),
    Case("X25519", _jwk("EdDSA", crv="X25519"), KEY),
    Case("Ed25519 of 31 octets", _jwk("EdDSA", x=b64(b"\1" * 31)), KEY),
    Case("Ed25519 off the curve", _jwk("EdDSA", x=b64(b"\2" + bytes(31))), KEY),
    Case("Ed25519 in another spelling", _jwk("EdDSA", x=b64(b"\xee" + b"\xff" * 30 + b"\x7f")), KEY),
    Case("Ed25519 with an impossible sign", _jwk("EdDSA", x=b64(b"\1" + bytes(30) + b"\x80")), KEY),
    *(Case(f"Ed25519 of small order: {point}", _low_order(point), KEY) for point in SMALL_ORDER),
)
