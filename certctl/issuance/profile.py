"""What is in a certificate (RFC 5280), and for how long. Pure: what comes out is signed elsewhere."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import NoReturn, Self

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from certctl.acme.identifiers import Identifier, IdentifierType
from certctl.acme.name_constraints import NameConstraints, of_chain, refusals
from certctl.acme.profile_policy import EXTENDED_KEY_USAGES, usage
from certctl.issuance.issuer import StatusUrls, Template, TemplateError

BACKDATE = timedelta(minutes=1)  # for clients whose clock is a little behind
MAX_COMMON_NAME = 64  # characters; ub-common-name of RFC 5280 appendix A.1
SECOND = timedelta(seconds=1)

_SUBJECT_KEYS = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey
_NO_NAME = x509.Name([])
_NOT_A_CA = x509.BasicConstraints(ca=False, path_length=None)
_MUST_STAPLE = x509.TLSFeature([x509.TLSFeatureType.status_request])


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

    @classmethod
    def of(cls, certificate: x509.Certificate, *above: x509.Certificate) -> Self:
        """Return the facts of an issuing certificate with those above it."""
        ends = min(each.not_valid_after_utc for each in (certificate, *above))
        constraints = of_chain(tuple(each.public_bytes(Encoding.DER) for each in (certificate, *above)))
        return cls(certificate.subject, authority_key_identifier(certificate), ends, constraints=constraints)


def build(template: Template, issuer: IssuingCertificate, serial: int) -> x509.CertificateBuilder:
    """Return the certificate to be signed; raise TemplateError if it must not be.

    Version 3 comes with the builder. The subject is a common name or empty (RFC 5280 section 4.1.2.6).
    """
    _check(template, issuer)
    subject = _subject(template)
    builder = (
        x509.CertificateBuilder()
        .serial_number(serial)
        .issuer_name(issuer.subject)
        .not_valid_before(_whole(template.not_before))
        .not_valid_after(_whole(template.not_after))
        .subject_name(subject)
        .public_key(template.public_key)
    )
    for extension, critical in _extensions(template, issuer, anonymous=subject is _NO_NAME):
        builder = builder.add_extension(extension, critical)
    if issuer.urls is not None and template.revocable:
        for extension in _status_extensions(issuer.urls, serial):
            builder = builder.add_extension(extension, critical=False)
    return builder


def lint(template: Template, issuer: IssuingCertificate, certificate: x509.Certificate) -> None:
    """Check what was signed against what was to be signed, before anybody sees it; raise TemplateError.

    It reads the finished bytes and shares no code with ``build``, so that a mistake there does not leave the
    house.
    """
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = [(isinstance(name, x509.IPAddress), str(name.value)) for name in names]
    if found != [(name.type is IdentifierType.IP, name.value) for name in template.names]:
        _refuse("the certificate's names are not those of the template")
    if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        _refuse("the certificate is a CA's")
    _lint_uses(template, extensions)
    _lint_urls(issuer.urls if template.revocable else None, certificate)
    if [each.value for each in certificate.subject] not in ([], [template.common_name]):
        _refuse("the certificate's subject is neither empty nor the common name of the template")
    if certificate.public_key() != template.public_key:
        _refuse("the certificate's key is not that of the template")
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not (
        template.not_before - SECOND < starts <= ends <= template.not_after and ends <= issuer.expires_at
    ):
        _refuse("the certificate's validity is not within that of the template and the issuer")


def _lint_uses(template: Template, extensions: x509.Extensions) -> None:
    """Check what the certificate may be used for: the template's purposes, never a CA's."""
    found = {type(each.value): each.value for each in extensions}
    usages = found.get(x509.ExtendedKeyUsage, ())
    if tuple(each.dotted_string for each in usages) != _dotted(template.extended_key_usages):
        _refuse("the certificate's extended key usages are not those of the template")
    if found[x509.KeyUsage].key_cert_sign or found[x509.KeyUsage].crl_sign:
        _refuse("the certificate may sign certificates or revocation lists")
    if (x509.TLSFeature in found) != template.must_staple:
        _refuse("the certificate's TLS feature is not that of the template")


def _lint_urls(urls: StatusUrls | None, certificate: x509.Certificate) -> None:
    """Check where the certificate sends those who want to know more of it: to us, or nowhere."""
    found = []
    for each in certificate.extensions:
        if isinstance(each.value, x509.CRLDistributionPoints):
            found += [name.value for point in each.value for name in point.full_name or ()]
        elif isinstance(each.value, x509.AuthorityInformationAccess):
            found += [access.access_location.value for access in each.value]
    wanted = [] if urls is None else [urls.crl(certificate.serial_number), urls.ocsp, urls.certificate]
    if found != wanted:
        _refuse("the certificate's URLs are not those of its issuer")


@lru_cache(maxsize=256)
def _dotted(usages: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(usage, usages))


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
    ends = None if not_after is None else _whole(not_after)
    starts = (
        _start(now, given if ends is None else lifetime, ends) if not_before is None else _whole(not_before)
    )
    if ends is None:
        ends = _whole(min(starts + given - SECOND, issuer_expires_at))
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
    return _whole(starts)


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


def _check(template: Template, issuer: IssuingCertificate) -> None:
    if not template.names:
        _refuse("a certificate needs one name at least (RFC 5280 section 4.2.1.6)")
    if template.not_after <= template.not_before:
        _refuse("a certificate ends after it starts")
    if _whole(template.not_after) > issuer.expires_at:
        _refuse("a certificate may not outlive its issuer")
    if not isinstance(template.public_key, _SUBJECT_KEYS):
        _refuse("certificates are for RSA, EC, Ed25519 and Ed448 keys")
    if issuer.constraints:
        for each in template.names:
            for refusal in refusals(issuer.constraints, each):
                _refuse(refusal)


def _subject(template: Template) -> x509.Name:
    """The common name if it is one of the DNS names and fits; never an address (RFC 5280 section 4.1.2.6)."""
    name = template.common_name
    if (
        name is None
        or len(name) > MAX_COMMON_NAME
        or Identifier(IdentifierType.DNS, name) not in template.names
    ):
        return _NO_NAME
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _extensions(
    template: Template, issuer: IssuingCertificate, *, anonymous: bool
) -> Iterator[tuple[x509.ExtensionType, bool]]:
    """Every extension with its criticality, in the order of RFC 5280 section 4.2.1."""
    yield issuer.authority_key_identifier, False
    yield subject_key_identifier(template.public_key), False
    yield _key_usage(template.public_key), True
    yield x509.SubjectAlternativeName([_general_name(name) for name in template.names]), anonymous
    yield _NOT_A_CA, True
    if template.extended_key_usages:
        yield _usages(template.extended_key_usages), False
    if template.must_staple:
        yield _MUST_STAPLE, False  # RFC 7633 section 4: not critical


def _status_extensions(urls: StatusUrls, serial: int) -> Iterator[x509.ExtensionType]:
    """Where the CRL, the OCSP responder and the issuer are (RFC 5280 sections 4.2.1.13 and 4.2.2.1)."""
    crl = x509.DistributionPoint([_url(urls.crl(serial))], None, None, None)
    yield x509.CRLDistributionPoints([crl])
    responder = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, _url(urls.ocsp))
    issuer = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, _url(urls.certificate))
    yield x509.AuthorityInformationAccess([responder, issuer])


@lru_cache(maxsize=256)
def _url(url: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(url)


def _key_usage(public_key: CertificatePublicKeyTypes) -> x509.KeyUsage:
    """Signatures, and key transport where the algorithm can (RFC 5280 section 4.2.1.3, RFC 5480)."""
    return key_usage(digital_signature=True, key_encipherment=isinstance(public_key, rsa.RSAPublicKey))


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


def _general_name(identifier: Identifier) -> x509.GeneralName:
    if identifier.type is IdentifierType.IP:
        return x509.IPAddress(ipaddress.ip_address(identifier.value))
    return x509.DNSName(identifier.value)


@lru_cache(maxsize=256)
def _usages(names: tuple[str, ...]) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage([_usage(name) for name in names])


def _usage(name: str) -> x509.ObjectIdentifier:
    if name in EXTENDED_KEY_USAGES:
        return EXTENDED_KEY_USAGES[name]
    try:
        return x509.ObjectIdentifier(name)
    except ValueError:
        _refuse(f"{name} is not an extended key usage")


def key_bits(public_key: CertificatePublicKeyTypes) -> bytes:
    """Return the value of the BIT STRING subjectPublicKey, without tag, length and number of unused bits."""
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    if isinstance(public_key, rsa.RSAPublicKey):
        return public_key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refuse(why: str) -> NoReturn:
    raise TemplateError(why)
