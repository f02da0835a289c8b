"""Public keys: JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037), thumbprints (RFC 7638), good keys."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from certctl.acme.encoding import base64url, from_base64url
from certctl.acme.problems import Problem, ProblemType

Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

RSA_BITS = range(2048, 8192 + 1)  # below is weak (NIST SP 800-131A), above only costs time
RSA_EXPONENTS = range(65537, 2**32)  # more than 2^16 (FIPS 186-5 section 5.1), and cheap
CURVES: Mapping[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}  # RFC 7518 section 6.2.1.1
KEYS_CACHED = 10_000  # account keys ready for use; about 1 KiB each
_CURVE_OF = {curve.name: name for name, curve in CURVES.items()}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})  # RFC 7518 sections 6.2.2, 6.3.2, 6.4
_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
_RSA_ALGORITHMS = frozenset({"RS256", "PS256"})
_SMALL_PRIMES = math.prod(n for n in range(3, 752) if all(n % d for d in range(2, math.isqrt(n) + 1)))
_NO_CURVE = "the curve is none of P-256, P-384 and P-521"
_P = 2**255 - 19  # the field of Ed25519 (RFC 8032 section 5.1)
_D = -121665 * pow(121666, -1, _P) % _P  # the constant of its curve


@attrs.frozen
class PublicKey:
    """A key that requests are signed with, in the forms that are stored, compared and computed with."""

    jwk: str  # canonical JSON: the required members alone, sorted, without white space (RFC 7638 section 3)
    thumbprint: str  # SHA-256 of that, base64url
    key: Key = attrs.field(eq=False, repr=False)


def public_key(jwk: Mapping[str, Any]) -> PublicKey:
    """Return the key of a JSON Web Key; raise Problem badPublicKey if it is bad (RFC 8555 section 6.2)."""
    try:
        _check_members(jwk)
        key, members = _READERS.get(_text(jwk, "kty"), _unsupported)(jwk)
    except ValueError as error:
        raise Problem(ProblemType.BAD_PUBLIC_KEY, f"the JWK is refused: {error}") from None
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return PublicKey(canonical, base64url(hashlib.sha256(canonical.encode("ascii")).digest()), key)


@functools.lru_cache(maxsize=KEYS_CACHED)
def load(jwk: str) -> PublicKey:
    """Return the key of a stored ``PublicKey.jwk``."""
    return public_key(json.loads(jwk))


def check_key(key: object) -> Key:
    """Return ``key`` if its kind and strength are accepted; raise ValueError, worded for the client, if not.

    The same rule for the keys of accounts and of certificates (RFC 8555 sections 6.2 and 11.1).
    """
    match key:
        case rsa.RSAPublicKey():
            numbers = key.public_numbers()
            _check_rsa(numbers.n, numbers.e)
        case ec.EllipticCurvePublicKey():
            if key.curve.name not in _CURVE_OF:
                raise ValueError(_NO_CURVE)
        case ed25519.Ed25519PublicKey():
            _check_ed25519(key.public_bytes_raw())
        case _:
            raise ValueError("the key is of no supported type: RSA, EC or Ed25519")
    return key


def curve_name(key: ec.EllipticCurvePublicKey) -> str | None:
    """Return the name that RFC 7518 section 6.2.1.1 gives the key's curve, None if it gives none."""
    return _CURVE_OF.get(key.curve.name)


def _check_rsa(n: int, e: int) -> None:
    """Refuse RSA keys that are short, slow, or not the product of two large primes."""
    if n.bit_length() not in RSA_BITS:
        raise ValueError(f"an RSA key has {RSA_BITS[0]} to {RSA_BITS[-1]} bits, this one {n.bit_length()}")
    if e not in RSA_EXPONENTS or e % 2 == 0:
        raise ValueError("the RSA exponent is an odd number from 65537 on, below 2^32")
    if n % 2 == 0 or math.gcd(n, _SMALL_PRIMES) != 1:
        raise ValueError("the RSA modulus has a small factor")


def _check_ed25519(data: bytes) -> None:
    """Refuse what is no point (RFC 8032 section 5.1.3), and small orders, which verify what nobody signed.

    Doubling needs only the y of a point. Three times, and small orders are the neutral element, whose y is 1.
    """
    encoded = int.from_bytes(data, "little")
    y, odd = encoded % 2**255, encoded >> 255
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    if y >= _P or (u == 0 and odd) or pow(u * v, (_P - 1) // 2, _P) not in (0, 1):
        raise ValueError("the Ed25519 key is no point of the curve")
    for _ in range(3):
        xx = (y * y - 1) * pow(_D * y * y + 1, -1, _P)
        y = (y * y + xx) * pow(1 - _D * xx * y * y, -1, _P) % _P
    if y == 1:
        raise ValueError("the Ed25519 key is a point of small order")


def _check_members(jwk: Mapping[str, Any]) -> None:
    """Refuse private keys, and keys that say that they are not for this use (RFC 7517 section 4)."""
    if not _PRIVATE.isdisjoint(jwk):
        raise ValueError("it holds a private or symmetric key, which must never be sent")
    if jwk.get("use", "sig") != "sig":
        raise ValueError('its "use" is not "sig"')
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError('its "key_ops" do not hold "verify"')


def _text(jwk: Mapping[str, Any], name: str) -> str:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise ValueError(f'the member "{name}" is missing or not a string')
    return value


def _octets(jwk: Mapping[str, Any], name: str) -> bytes:
    text = _text(jwk, name)
    try:
        return from_base64url(text)
    except ValueError as error:
        raise ValueError(f'the member "{name}": {error}') from None


def _integer(jwk: Mapping[str, Any], name: str) -> int:
    """Read a Base64urlUInt: no leading zero octets (RFC 7518 section 2), or thumbprints would differ."""
    data = _octets(jwk, name)
    if data[:1] in (b"", b"\0"):
        raise ValueError(f'the member "{name}" is empty or has leading zero octets')
    return int.from_bytes(data, "big")


def _check_algorithm(jwk: Mapping[str, Any], suitable: frozenset[str]) -> None:
    algorithm = jwk.get("alg")
    if "alg" in jwk and not (isinstance(algorithm, str) and algorithm in suitable):
        raise ValueError('its "alg" does not go with the key')


def _ec(jwk: Mapping[str, Any]) -> tuple[Key, dict[str, str]]:
    """Read an elliptic curve key (RFC 7518 section 6.2.1); coordinates have the full length of the field."""
    name = _text(jwk, "crv")
    curve = CURVES.get(name)
    if curve is None:
        raise ValueError(_NO_CURVE)
    x, y = _octets(jwk, "x"), _octets(jwk, "y")
    size = (curve.key_size + 7) // 8
    if len(x) != size or len(y) != size:
        raise ValueError(f"a coordinate of {name} has {size} octets")
    _check_algorithm(jwk, frozenset({_ALGORITHMS[name]}))
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + x + y)
    except ValueError:
        raise ValueError(f"the point is not on {name}") from None
    return key, {"crv": name, "kty": "EC", "x": jwk["x"], "y": jwk["y"]}


def _rsa(jwk: Mapping[str, Any]) -> tuple[Key, dict[str, str]]:
    """Read an RSA key (RFC 7518 section 6.3.1)."""
    n, e = _integer(jwk, "n"), _integer(jwk, "e")
    _check_algorithm(jwk, _RSA_ALGORITHMS)
    _check_rsa(n, e)
    return rsa.RSAPublicNumbers(e, n).public_key(), {"e": jwk["e"], "kty": "RSA", "n": jwk["n"]}


def _okp(jwk: Mapping[str, Any]) -> tuple[Key, dict[str, str]]:
    """Read an Ed25519 key (RFC 8037 section 2)."""
    if _text(jwk, "crv") != "Ed25519":
        raise ValueError("the only OKP curve here is Ed25519")
    data = _octets(jwk, "x")
    if len(data) != 32:
        raise ValueError("an Ed25519 key has 32 octets")
    _check_algorithm(jwk, frozenset({"EdDSA"}))
    _check_ed25519(data)
    key = ed25519.Ed25519PublicKey.from_public_bytes(data)
    return key, {"crv": "Ed25519", "kty": "OKP", "x": jwk["x"]}


def _unsupported(jwk: Mapping[str, Any]) -> tuple[Key, dict[str, str]]:
    raise ValueError('its "kty" is none of EC, RSA and OKP')


_READERS = {"EC": _ec, "RSA": _rsa, "OKP": _okp}
