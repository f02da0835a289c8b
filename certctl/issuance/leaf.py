"""What is in a certificate (RFC 5280), as the octets that are signed. Pure: they are checked and signed elsewhere."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from certctl.acme.common_names import MAX_COMMON_NAME
from certctl.acme.identifiers import Identifier, IdentifierType
from certctl.acme.name_constraints import refusals
from certctl.acme.profile_policy import EXTENDED_KEY_USAGES
from certctl.issuance import der
from certctl.issuance.issuer import StatusUrls, Template, TemplateError
from certctl.issuance.profile import IssuingCertificate, key_usage, subject_key_identifier, whole

NO_REV_AVAIL = "2.5.29.56"  # RFC 9608 section 2

_SUBJECT_KEYS = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey
_SUBJECT_KEY_IDENTIFIER, _KEY_USAGE, _SUBJECT_ALTERNATIVE_NAME = "2.5.29.14", "2.5.29.15", "2.5.29.17"
_BASIC_CONSTRAINTS, _CRL_DISTRIBUTION_POINTS = "2.5.29.19", "2.5.29.31"
_AUTHORITY_KEY_IDENTIFIER, _EXTENDED_KEY_USAGE = "2.5.29.35", "2.5.29.37"
_AUTHORITY_INFORMATION_ACCESS, _TLS_FEATURE = "1.3.6.1.5.5.7.1.1", "1.3.6.1.5.5.7.1.24"
_OCSP, _CA_ISSUERS = "1.3.6.1.5.5.7.48.1", "1.3.6.1.5.5.7.48.2"
_DNS_NAME, _URI, _IP_ADDRESS = 0x82, 0x86, 0x87  # of GeneralName (RFC 5280 section 4.2.1.6)
_STATUS_REQUEST = 5  # RFC 6066 section 8

_VERSION_3 = der.tlv(der.context(0), der.integer(2))
_NO_NAME = der.tlv(der.SEQUENCE)
# What is at its default is left out (X.690 section 11.5), and so nothing is left of cA FALSE.
_NOT_A_CA = der.extension(_BASIC_CONSTRAINTS, der.tlv(der.SEQUENCE), critical=True)
_MUST_STAPLE = der.extension(_TLS_FEATURE, der.tlv(der.SEQUENCE, der.integer(_STATUS_REQUEST)))
_NOT_SPOKEN_OF = der.extension(NO_REV_AVAIL, der.tlv(der.NULL))


def to_be_signed(template: Template, issuer: IssuingCertificate, serial: int, algorithm: bytes) -> bytes:
    """Return the TBSCertificate (RFC 5280 section 4.1) for a template; raise TemplateError if there must be none.

    ``algorithm`` is the DER of the AlgorithmIdentifier. The subject is a common name or empty (section 4.1.2.6).
    """
    _check(template, issuer)
    subject = _subject(template)
    extensions = _extensions(template, issuer, serial, anonymous=subject == _NO_NAME)
    return der.tlv(
        der.SEQUENCE,
        _VERSION_3,
        der.integer(serial),
        algorithm,
        issuer.name,
        der.tlv(der.SEQUENCE, der.time(template.not_before), der.time(template.not_after)),
        subject,
        template.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        der.tlv(der.context(3), der.tlv(der.SEQUENCE, *extensions)),
    )


def _check(template: Template, issuer: IssuingCertificate) -> None:
    if not template.names:
        _refuse("a certificate needs one name at least (RFC 5280 section 4.2.1.6)")
    if template.not_after <= template.not_before:
        _refuse("a certificate ends after it starts")
    if whole(template.not_after) > issuer.expires_at:
        _refuse("a certificate may not outlive its issuer")
    if not isinstance(template.public_key, _SUBJECT_KEYS):
        _refuse("certificates are for RSA, EC, Ed25519 and Ed448 keys")
    if issuer.constraints:
        for each in template.names:
            for refusal in refusals(issuer.constraints, each):
                _refuse(refusal)


def _subject(template: Template) -> bytes:
    """The common name if it is one of the DNS names and fits; never an address (RFC 5280 section 4.1.2.6)."""
    name = template.common_name
    if (
        name is None
        or len(name) > MAX_COMMON_NAME
        or Identifier(IdentifierType.DNS, name) not in template.names
    ):
        return _NO_NAME
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]).public_bytes()


def _extensions(
    template: Template, issuer: IssuingCertificate, serial: int, *, anonymous: bool
) -> Iterator[bytes]:
    """Every extension, in the order of RFC 5280 section 4.2.1. What many certificates share is made once."""
    identifier = der.tlv(der.OCTET_STRING, subject_key_identifier(template.public_key).digest)
    names = der.tlv(der.SEQUENCE, *map(_general_name, template.names))
    yield _authority(issuer.authority_key_identifier)
    yield der.extension(_SUBJECT_KEY_IDENTIFIER, identifier)
    yield _key_usage(enciphers=isinstance(template.public_key, rsa.RSAPublicKey))
    yield der.extension(_SUBJECT_ALTERNATIVE_NAME, names, critical=anonymous)
    yield _NOT_A_CA
    if template.extended_key_usages:
        yield _usages(template.extended_key_usages)
    if template.must_staple:
        yield _MUST_STAPLE  # RFC 7633 section 4: not critical
    if template.no_rev_avail:
        yield _NOT_SPOKEN_OF  # RFC 9608 section 2: not critical
    if issuer.urls is not None and template.revocable:
        if not template.no_rev_avail:
            yield _list(issuer.urls.crl(serial))
        yield _access(issuer.urls, responder=not template.no_rev_avail)


@lru_cache(maxsize=64)
def _authority(identifier: x509.AuthorityKeyIdentifier) -> bytes:
    return der.extension(_AUTHORITY_KEY_IDENTIFIER, identifier.public_bytes())


@cache
def _key_usage(*, enciphers: bool) -> bytes:
    """Signatures, and key transport where the algorithm can (RFC 5280 section 4.2.1.3, RFC 5480)."""
    usage = key_usage(digital_signature=True, key_encipherment=enciphers)
    return der.extension(_KEY_USAGE, usage.public_bytes(), critical=True)


@lru_cache(maxsize=256)
def _usages(names: tuple[str, ...]) -> bytes:
    usages = x509.ExtendedKeyUsage([_usage(name) for name in names])
    return der.extension(_EXTENDED_KEY_USAGE, usages.public_bytes())


@lru_cache(maxsize=256)
def _list(url: str) -> bytes:
    """Where the CRL is (RFC 5280 section 4.2.1.13)."""
    point = der.tlv(der.context(0), der.tlv(der.context(0), _url(url)))
    return der.extension(_CRL_DISTRIBUTION_POINTS, der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, point)))


@lru_cache(maxsize=64)
def _access(urls: StatusUrls, *, responder: bool) -> bytes:
    """Where the OCSP responder is, unless nobody shall ask it (RFC 9608 section 3), and the issuer's certificate
    (RFC 5280 section 4.2.2.1).
    """
    asked = der.tlv(der.SEQUENCE, der.oid(_OCSP), _url(urls.ocsp)) if responder else b""
    issuer = der.tlv(der.SEQUENCE, der.oid(_CA_ISSUERS), _url(urls.certificate))
    return der.extension(_AUTHORITY_INFORMATION_ACCESS, der.tlv(der.SEQUENCE, asked, issuer))


def _url(url: str) -> bytes:
    return der.tlv(_URI, url.encode("ascii"))


def _general_name(identifier: Identifier) -> bytes:
    if identifier.type is IdentifierType.IP:
        return der.tlv(_IP_ADDRESS, ipaddress.ip_address(identifier.value).packed)
    return der.tlv(_DNS_NAME, identifier.value.encode("ascii"))


def _usage(name: str) -> x509.ObjectIdentifier:
    if name in EXTENDED_KEY_USAGES:
        return EXTENDED_KEY_USAGES[name]
    try:
        return x509.ObjectIdentifier(name)
    except ValueError:
        _refuse(f"{name} is not an extended key usage")


def _refuse(why: str) -> NoReturn:
    raise TemplateError(why)
