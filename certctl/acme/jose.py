"""Signed requests: JSON Web Signatures (RFC 7515) as RFC 8555 section 6.2 narrows them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from certctl.acme.encoding import from_base64url, json_object
from certctl.acme.keys import Key, PublicKey, curve_name
from certctl.acme.problems import Problem, ProblemType, malformed

ALGORITHMS: tuple[str, ...] = ("ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA")
MAX_BODY = 64 * 1024  # bytes; an order of 100 names or a CSR for them takes a quarter
_MEMBERS = frozenset({"protected", "payload", "signature"})  # RFC 7515 section 7.2.2
_NONCE = re.compile(r"[A-Za-z0-9_-]*\Z")  # RFC 8555 section 6.5.2; whether it is one of ours is asked later
_SHA256 = hashes.SHA256()
_ECDSA = {
    "ES256": ("P-256", 32, ec.ECDSA(_SHA256)),
    "ES384": ("P-384", 48, ec.ECDSA(hashes.SHA384())),
    "ES512": ("P-521", 66, ec.ECDSA(hashes.SHA512())),
}  # curve, octets of r and of s (RFC 7518 section 3.4)
_RSA: Mapping[str, padding.AsymmetricPadding] = {
    "RS256": padding.PKCS1v15(),  # RFC 7518 section 3.3
    "PS256": padding.PSS(padding.MGF1(_SHA256), salt_length=32),  # as long as the hash (RFC 7518 section 3.5)
}


@attrs.frozen
class Jws:
    """A request's envelope, taken apart; nothing in it is believed before ``verify``."""

    algorithm: str
    url: str
    nonce: str | None
    jwk: Mapping[str, Any] | None  # either this, for keys that no account has yet,
    kid: str | None  # or this, the account's URL
    payload: bytes
    signature: bytes
    signing_input: bytes

    @property
    def is_post_as_get(self) -> bool:
        """Whether this only asks to see the resource (RFC 8555 section 6.3)."""
        return not self.payload

    def payload_object(self) -> dict[str, Any]:
        """Return the payload as a JSON object; raise Problem malformed if it is none."""
        return _object(self.payload, "payload")


def parse(body: bytes) -> Jws:
    """Return the JWS in a request's body; raise Problem if it is not as RFC 8555 section 6.2 wants it."""
    if len(body) > MAX_BODY:
        raise Problem(ProblemType.MALFORMED, f"a request has {MAX_BODY} bytes at most", status=413)
    return parse_value(_object(body, "body"))


def parse_value(value: Mapping[str, Any], algorithms: Sequence[str] = ALGORITHMS) -> Jws:
    """Return the JWS in a decoded JSON object: a body, a key change's payload or a binding (RFC 8555 section 7.3).

    The nonce may be missing, which an inner JWS must and a request must not: that is for the caller to ask.
    """
    if value.keys() != _MEMBERS:
        _refuse_members(value)
    protected, payload = value["protected"], value["payload"]
    header = _object(_octets(protected, "protected"), "protected header")
    octets = _octets(payload, "payload")
    signature = _octets(value["signature"], "signature")
    algorithm = _algorithm(header, algorithms)
    jwk, kid = _signer(header)
    return Jws(
        algorithm=algorithm,
        url=_url(header),
        nonce=_nonce(header),
        jwk=jwk,
        kid=kid,
        payload=octets,
        signature=signature,
        signing_input=f"{protected}.{payload}".encode("ascii"),
    )


def verify(jws: Jws, key: PublicKey) -> None:
    """Return if ``jws`` was signed by the owner of ``key``; raise Problem if not.

    The algorithm must be the key's: one that does not go with a key sent along is badPublicKey, as RFC 8555
    section 6.2 says by example; one that does not go with an account's key is badSignatureAlgorithm.
    """
    try:
        if jws.algorithm in _ECDSA:
            _verify_ecdsa(jws, key.key)
        elif jws.algorithm in _RSA:
            _verify_rsa(jws, key.key)
        else:
            _verify_ed25519(jws, key.key)
    except InvalidSignature:
        raise malformed("the signature does not verify") from None


def _verify_ecdsa(jws: Jws, key: Key) -> None:
    """Verify r and s, each of the curve's length, side by side (RFC 7518 section 3.4)."""
    curve, size, algorithm = _ECDSA[jws.algorithm]
    if not isinstance(key, ec.EllipticCurvePublicKey) or curve_name(key) != curve:
        raise _mismatch(jws)
    signature = jws.signature
    if len(signature) != 2 * size:
        raise malformed(f"a signature with {jws.algorithm} has {2 * size} octets")
    r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    key.verify(encode_dss_signature(r, s), jws.signing_input, algorithm)


def _verify_rsa(jws: Jws, key: Key) -> None:
    if not isinstance(key, rsa.RSAPublicKey):
        raise _mismatch(jws)
    key.verify(jws.signature, jws.signing_input, _RSA[jws.algorithm], _SHA256)


def _verify_ed25519(jws: Jws, key: Key) -> None:
    """Verify a signature of RFC 8037 section 3.1."""
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise _mismatch(jws)
    key.verify(jws.signature, jws.signing_input)


def _mismatch(jws: Jws) -> Problem:
    if jws.jwk is not None:
        return Problem(ProblemType.BAD_PUBLIC_KEY, f"the JWK is not a key for {jws.algorithm}")
    return _unsupported(f"{jws.algorithm} does not go with the account's key")


def _unsupported(detail: str, algorithms: Sequence[str] = ALGORITHMS) -> Problem:
    """Refuse an algorithm and list the good ones (RFC 8555 section 6.2)."""
    return Problem(ProblemType.BAD_SIGNATURE_ALGORITHM, detail, members={"algorithms": list(algorithms)})


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        return json_object(data)
    except ValueError as error:
        raise malformed(f"the {what} of the JWS: {error}") from None


def _octets(text: object, what: str) -> bytes:
    if not isinstance(text, str):
        raise malformed(f'the member "{what}" of the JWS is not a string')
    try:
        return from_base64url(text)
    except ValueError as error:
        raise malformed(f'the member "{what}" of the JWS: {error}') from None


def _refuse_members(value: Mapping[str, Any]) -> None:
    """Raise Problem saying which rule of RFC 8555 section 6.2 the members break."""
    if "signatures" in value:
        raise malformed("a JWS has one signature, in the flattened JSON serialization")
    if "header" in value:
        raise malformed("a JWS has no unprotected header")
    raise malformed('a JWS has the members "protected", "payload" and "signature", and no others')


def _algorithm(header: Mapping[str, Any], algorithms: Sequence[str]) -> str:
    if "crit" in header or "b64" in header:
        raise malformed('the header parameters "crit" and "b64" are not understood')
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise malformed('the header parameter "alg" is missing or not a string')
    if algorithm not in algorithms:
        raise _unsupported("the signature algorithm is not supported", algorithms)
    return algorithm


def _signer(header: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str | None]:
    """Return ``jwk`` and ``kid``, one of which is there (RFC 8555 section 6.2)."""
    if ("jwk" in header) == ("kid" in header):
        raise malformed('the protected header has either "jwk" or "kid"')
    jwk, kid = header.get("jwk"), header.get("kid")
    if "jwk" in header and not isinstance(jwk, dict):
        raise malformed('the header parameter "jwk" is not an object')
    if "kid" in header and not isinstance(kid, str):
        raise malformed('the header parameter "kid" is not a string')
    return jwk, kid


def _url(header: Mapping[str, Any]) -> str:
    url = header.get("url")
    if not isinstance(url, str):
        raise malformed('the header parameter "url" is missing or not a string')
    return url


def _nonce(header: Mapping[str, Any]) -> str | None:
    if "nonce" not in header:
        return None
    nonce = header["nonce"]
    if not isinstance(nonce, str) or not _NONCE.match(nonce):
        raise malformed('the header parameter "nonce" is not a base64url string')  # RFC 8555 section 6.5.2
    return nonce
