"""Certificate revocation lists (RFC 5280 section 5): what is signed, from values.

The entries are octets that were made once, each when its certificate was revoked, and are only put together here. So a
list of 100,000 is made in 20 ms; a builder for which each is an object holds the reactor seven times as long.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache

import attrs
from cryptography import x509

from certctl.issuance import der

MAX_SHARDS = 64  # lists that one issuer's revocations may be split into; a power of two
_VERSION_2 = 1  # RFC 5280 section 5.1.2.1
_REASON_CODE = "2.5.29.21"
_CRL_NUMBER = "2.5.29.20"
_AUTHORITY_KEY_IDENTIFIER = "2.5.29.35"
_ISSUING_DISTRIBUTION_POINT = "2.5.29.28"
_UNSPECIFIED = 0


@attrs.frozen(kw_only=True)
class RevocationList:
    """A CRL to be signed. Complete for its issuer, or, with ``scope``, for the certificates that name that URL."""

    number: int
    this_update: datetime
    next_update: datetime
    entries: tuple[bytes, ...]  # of any number of ``entry`` each
    scope: str | None = None


def entry(serial: int, revoked_at: datetime, reason: int) -> bytes:
    """Return what a CRL says of a revoked certificate. Unspecified is said by silence (RFC 5280 section 5.3.1)."""
    return der.tlv(der.SEQUENCE, der.integer(serial), der.time(revoked_at), _extensions(reason))


def to_be_signed(
    crl: RevocationList,
    issuer: x509.Name,
    key_identifier: x509.AuthorityKeyIdentifier,
    algorithm: bytes,
) -> bytes:
    """Return the TBSCertList; ``algorithm`` is the DER of the AlgorithmIdentifier."""
    extensions = [
        der.extension(_AUTHORITY_KEY_IDENTIFIER, key_identifier.public_bytes()),
        der.extension(_CRL_NUMBER, der.integer(crl.number)),
    ]
    if crl.scope is not None:
        extensions.append(
            der.extension(_ISSUING_DISTRIBUTION_POINT, _scope(crl.scope).public_bytes(), critical=True)
        )
    # No revokedCertificates at all where nothing is revoked (RFC 5280 section 5.1.2.6).
    revoked = der.tlv(der.SEQUENCE, *crl.entries) if crl.entries else b""
    return der.tlv(
        der.SEQUENCE,
        der.integer(_VERSION_2),
        algorithm,
        issuer.public_bytes(),
        der.time(crl.this_update),
        der.time(crl.next_update),
        revoked,
        der.tlv(der.context(0), der.tlv(der.SEQUENCE, *extensions)),
    )


@cache
def _extensions(reason: int) -> bytes:
    if reason == _UNSPECIFIED:
        return b""
    code = der.extension(_REASON_CODE, der.integer(reason, der.ENUMERATED))
    return der.tlv(der.SEQUENCE, code)


def _scope(url: str) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(url)],
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
