"""The resources of RFC 8555 section 7.1 as values. Rows become these, and from these documents are made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import attrs

from certctl.acme.identifiers import Identifier, IdentifierType


class Status(StrEnum):
    """The states of accounts, orders, authorizations and challenges (RFC 8555 section 7.1.6)."""

    PENDING = "pending"
    READY = "ready"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"
    REVOKED = "revoked"


class AuthMode(StrEnum):
    """How a profile is satisfied that an account may have a name."""

    TRUST_AUTHENTICATED = "trust_authenticated"
    CHALLENGE = "challenge"


class ChallengeType(StrEnum):
    """The ways to show control of an identifier."""

    HTTP01 = "http-01"
    DNS01 = "dns-01"
    TLSALPN01 = "tls-alpn-01"


@attrs.frozen(kw_only=True)
class Account:
    """Who asks: a public key and how to reach its owner (RFC 8555 section 7.1.2)."""

    id: str
    profile_id: str
    thumbprint: str  # RFC 7638, SHA-256, base64url
    jwk: str  # canonical JSON of the public key
    contact: tuple[str, ...] = ()
    status: Status = Status.VALID
    terms_agreed: bool = False
    created_at: datetime
    eab_key_id: str | None = None  # of the external account binding (RFC 8555 section 7.3.4)
    policy: Mapping[str, Any] = attrs.field(factory=dict)  # narrows the profile's for this account
    paused_at: datetime | None = None  # since when an operator lets it have no more orders


@attrs.frozen(kw_only=True)
class Challenge:
    """One way to prove control of an authorization's identifier (RFC 8555 section 7.1.5)."""

    id: str
    authorization_id: str
    type: ChallengeType
    token: str  # base64url, 256 random bits
    status: Status
    validated_at: datetime | None = None
    error: Mapping[str, Any] | None = None  # a problem document


@attrs.frozen(kw_only=True)
class Authorization:
    """The server's finding that an account may have an identifier, or not (RFC 8555 section 7.1.4)."""

    id: str
    profile_id: str
    account_id: str
    identifier: Identifier  # without the asterisk, which ``wildcard`` stands for
    wildcard: bool = False
    status: Status
    proved: bool = False  # by a challenge, and not by the trust of the profile
    expires_at: datetime
    created_at: datetime
    challenges: tuple[Challenge, ...] = ()

    @property
    def covers(self) -> Identifier:
        """The identifier as an order names it: with the asterisk of a wildcard."""
        if not self.wildcard:
            return self.identifier
        return Identifier(IdentifierType.DNS, f"*.{self.identifier.value}")


@attrs.frozen
class AuthorizationState:
    """What an order must know of an authorization that it hangs on."""

    id: str
    status: Status
    expires_at: datetime


@attrs.frozen(kw_only=True)
class Order:
    """A request for one certificate (RFC 8555 section 7.1.3)."""

    id: str
    profile_id: str
    account_id: str
    status: Status
    identifiers: tuple[Identifier, ...]
    authorizations: tuple[AuthorizationState, ...]
    expires_at: datetime
    created_at: datetime
    not_before: datetime | None = None
    not_after: datetime | None = None
    error: Mapping[str, Any] | None = None  # a problem document
    certificate_id: str | None = None  # of the certificate version that was issued
    replaces: str | None = None  # the certID of the certificate that it is to replace (RFC 9773 section 5)
    replaces_id: str | None = None  # and the id of that certificate version


@attrs.frozen(kw_only=True)
class Profile:
    """The rules under which a family of accounts gets certificates."""

    id: str
    name: str
    issuer_id: str
    enabled: bool = True
    acme_auth_mode: AuthMode = AuthMode.TRUST_AUTHENTICATED
    max_ttl_seconds: int
    policy: Mapping[str, Any] = attrs.field(factory=dict)
    description: str = ""
    version: int = 1  # counts its changes
    archived_at: datetime | None = None


@attrs.frozen(kw_only=True)
class Certificate:
    """A certificate that was issued, and what became of it."""

    id: str
    profile_id: str
    issuer_id: str
    account_id: str
    order_id: str
    serial: str  # lower-case hex without leading zeros
    names: tuple[Identifier, ...]
    der: bytes
    not_before: datetime
    not_after: datetime
    created_at: datetime
    revoked_at: datetime | None = None
    revocation_reason: int | None = None  # RFC 5280 section 5.3.1
