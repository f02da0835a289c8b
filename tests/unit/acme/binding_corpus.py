"""External account bindings that nobody honest sends, as data: a name, how one is made, and the problem's type.

The same table is run against ``eab`` and over HTTP. ``Bound`` is what a good binding has, and a case's function makes
the bad one from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from tests.acme_client import BindingKey, Signer, as_json, b64
from tests.unit.acme.jws_builder import ALGORITHM, KEY, MALFORMED, signer

UNAUTHORIZED = "unauthorized"


@attrs.frozen
class Bound:
    """A good binding, before something is done to it."""

    url: str
    key: BindingKey
    account: Signer = attrs.field(factory=lambda: signer("ES256"))

    @property
    def header(self) -> dict[str, Any]:
        """The protected header."""
        return {"alg": "HS256", "kid": self.key.id, "url": self.url}

    @property
    def value(self) -> dict[str, str]:
        """The binding."""
        return self.key.bind(self.account, self.url)

    def with_header(self, **changes: object) -> dict[str, str]:
        """Change members of the header, or take those away that are None, and sign it."""
        header = {k: v for k, v in {**self.header, **changes}.items() if v is not None}
        return self.key.sign(header, self.account.jwk)

    def with_members(self, **changes: object) -> dict[str, Any]:
        """Change members of the binding, or take those away that are None."""
        return {k: v for k, v in {**self.value, **changes}.items() if v is not None}

    def with_payload(self, payload: object) -> dict[str, str]:
        """Sign another payload."""
        return self.key.sign(self.header, payload)


@attrs.frozen
class Case:
    """A bad binding; ``problem`` is the error type without its namespace."""

    name: str
    make: Callable[[Bound], Any]
    problem: str = MALFORMED


def _signed_by_account(bound: Bound) -> dict[str, str]:
    """The account's key vouches for itself."""
    return bound.account.sign_value({**bound.header, "alg": "ES256"}, bound.account.jwk)


def _public_key_as_mac_key(bound: Bound) -> dict[str, str]:
    """What everybody knows is taken for the MAC key."""
    public = b64(json.dumps(bound.account.jwk, sort_keys=True, separators=(",", ":")).encode())
    return BindingKey(bound.key.id, public).bind(bound.account, bound.url)


def _private(bound: Bound) -> Mapping[str, str]:
    return {**bound.account.jwk, "d": "AQ"}


def _truncated(size: int) -> Callable[[Bound], Any]:
    """Send the first octets of the right MAC only."""
    return lambda bound: bound.with_members(signature=bound.value["signature"][: size * 4 // 3])


def _repeated(bound: Bound) -> dict[str, str]:
    return bound.key.sign(
        as_json(bound.header)[:-1] + b',"url":"https://elsewhere.example/"}', bound.account.jwk
    )


def _of_other_hash(bound: Bound) -> dict[str, Any]:
    """The header says HS512, and the MAC is of HS256."""
    value = bound.with_header(alg="HS512")
    return {**value, "signature": bound.with_header(alg="HS256")["signature"]}


ENVELOPES = (
    Case("a string", lambda bound: "x"),
    Case("a number", lambda bound: 7),
    Case("true", lambda bound: True),
    Case("false", lambda bound: False),
    Case("an array", lambda bound: [bound.value]),
    Case("an empty object", lambda bound: {}),
    Case("the compact serialization", lambda bound: ".".join(bound.value.values())),
    Case(
        "several signatures", lambda bound: {"payload": bound.value["payload"], "signatures": [bound.value]}
    ),
    Case("an unprotected header", lambda bound: bound.with_members(header={"kid": bound.key.id})),
    Case("an unknown member", lambda bound: bound.with_members(extra="x")),
    Case("no payload", lambda bound: bound.with_members(payload=None)),
    Case("an empty payload", lambda bound: bound.with_members(payload="")),
    Case("no signature", lambda bound: bound.with_members(signature=None)),
    Case("a signature that is a number", lambda bound: bound.with_members(signature=7)),
    Case("a padded signature", lambda bound: bound.with_members(signature=bound.value["signature"] + "=")),
    Case("a protected header that is an object", lambda bound: bound.with_members(protected=bound.header)),
    Case("a payload that is an object", lambda bound: bound.with_members(payload=bound.account.jwk)),
    Case("nested twice", lambda bound: bound.with_payload(bound.value), KEY),
    Case("nested in itself", lambda bound: {"externalAccountBinding": bound.value}),
    Case("30,000 octets of payload", lambda bound: bound.with_payload(b"x" * 30_000)),
    Case("a payload of 15 levels", lambda bound: bound.with_payload(b'{"x":' * 15 + b"1" + b"}" * 15), KEY),
    Case("a payload of 2,000 levels", lambda bound: bound.with_payload(b'{"x":' * 2000 + b"1" + b"}" * 2000)),
)
HEADERS = (
    Case("no alg", lambda bound: bound.with_header(alg=None)),
    Case("an alg that is a list", lambda bound: bound.with_header(alg=["HS256"])),
    Case("none", lambda bound: bound.with_header(alg="none"), ALGORITHM),
    Case("none, and no MAC", lambda bound: {**bound.with_header(alg="none"), "signature": ""}, ALGORITHM),
    Case("None", lambda bound: bound.with_header(alg="None"), ALGORITHM),
    Case("hs256", lambda bound: bound.with_header(alg="hs256"), ALGORITHM),
    Case("HS1", lambda bound: bound.with_header(alg="HS1"), ALGORITHM),
    Case("RS256", lambda bound: bound.with_header(alg="RS256"), ALGORITHM),
    Case("ES256 by the account's key", _signed_by_account, ALGORITHM),
    Case("crit", lambda bound: bound.with_header(crit=["exp"])),
    Case("b64", lambda bound: bound.with_header(b64=False)),
    Case("a nonce", lambda bound: bound.with_header(nonce="bm9uY2U")),
    Case("an empty nonce", lambda bound: bound.with_header(nonce="")),
    Case("no kid", lambda bound: bound.with_header(kid=None)),
    Case("a kid that is a number", lambda bound: bound.with_header(kid=7)),
    Case("a kid that is an object", lambda bound: bound.with_header(kid={"id": bound.key.id})),
    Case("jwk in place of kid", lambda bound: bound.with_header(kid=None, jwk=bound.account.jwk)),
    Case("jwk with kid", lambda bound: bound.with_header(jwk=bound.account.jwk)),
    Case("no url", lambda bound: bound.with_header(url=None)),
    Case("another url", lambda bound: bound.with_header(url="https://elsewhere.example/new-account")),
    Case("the url with a query", lambda bound: bound.with_header(url=f"{bound.url}?x")),
    Case(
        "the url of another resource",
        lambda bound: bound.with_header(url=bound.url.replace("account", "order")),
    ),
    Case("a url that is a list", lambda bound: bound.with_header(url=[bound.url])),
    Case("a member twice", _repeated),
    Case("a NUL in kid", lambda bound: bound.with_header(kid=f"{bound.key.id}\0")),
)
PAYLOADS = (
    Case("another account's key", lambda bound: bound.with_payload(Signer.generate("ES256").jwk)),
    Case("a key of another kind", lambda bound: bound.with_payload(signer("RS256").jwk)),
    Case("no key", lambda bound: bound.with_payload({}), KEY),
    Case("a private key", lambda bound: bound.with_payload(_private(bound)), KEY),
    Case("a symmetric key", lambda bound: bound.with_payload({"kty": "oct", "k": "AQ"}), KEY),
    Case("its thumbprint", lambda bound: bound.with_payload({"thumbprint": bound.account.thumbprint}), KEY),
    Case("the key in an array", lambda bound: bound.with_payload([bound.account.jwk])),
    Case("the key as text", lambda bound: bound.with_payload(json.dumps(bound.account.jwk))),
    Case("no JSON", lambda bound: bound.with_payload(b"\xff")),
)
MACS = (
    Case("an empty MAC", lambda bound: bound.with_members(signature=""), UNAUTHORIZED),
    Case("an octet of the MAC", _truncated(1), MALFORMED),
    Case("three octets of the MAC", _truncated(3), UNAUTHORIZED),
    Case("half the MAC", _truncated(15), UNAUTHORIZED),
    Case("the MAC twice", lambda bound: bound.with_members(signature=b64(bytes(64))), UNAUTHORIZED),
    Case("a MAC of zeros", lambda bound: bound.with_members(signature=b64(bytes(32))), UNAUTHORIZED),
    Case("the MAC of another algorithm", _of_other_hash, UNAUTHORIZED),
    Case(
        "the MAC of another key",
        lambda bound: BindingKey(bound.key.id, b64(bytes(64))).bind(bound.account, bound.url),
        UNAUTHORIZED,
    ),
    Case("the public key as MAC key", _public_key_as_mac_key, UNAUTHORIZED),
    Case(
        "an empty MAC key",
        lambda bound: BindingKey(bound.key.id, "").bind(bound.account, bound.url),
        UNAUTHORIZED,
    ),
    Case(
        "the MAC of a header that was changed",
        lambda bound: {**bound.with_header(x=1), "signature": bound.value["signature"]},
        UNAUTHORIZED,
    ),
)
# What only who looks into the database can tell.
KIDS = (
    Case("an unknown kid", lambda bound: bound.with_header(kid="eab-0"), UNAUTHORIZED),
    Case("an empty kid", lambda bound: bound.with_header(kid=""), UNAUTHORIZED),
    Case("a kid of 20,000 letters", lambda bound: bound.with_header(kid="k" * 20_000), UNAUTHORIZED),
    Case("SQL in kid", lambda bound: bound.with_header(kid=f"{bound.key.id}' OR '1'='1"), UNAUTHORIZED),
    Case("a kid in capitals", lambda bound: bound.with_header(kid=bound.key.id.upper()), UNAUTHORIZED),
    Case("a kid with a space", lambda bound: bound.with_header(kid=f"{bound.key.id} "), UNAUTHORIZED),
    Case("a kid with a wildcard", lambda bound: bound.with_header(kid="eab-%"), UNAUTHORIZED),
)
STATIC = (*ENVELOPES, *HEADERS, *PAYLOADS)
CASES = (*STATIC, *MACS, *KIDS)
