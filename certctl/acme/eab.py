"""External account binding: an operator's key vouches for an account's key (RFC 8555 section 7.3.4)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import attrs

from certctl.acme import jose, keys
from certctl.acme.jose import Jws
from certctl.acme.keys import PublicKey
from certctl.acme.problems import Problem, malformed

ALGORITHMS: Mapping[str, str] = {
    "HS256": "sha256",
    "HS384": "sha384",
    "HS512": "sha512",
}  # RFC 7518 section 3.2
MAC_KEY = (
    64  # bytes; as long as the longest of these hashes, which is the least for HS512 (RFC 7518 section 3.2)
)


class Standing(StrEnum):
    """Whether a key can bind an account now, and if not, why."""

    ACTIVE = "active"
    USED = "used"
    EXPIRED = "expired"
    REVOKED = "revoked"


@attrs.frozen(kw_only=True)
class EabKey:
    """A key that binds accounts of one profile. The MAC key itself is sealed."""

    id: str  # the key identifier that clients send as kid
    profile_id: str
    name: str
    sealed_key: bytes = attrs.field(repr=False)
    single_use: bool
    policy: Mapping[str, Any] = attrs.field(factory=dict)  # what an account that it binds inherits
    uses: int = 0  # accounts that it bound
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def standing(self, now: datetime) -> Standing:
        """Whether the key can bind an account now."""
        if self.revoked_at is not None:
            return Standing.REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return Standing.EXPIRED
        if self.single_use and self.uses:
            return Standing.USED
        return Standing.ACTIVE


@attrs.frozen
class Binding:
    """A binding that is all that it must be, but for its MAC."""

    key_id: str
    jws: Jws = attrs.field(repr=False)

    def is_by(self, mac_key: bytes) -> bool:
        """Whether the MAC was made with that key; takes as long for every MAC."""
        expected = hmac.digest(mac_key, self.jws.signing_input, ALGORITHMS[self.jws.algorithm])
        return hmac.compare_digest(expected, self.jws.signature)


def read(sent: object, url: str, account_key: PublicKey) -> Binding:
    """Return the binding in the member ``externalAccountBinding`` of a newAccount request to ``url``.

    Raises Problem, malformed or badSignatureAlgorithm, unless it is a flattened JWS with a MAC, a key identifier, no
    nonce, the URL of the request, and the key that signed the request as its payload.
    """
    try:
        if not isinstance(sent, Mapping):
            raise malformed("it is an object, a JWS in the flattened JSON serialization")
        jws = jose.parse_value(sent, tuple(ALGORITHMS))
        _check_header(jws, url)
        if keys.public_key(jws.payload_object()).jwk != account_key.jwk:
            raise malformed("its payload is the account's key, the one that signs the request")
    except Problem as problem:
        raise Problem(
            problem.type, f"externalAccountBinding: {problem.detail}", members=problem.members
        ) from None
    assert jws.kid is not None
    return Binding(jws.kid, jws)


def _check_header(jws: Jws, url: str) -> None:
    if jws.kid is None:
        raise malformed("its protected header has the key identifier as kid, and no jwk")
    if jws.nonce is not None:
        raise malformed("its protected header has no nonce")
    if jws.url != url:
        raise malformed("url in its protected header is that of the request")
