"""OCSP (RFC 6960): requests read strictly, and the answers that are signed, from values.

Written here rather than with an X.509 library because an answer may be about several certificates, and because
requests come from strangers by the thousand: each is taken apart once, and nothing of it is trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from typing import Self

import attrs
from cryptography import x509

from certctl.issuance import der
from certctl.issuance.der import DerError

MAX_REQUEST = 8192  # octets
MAX_CERT_IDS = 16  # certificates that one request may ask about
MAX_NONCE = 128  # octets (RFC 9654 section 2.1, in place of the 32 of RFC 8954)
_NONCE = "1.3.6.1.5.5.7.48.1.2"
_BASIC_RESPONSE = der.oid("1.3.6.1.5.5.7.48.1.1")
_SHA1, _SHA256 = der.oid("1.3.14.3.2.26"), der.oid("2.16.840.1.101.3.4.2.1")
_NONCE_OID = der.oid(_NONCE)
_NULL = bytes((der.NULL, 0))
_GOOD, _REVOKED, _UNKNOWN = 0x80, 0xA1, 0x82  # the tags of CertStatus
_UNSPECIFIED = 0


class Error(IntEnum):
    """Why there is no answer (RFC 6960 section 4.2.1)."""

    MALFORMED_REQUEST = 1
    INTERNAL_ERROR = 2
    TRY_LATER = 3
    UNAUTHORIZED = 6

    @property
    def der(self) -> bytes:
        """The whole response, which nobody signs."""
        return der.tlv(der.SEQUENCE, der.integer(self.value, der.ENUMERATED))


@attrs.frozen
class CertID:
    """Which certificate is asked about."""

    serial: int
    issuer: bytes  # hash algorithm, name hash and key hash, as in ``Hashes``
    whole: bytes  # as it came, to be repeated in the answer


@attrs.frozen
class Request:
    """What a client asks."""

    cert_ids: tuple[CertID, ...]
    nonce: (
        bytes | None
    )  # the extension's value: the DER of an octet string, or what an old client has in its place

    @classmethod
    def parse(cls, octets: bytes) -> Self:
        """Return a request; raise DerError if it is none, or asks for too much at once.

        A signature and a requestor's name are of no interest here: everybody gets answers.
        """
        if len(octets) > MAX_REQUEST:
            raise DerError("a request of too many octets")
        outer = list(der.elements(der.only(octets, der.SEQUENCE)))
        if not outer or outer[0][0] != der.SEQUENCE or len(outer) > 2:
            raise DerError("an OCSPRequest has a tbsRequest")
        fields = list(der.elements(outer[0][1]))
        while fields and fields[0][0] in (der.context(0), der.context(1)):  # version, requestorName
            fields.pop(0)
        if not fields or fields[0][0] != der.SEQUENCE or len(fields) > 2:
            raise DerError("a tbsRequest has a requestList")
        wanted = list(der.elements(fields[0][1]))
        if not 1 <= len(wanted) <= MAX_CERT_IDS:
            raise DerError(f"a request is about 1 to {MAX_CERT_IDS} certificates")
        nonce = None
        if len(fields) == 2:
            if fields[1][0] != der.context(2):
                raise DerError("after the requestList come requestExtensions")
            nonce = _nonce(der.only(fields[1][1], der.SEQUENCE))
        return cls(tuple(_cert_id(tag, content) for tag, content, _ in wanted), nonce)


@attrs.frozen
class Hashes:
    """How an issuer is named in a CertID, by each hash that clients use."""

    known: frozenset[bytes]

    @classmethod
    def of(cls, certificate: x509.Certificate, key_bits: bytes) -> Self:
        """Return the hashes of an issuer; ``key_bits`` is the value of its subjectPublicKey."""
        name = certificate.subject.public_bytes()
        return cls(
            frozenset(each + _digest(each, name) + _digest(each, key_bits) for each in (_SHA1, _SHA256))
        )


@attrs.frozen(kw_only=True)
class Status:
    """What is said of one certificate. Not ``known``: nothing of that serial was ever issued here."""

    cert_id: CertID
    known: bool = True
    revoked_at: datetime | None = None
    reason: int = _UNSPECIFIED
    next_update: datetime | None = None


def to_be_signed(statuses: Sequence[Status], responder: bytes, now: datetime, nonce: bytes | None) -> bytes:
    """Return the ResponseData; ``responder`` is the SHA-1 of the responder's key, by which it is named."""
    singles = [
        der.tlv(
            der.SEQUENCE,
            each.cert_id.whole,
            _status(each),
            der.generalized_time(now),
            b""
            if each.next_update is None
            else der.tlv(der.context(0), der.generalized_time(each.next_update)),
        )
        for each in statuses
    ]
    extensions = b""
    if nonce is not None:
        one = der.tlv(der.SEQUENCE, der.extension(_NONCE, nonce))
        extensions = der.tlv(der.context(1), one)
    return der.tlv(
        der.SEQUENCE,
        der.tlv(der.context(2), der.tlv(der.OCTET_STRING, responder)),
        der.generalized_time(now),
        der.tlv(der.SEQUENCE, *singles),
        extensions,
    )


def response(basic: bytes) -> bytes:
    """Return the OCSPResponse around a signed BasicOCSPResponse."""
    octets = der.tlv(der.SEQUENCE, _BASIC_RESPONSE, der.tlv(der.OCTET_STRING, basic))
    return der.tlv(der.SEQUENCE, der.integer(0, der.ENUMERATED), der.tlv(der.context(0), octets))


def certificates(*ders: bytes) -> bytes:
    """Return what follows the signature: certificates by which it can be verified."""
    return der.tlv(der.context(0), der.tlv(der.SEQUENCE, *ders))


def key_hash(key_bits: bytes) -> bytes:
    """Return the SHA-1 of a key's bits, which names a responder and protects nothing (RFC 6960 section 4.2.1)."""
    return hashlib.sha1(key_bits, usedforsecurity=False).digest()


def _status(status: Status) -> bytes:
    if not status.known:
        return der.tlv(_UNKNOWN)
    if status.revoked_at is None:
        return der.tlv(_GOOD)
    reason = b""
    if status.reason != _UNSPECIFIED:
        reason = der.tlv(der.context(0), der.integer(status.reason, der.ENUMERATED))
    return der.tlv(_REVOKED, der.generalized_time(status.revoked_at), reason)


def _cert_id(tag: int, content: bytes) -> CertID:
    """Read a Request: a CertID, and extensions that change nothing (RFC 6960 section 4.1.1)."""
    parts = list(der.elements(content))
    if tag != der.SEQUENCE or not 1 <= len(parts) <= 2 or parts[0][0] != der.SEQUENCE:
        raise DerError("a Request has a CertID")
    if len(parts) == 2 and parts[1][0] != der.context(0):
        raise DerError("after a CertID come extensions")
    fields = list(der.elements(parts[0][1]))
    if [each[0] for each in fields] != [der.SEQUENCE, der.OCTET_STRING, der.OCTET_STRING, der.INTEGER]:
        raise DerError("a CertID has an algorithm, two hashes and a serial number")
    algorithm = [whole for _, _, whole in der.elements(fields[0][1])]
    if not algorithm or algorithm[0][0] != der.OID or algorithm[1:] not in ([], [_NULL]):
        raise DerError("an algorithm is its identifier, and nothing or NULL")
    if len(fields[1][1]) != len(fields[2][1]):
        raise DerError("two hashes by one algorithm have one length")
    return CertID(
        serial=der.natural(fields[3][1]),
        issuer=algorithm[0] + fields[1][1] + fields[2][1],
        whole=parts[0][2],
    )


def _nonce(extensions: bytes) -> bytes | None:
    """The nonce of a request. Of other extensions only those that need not be understood are let pass."""
    found = None
    for tag, content, _ in der.elements(extensions):
        parts = list(der.elements(content))
        tags = [each[0] for each in parts]
        if tag != der.SEQUENCE or tags not in (
            [der.OID, der.OCTET_STRING],
            [der.OID, der.BOOLEAN, der.OCTET_STRING],
        ):
            raise DerError("an extension has an identifier and a value")
        if parts[0][2] == _NONCE_OID:
            if found is not None:
                raise DerError("two nonces")
            found = _judged(parts[-1][1])
        elif len(parts) == 3 and parts[1][1] != b"\0":
            raise DerError("a critical extension that is not known here")
    return found


def _judged(value: bytes) -> bytes:
    """A nonce as it is repeated, if its length is allowed (RFC 9654 section 2.1).

    Clients from before RFC 6960 put the bare octets where the DER of an octet string belongs.
    """
    try:
        octets = der.only(value, der.OCTET_STRING)
    except DerError:
        octets = value
    if not 1 <= len(octets) <= MAX_NONCE:
        raise DerError(f"a nonce has 1 to {MAX_NONCE} octets")
    return value


def _digest(algorithm: bytes, octets: bytes) -> bytes:
    return key_hash(octets) if algorithm == _SHA1 else hashlib.sha256(octets).digest()
