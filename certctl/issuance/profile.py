"""What certificates have of their issuer, how keys are identified, and for how long a certificate is given."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Self

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certctl.acme.name_constraints import NameConstraints, of_chain
from certctl.issuance.issuer import StatusUrls

BACKDATE = timedelta(minutes=1)  # for clients whose clock is a little behind
SECOND = timedelta(seconds=1)


class ValidityError(ValueError):
    """A validity that was asked for and cannot be had; the message is worded for the client."""


@attrs.frozen
class IssuingCertificate:
    """What every certificate repeats of its issuer's, taken out of it once."""

    subject: x509.Name
    authority_key_identifier: x509.AuthorityKeyIdentifier
    expires_at: datetime  # of the issuer or of one above it, whichever ends first
    urls: StatusUrls | None = None
    constraints: tuple[NameConstraints, ...] = ()
    name: bytes = attrs.field(init=False, repr=False)  # the DER of the subject

    @name.default
    def _encoded(self) -> bytes:
        return self.subject.public_bytes()

    @classmethod
    def of(cls, certificate: x509.Certificate, *above: x509.Certificate) -> Self:
        """Return the facts of an issuing certificate with those above it."""
        ends = min(each.not_valid_after_utc for each in (certificate, *above))
        constraints = of_chain(tuple(each.public_bytes(Encoding.DER) for each in (certificate, *above)))
        return cls(certificate.subject, authority_key_identifier(certificate), ends, constraints=constraints)


def validity(
    now: datetime,
    lifetime: timedelta,
    issuer_expires_at: datetime,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    *,
    usual: timedelta | None = None,
) -> tuple[datetime, datetime]:
    """Return the first and the last second of a certificate's life; raise ValidityError if it cannot be had.

    Both ends count (RFC 5280 section 4.1.2.5), so that ``lifetime`` is the most that lies between them and
    one second more. What the client left open is cut to the usual lifetime, if there is one, to the most and to the
    issuer's own end; what it asked for is given as it is or not at all (RFC 8555 section 7.4), up to the fraction of
    a second.
    """
    given = lifetime if usual is None else min(usual, lifetime)
    ends = None if not_after is None else whole(not_after)
    starts = (
        _start(now, given if ends is None else lifetime, ends) if not_before is None else whole(not_before)
    )
    if ends is None:
        ends = whole(min(starts + given - SECOND, issuer_expires_at))
    if ends > issuer_expires_at:
        raise ValidityError(f"notAfter may be {_text(issuer_expires_at)} at most, when the issuing CA ends")
    if ends - starts + SECOND > lifetime:
        raise ValidityError(
            f"the lifetime of a certificate may be {lifetime.total_seconds():.0f} seconds at most"
        )
    if ends <= max(starts, now):
        raise ValidityError("notAfter must lie in the future, and after notBefore")
    return starts, ends


def _start(now: datetime, lifetime: timedelta, ends: datetime | None) -> datetime:
    """A little in the past; less where that eats up a short life or puts the end asked for out of reach."""
    starts = now - min(BACKDATE, lifetime / 10)
    if ends is not None:
        starts = min(now, max(starts, ends - lifetime + SECOND))
    return whole(starts)


def subject_key_identifier(public_key: CertificatePublicKeyTypes) -> x509.SubjectKeyIdentifier:
    """Return the leftmost 160 bits of SHA-256 over the key's bits: RFC 7093 method 1 (RFC 5280 section
    4.2.1.2).

    What RFC 5280 names first is the same with SHA-1, which some hosts no longer compute.
    """
    return x509.SubjectKeyIdentifier(hashlib.sha256(key_bits(public_key)).digest()[:20])


def authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return the identifier that the issuer has, else one made from its key (RFC 5280 section 4.2.1.1)."""
    try:
        established = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        established = subject_key_identifier(issuer.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(established)


@cache
def key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    """Return a key usage extension with the bits that this server ever sets."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def key_bits(public_key: CertificatePublicKeyTypes) -> bytes:
    """Return the value of the BIT STRING subjectPublicKey, without tag, length and number of unused bits."""
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    if isinstance(public_key, rsa.RSAPublicKey):
        return public_key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def whole(moment: datetime) -> datetime:
    """Return a moment without its fraction of a second."""
    return moment.replace(microsecond=0)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
