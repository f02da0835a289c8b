"""Requests that nobody honest sends, as data: a name, how one is made, and the problem that answers it.

Each is meant for new-account, where the request carries its key; the same table is run against ``jose``
and over HTTP. ``Honest`` is what a good request has, and a case's function makes the bad one from it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import attrs
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.acme_client import Signer, as_json, b64, raw_signature
from tests.unit.acme.jwk_corpus import KEYS
from tests.unit.acme.jws_builder import ALGORITHM, Case, Honest, signer

MAX_BODY = 64 * 1024


def _hs256_with_public_key(honest: Honest) -> bytes:
    """The public key is no secret: an HMAC with it shows nothing (the confusion of CVE-2015-9235)."""
    pem = honest.signer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = {**honest.header, "alg": "HS256"}
    value = honest.signer.sign_value(
        header, honest.payload, lambda data: hmac.digest(pem, data, hashlib.sha256)
    )
    return as_json(value)


def _signature(change: Callable[[bytes], bytes]) -> Callable[[Honest], bytes]:
    """Sign honestly, and then change the octets of the signature."""

    def make(honest: Honest) -> bytes:
        key = honest.signer
        return as_json(
            key.sign_value(
                honest.header,
                honest.payload,
                lambda data: change(raw_signature(key.key, key.algorithm, data)),
            )
        )

    return make


def _as_der(signature: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))


def _general(honest: Honest) -> bytes:
    """Use the general JSON serialization, with two signatures (RFC 7515 section 7.2.1)."""
    value = honest.value
    signature = {"protected": value["protected"], "signature": value["signature"]}
    return as_json({"payload": value["payload"], "signatures": [signature, signature]})


def _both_kinds(honest: Honest) -> bytes:
    value = honest.value
    return as_json(
        {**value, "signatures": [{"protected": value["protected"], "signature": value["signature"]}]}
    )


def _compact(honest: Honest) -> bytes:
    value = honest.value
    return f"{value['protected']}.{value['payload']}.{value['signature']}".encode("ascii")


def _loose_bits(honest: Honest) -> bytes:
    """Spell the signature's last octet in another way: two bits of its last letter count, four are zero."""
    signature = honest.value["signature"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return honest.with_members(signature=signature[:-1] + alphabet[alphabet.index(signature[-1]) + 1])


def _padded(member: str) -> Callable[[Honest], bytes]:
    def make(honest: Honest) -> bytes:
        text = honest.value[member]
        return honest.with_members(**{member: text + "=" * (-len(text) % 4 or 4)})

    return make


def _repeated(honest: Honest) -> bytes:
    return honest.body[:-1] + b',"payload":"e30"}'


def _repeated_in_header(honest: Honest) -> bytes:
    return honest.signed(as_json(honest.header)[:-1] + b',"url":"https://elsewhere.example/"}')


def _in_header(text: bytes) -> Callable[[Honest], bytes]:
    """Add a member ``x`` with this JSON text to the header."""
    return lambda honest: honest.signed(as_json(honest.header)[:-1] + b',"x":' + text + b"}")


def _in_payload(text: bytes) -> Callable[[Honest], bytes]:
    """Send this payload, octet for octet."""
    return lambda honest: honest.signed(honest.header, text)


def _too_large(honest: Honest) -> bytes:
    return honest.body.ljust(MAX_BODY + 1)


ENVELOPES = (
    Case("an empty body", lambda honest: b""),
    Case("no JSON", lambda honest: b"hello"),
    Case("an array", lambda honest: b"[" + honest.body + b"]"),
    Case("a string", lambda honest: b'"x"'),
    Case("an empty object", lambda honest: b"{}"),
    Case("the compact serialization", _compact),
    Case("several signatures", _general),
    Case("flattened and general at once", _both_kinds),
    Case("an unprotected header", lambda honest: honest.with_members(header={"alg": "ES256"})),
    Case("an empty unprotected header", lambda honest: honest.with_members(header={})),
    Case("an unknown member", lambda honest: honest.with_members(extra="x")),
    Case("no protected header", lambda honest: honest.with_members(protected=None)),
    Case("an empty protected header", lambda honest: honest.with_members(protected="")),
    Case("a detached payload", lambda honest: honest.with_members(payload=None)),
    Case("no signature", lambda honest: honest.with_members(signature=None)),
    Case("an empty signature", lambda honest: honest.with_members(signature="")),
    Case("a signature that is a number", lambda honest: honest.with_members(signature=7)),
    Case("a payload that is an object", lambda honest: honest.with_members(payload=dict(honest.payload))),
    Case("a protected header that is an object", lambda honest: honest.with_members(protected=honest.header)),
    Case("one byte more than 64 KiB", _too_large),
    Case("a byte order mark", lambda honest: b"\xef\xbb\xbf" + honest.body),
    Case("UTF-16", lambda honest: honest.body.decode().encode("utf-16")),
    Case("Latin-1", lambda honest: honest.body[:-1] + b',"\xe9":1}'),
    Case("a second JSON text", lambda honest: honest.body * 2),
    Case("a member twice", _repeated),
    Case("nesting without end", lambda honest: b'{"protected":' * 5000),
    Case("2,000 levels", lambda honest: b'{"protected":' * 2000 + b"1" + b"}" * 2000),
    Case("arrays without end", lambda honest: b"[" * MAX_BODY),
)

BASE64 = (
    Case("a padded header", _padded("protected")),
    Case("a padded payload", _padded("payload")),
    Case("a padded signature", _padded("signature")),
    Case("base64 with loose bits", _loose_bits),
    Case(
        "plain base64", lambda honest: honest.with_members(signature="+/+/" + honest.value["signature"][4:])
    ),
    Case("a line break in base64", lambda honest: honest.with_members(payload="e3\n0")),
    Case("a letter outside ASCII", lambda honest: honest.with_members(payload="e3\N{KELVIN SIGN}")),
    Case("a single letter", lambda honest: honest.with_members(payload="e30eA")),
)

HEADERS = (
    Case("alg none", lambda honest: honest.with_header(alg="none"), ALGORITHM),
    Case(
        "alg none, unsigned",
        lambda honest: as_json(
            honest.signer.sign_value({**honest.header, "alg": "none"}, honest.payload, lambda data: b"")
        ),
        ALGORITHM,
    ),
    Case("alg None, in other case", lambda honest: honest.with_header(alg="None"), ALGORITHM),
    Case("HS256 with the public key as secret", _hs256_with_public_key, ALGORITHM),
    Case("RS512", lambda honest: honest.with_header(alg="RS512"), ALGORITHM),
    Case("ES256K", lambda honest: honest.with_header(alg="ES256K"), ALGORITHM),
    Case("alg in lower case", lambda honest: honest.with_header(alg="es256"), ALGORITHM),
    Case("an empty alg", lambda honest: honest.with_header(alg=""), ALGORITHM),
    Case("no alg", lambda honest: honest.with_header(alg=None)),
    Case("alg that is a list", lambda honest: honest.with_header(alg=["ES256"])),
    Case("jwk and kid", lambda honest: honest.with_header(kid=honest.url)),
    Case("neither jwk nor kid", lambda honest: honest.with_header(jwk=None)),
    Case("kid that is a number", lambda honest: honest.with_header(jwk=None, kid=1)),
    Case("kid that is null", lambda honest: _null(honest, "kid")),
    Case("jwk that is null", lambda honest: _null(honest, "jwk")),
    Case("jwk that is a string", lambda honest: honest.with_header(jwk="x")),
    Case("no url", lambda honest: honest.with_header(url=None)),
    Case("url that is a list", lambda honest: honest.with_header(url=[honest.url])),
    Case("nonce that is a number", lambda honest: honest.with_header(nonce=1)),
    Case("nonce that is null", lambda honest: _null(honest, "nonce")),
    Case("nonce outside the alphabet", lambda honest: honest.with_header(nonce="a+b/")),
    Case("nonce with a line break", lambda honest: honest.with_header(nonce=honest.nonce + "\n")),
    Case("an unencoded payload", lambda honest: honest.with_header(b64=False, crit=["b64"])),
    Case("b64 alone", lambda honest: honest.with_header(b64=True)),
    Case("an extension that is critical", lambda honest: honest.with_header(crit=["exp"], exp=1)),
    Case("a header that is an array", lambda honest: honest.signed(b"[]")),
    Case("a header member twice", _repeated_in_header),
    Case("NaN in the header", _in_header(b"NaN")),
    Case("minus infinity in the header", _in_header(b"-Infinity")),
    Case("a number beyond doubles", _in_header(b"1e999")),
    Case("a fraction of 10,000 digits", _in_header(b"0." + b"1" * 10_000)),
    Case("an integer of 10,000 digits", _in_header(b"1" * 10_000)),
    Case("a lone surrogate", _in_header(rb'"\ud800"')),
    Case("a lone surrogate as a name", _in_header(rb'{"\udfff":1}')),
    Case("U+0000 in a string", _in_header(rb'["\u0000"]')),
    Case("a bare control character", _in_header(b'"\x01"')),
    Case("17 levels in the header", _in_header(b"[" * 16 + b"]" * 16)),
    Case("a header in Latin-1", _in_header(b'"\xe9"')),
    Case(
        "a header with a byte order mark",
        lambda honest: honest.signed(b"\xef\xbb\xbf" + as_json(honest.header)),
    ),
)

PAYLOADS = (
    Case("a payload that is no JSON", _in_payload(b"hello")),
    Case("a payload that is an array", _in_payload(b"[]")),
    Case("a payload that is null", _in_payload(b"null")),
    Case("a payload member twice", _in_payload(b'{"contact":[],"contact":[]}')),
    Case("a payload with NaN", _in_payload(b'{"a":NaN}')),
    Case("a payload with a lone surrogate", _in_payload(rb'{"contact":["mailto:\ud800@example.org"]}')),
    Case("a payload with U+0000", _in_payload(rb'{"contact":["mailto:a\u0000@example.org"]}')),
    Case("a payload with an integer of 10,000 digits", _in_payload(b'{"a":' + b"9" * 10_000 + b"}")),
    Case("a payload of 17 levels", _in_payload(b'{"a":' * 17 + b"1" + b"}" * 17)),
    Case("a payload of 8,000 levels", _in_payload(b'{"a":' * 8_000)),
    Case("a payload in UTF-16", _in_payload('{"a":1}'.encode("utf-16"))),
    Case("a payload with a byte order mark", _in_payload(b"\xef\xbb\xbf{}")),
)

SIGNATURES = (
    Case("a signature of other octets", _signature(lambda octets: octets[:-1] + bytes([octets[-1] ^ 1]))),
    Case("another payload", lambda honest: honest.with_members(payload="e30")),
    Case(
        "another header",
        lambda honest: honest.with_members(protected=b64(as_json({**honest.header, "x": 1}))),
    ),
    Case("another key's signature", lambda honest: honest.with_key("ES256", Signer.generate("ES256").jwk)),
    Case("a signature in DER", _signature(_as_der)),
    Case("r and s one octet short", _signature(lambda octets: octets[:-1])),
    Case("r and s one octet long", _signature(lambda octets: octets + b"\0")),
    Case(
        "r and s of P-384's length",
        _signature(lambda octets: bytes(16) + octets[:32] + bytes(16) + octets[32:]),
    ),
    Case("r is zero", _signature(lambda octets: bytes(32) + octets[32:])),
    Case("s is zero", _signature(lambda octets: octets[:32] + bytes(32))),
    Case("r and s are zero", _signature(lambda octets: bytes(64))),
    Case("r and s beyond the order", _signature(lambda octets: b"\xff" * 64)),
    Case("an RSA signature cut short", lambda honest: _resigned(honest, "RS256", lambda octets: octets[1:])),
    Case("an RSA signature of nothing", lambda honest: _resigned(honest, "PS256", lambda octets: b"")),
    Case("PKCS #1 where PSS is said", lambda honest: _cross_signed(honest, "PS256", "RS256")),
    Case("PSS where PKCS #1 is said", lambda honest: _cross_signed(honest, "RS256", "PS256")),
    Case(
        "an Ed25519 signature cut short",
        lambda honest: _resigned(honest, "EdDSA", lambda octets: octets[:63]),
    ),
    Case(
        "an Ed25519 signature of zeros", lambda honest: _resigned(honest, "EdDSA", lambda octets: bytes(64))
    ),
)

CASES = ENVELOPES + BASE64 + HEADERS + PAYLOADS + SIGNATURES + KEYS


def _null(honest: Honest, name: str) -> bytes:
    header = honest.header
    if name == "kid":
        del header["jwk"]
    return honest.signed({**header, name: None})


def _resigned(honest: Honest, algorithm: str, change: Callable[[bytes], bytes]) -> bytes:
    """Sign with an algorithm's own key, and then change the octets of the signature."""
    return _signature(change)(attrs.evolve(honest, signer=signer(algorithm)))


def _cross_signed(honest: Honest, said: str, used: str) -> bytes:
    """Sign with one RSA algorithm and say another."""
    key = signer("RS256")
    header = {**key.header(honest.url, honest.nonce), "alg": said}
    return as_json(key.sign_value(header, honest.payload, lambda data: raw_signature(key.key, used, data)))
