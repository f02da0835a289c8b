"""What a challenge asks for (RFC 8555 section 8, RFC 8737, RFC 8738): values computed from a token and an
account key.
"""

from __future__ import annotations

import ipaddress
from hashlib import sha256

from certctl.acme.encoding import base64url
from certctl.acme.identifiers import MAX_NAME, Identifier, IdentifierType
from certctl.acme.objects import ChallengeType

MAX_KEY_AUTHORIZATION = 512  # bytes; a key authorization is about 87 (RFC 8555 section 8.1)

_DNS01_LABEL = "_acme-challenge."  # RFC 8555 section 8.4
_HTTP01_PREFIX = "/.well-known/acme-challenge/"  # RFC 8555 section 8.3


def key_authorization(token: str, thumbprint: str) -> str:
    """Join a challenge's token and the base64url thumbprint of the account key (RFC 8555 section 8.1)."""
    return f"{token}.{thumbprint}"


def http01_path(token: str) -> str:
    """The path of the resource that an http-01 challenge asks for (RFC 8555 section 8.3)."""
    return _HTTP01_PREFIX + token


def dns01_name(identifier: Identifier) -> str:
    """The name whose TXT records a dns-01 challenge asks for; a wildcard's is its base's (RFC 8555 section
    8.4).
    """
    return _DNS01_LABEL + identifier.base.value


def dns01_value(key_authorization: str) -> str:
    """The content of the TXT record: SHA-256 in base64url without padding (RFC 8555 section 8.4)."""
    return base64url(sha256(key_authorization.encode("ascii")).digest())


def tlsalpn01_digest(key_authorization: str) -> bytes:
    """The 32 bytes in the acmeIdentifier extension: SHA-256 of the key authorization (RFC 8737 section 3)."""
    return sha256(key_authorization.encode("ascii")).digest()


def tlsalpn01_server_name(identifier: Identifier) -> str:
    """The SNI name: the name itself, or an address' reverse mapping (RFC 8737 section 3, RFC 8738 section
    6).
    """
    if identifier.type is IdentifierType.IP:
        return ipaddress.ip_address(identifier.value).reverse_pointer
    return identifier.value


def types_for(identifier: Identifier) -> tuple[ChallengeType, ...]:
    """Return the challenge types that can prove control of ``identifier``.

    A wildcard is proved by dns-01 alone: one host answers for one name, and only the zone for all of them.
    An address has http-01 and tls-alpn-01 (RFC 8738 sections 4 and 7). A name so long that
    ``_acme-challenge.`` does not fit in front of it cannot have dns-01; if it is a wildcard, nothing is
    left.
    """
    if identifier.type is IdentifierType.IP:
        return (ChallengeType.HTTP01, ChallengeType.TLSALPN01)
    dns01 = (ChallengeType.DNS01,) if len(dns01_name(identifier)) <= MAX_NAME else ()
    if identifier.wildcard:
        return dns01
    return (ChallengeType.HTTP01, *dns01, ChallengeType.TLSALPN01)
