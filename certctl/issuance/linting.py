"""What is to be signed, checked before it is: against RFC 5280, the template and the issuer.

It reads the octets of the TBSCertificate with a parser that is not ours, and shares no code with what wrote them
(``profile.py``), so that a mistake there is never signed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtensionOID

from certctl.acme.identifiers import IdentifierType
from certctl.acme.profile_policy import usage
from certctl.issuance import der
from certctl.issuance.issuer import StatusUrls, Template, TemplateError
from certctl.issuance.leaf import NO_REV_AVAIL
from certctl.issuance.profile import IssuingCertificate, key_bits

MAX_SERIAL_BITS = 159  # 20 octets with a sign bit (RFC 5280 section 4.1.2.2)
MAX_NAME = 253  # octets of a DNS name (RFC 1035 section 2.3.4, without length octets)
SECOND = timedelta(seconds=1)

_ALGORITHM, _ISSUER = 2, 3  # where they stand among the fields of a TBSCertificate
_NO_SIGNATURE = der.bit_string(b"")
_NULL = der.tlv(der.NULL)
_DNS_NAME = re.compile(
    r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\Z"
)
_NO_REV_AVAIL = x509.ObjectIdentifier(NO_REV_AVAIL)
# What may be there, and whether it is critical then; that of the names is told by the subject.
_CRITICAL = {
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,  # RFC 5280 section 4.2.1.1
    ExtensionOID.SUBJECT_KEY_IDENTIFIER: False,  # section 4.2.1.2
    ExtensionOID.KEY_USAGE: True,  # section 4.2.1.3
    ExtensionOID.BASIC_CONSTRAINTS: True,  # section 4.2.1.9
    ExtensionOID.EXTENDED_KEY_USAGE: False,  # section 4.2.1.12
    ExtensionOID.CRL_DISTRIBUTION_POINTS: False,  # section 4.2.1.13
    ExtensionOID.AUTHORITY_INFORMATION_ACCESS: False,  # section 4.2.2.1
    ExtensionOID.TLS_FEATURE: False,  # RFC 7633 section 4
    _NO_REV_AVAIL: False,  # RFC 9608 section 2
}
_ALWAYS = (
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.BASIC_CONSTRAINTS,
)


def lint(
    template: Template, issuer: IssuingCertificate, serial: int, to_be_signed: bytes
) -> tuple[datetime, datetime]:
    """Return first and last second of what is to be signed; raise TemplateError for what must not be signed."""
    try:
        fields = [whole for _, _, whole in der.elements(der.only(to_be_signed, der.SEQUENCE))]
        certificate = x509.load_der_x509_certificate(
            der.tlv(der.SEQUENCE, to_be_signed, fields[_ALGORITHM], _NO_SIGNATURE)
        )
        extensions, subject, key = certificate.extensions, certificate.subject, certificate.public_key()
    except (ValueError, IndexError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        _refuse(f"the certificate cannot be read: {error}")
    if fields[_ISSUER] != issuer.name:
        _refuse("the certificate names another issuer")
    _lint_fields(template, issuer, serial, certificate)
    if [each.value for each in subject] not in ([], [template.common_name]):
        _refuse("the certificate's subject is neither empty nor the common name of the template")
    if key != template.public_key:
        _refuse("the certificate's key is not that of the template")
    found = {each.oid: each.value for each in extensions}
    _lint_presence(extensions, anonymous=not subject.rdns)
    _lint_names(template, found[ExtensionOID.SUBJECT_ALTERNATIVE_NAME])
    _lint_identifiers(key, issuer, found)
    _lint_uses(template, found)
    _lint_urls(template, issuer.urls, serial, found)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _lint_fields(
    template: Template, issuer: IssuingCertificate, serial: int, certificate: x509.Certificate
) -> None:
    """Check what is no extension (RFC 5280 section 4.1.2)."""
    if certificate.version is not x509.Version.v3:
        _refuse("the certificate is not of version 3")
    if certificate.serial_number != serial or not 0 < serial.bit_length() <= MAX_SERIAL_BITS:
        _refuse("the certificate's serial is another, or is not a positive one of 20 octets at most")
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not (
        template.not_before - SECOND < starts <= ends <= template.not_after and ends <= issuer.expires_at
    ):
        _refuse("the certificate's validity is not within that of the template and the issuer")


def _lint_presence(extensions: x509.Extensions, *, anonymous: bool) -> None:
    """Check that what must be there is, that nothing unknown is, and what is critical."""
    critical = {each.oid: each.critical for each in extensions}
    if any(oid not in critical for oid in _ALWAYS):
        _refuse("the certificate lacks an extension that every certificate has")
    for oid, found in critical.items():
        if oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME:
            wanted: bool | None = anonymous  # RFC 5280 section 4.2.1.6
        else:
            wanted = _CRITICAL.get(oid)
        if found is not wanted:
            _refuse(
                f"the certificate's extension {oid.dotted_string} is unknown, or wrong about being critical"
            )


def _lint_names(template: Template, names: Any) -> None:
    """Check the names: the template's in their order, each of a form that relying parties read alike."""
    found = [(isinstance(name, x509.IPAddress), str(name.value)) for name in names]
    if not found or found != [(name.type is IdentifierType.IP, name.value) for name in template.names]:
        _refuse("the certificate's names are not those of the template")
    for is_address, name in found:
        if not is_address and (len(name) > MAX_NAME or not _DNS_NAME.match(name)):
            _refuse("a name of the certificate is no DNS name (RFC 5280 section 4.2.1.6)")


def _lint_identifiers(
    key: CertificatePublicKeyTypes, issuer: IssuingCertificate, found: Mapping[x509.ObjectIdentifier, Any]
) -> None:
    """Check which keys the certificate says it has and is signed by (RFC 5280 sections 4.2.1.1 and 4.2.1.2)."""
    if found[ExtensionOID.AUTHORITY_KEY_IDENTIFIER] != issuer.authority_key_identifier:
        _refuse("the certificate names another key of its issuer")
    expected = hashlib.sha256(key_bits(key)).digest()[:20]  # RFC 7093 method 1
    if found[ExtensionOID.SUBJECT_KEY_IDENTIFIER].digest != expected:
        _refuse("the certificate's subject key identifier is not that of its key")


def _lint_uses(template: Template, found: Mapping[x509.ObjectIdentifier, Any]) -> None:
    """Check what the certificate may be used for: the template's purposes, never a CA's."""
    constraints, key_usage = found[ExtensionOID.BASIC_CONSTRAINTS], found[ExtensionOID.KEY_USAGE]
    if constraints.ca or constraints.path_length is not None:
        _refuse("the certificate is a CA's")
    if key_usage.key_cert_sign or key_usage.crl_sign or not key_usage.digital_signature:
        _refuse("the certificate may sign certificates or revocation lists, or nothing")
    if key_usage.key_encipherment and not isinstance(template.public_key, rsa.RSAPublicKey):
        _refuse("the certificate's key enciphers none (RFC 8813 section 3, RFC 8410 section 5)")
    usages = found.get(ExtensionOID.EXTENDED_KEY_USAGE, ())
    if tuple(each.dotted_string for each in usages) != _dotted(template.extended_key_usages):
        _refuse("the certificate's extended key usages are not those of the template")
    staple = list(found.get(ExtensionOID.TLS_FEATURE, ()))
    if staple != ([x509.TLSFeatureType.status_request] if template.must_staple else []):
        _refuse("the certificate's TLS feature is not that of the template")


def _lint_urls(
    template: Template,
    urls: StatusUrls | None,
    serial: int,
    found: Mapping[x509.ObjectIdentifier, Any],
) -> None:
    """Check where the certificate sends those who want to know more of it: to us, or nowhere."""
    points = found.get(ExtensionOID.CRL_DISTRIBUTION_POINTS, ())
    lists = [name.value for point in points for name in point.full_name or ()]
    access = [each.access_location.value for each in found.get(ExtensionOID.AUTHORITY_INFORMATION_ACCESS, ())]
    if urls is None or not template.revocable:
        wanted: tuple[list[str], list[str]] = [], []
    elif template.no_rev_avail:  # RFC 9608 section 3
        wanted = [], [urls.certificate]
    else:
        wanted = [urls.crl(serial)], [urls.ocsp, urls.certificate]
    if (lists, access) != wanted:
        _refuse("the certificate's URLs are not those of its issuer")
    unspoken = found.get(_NO_REV_AVAIL)
    if (unspoken is not None) != template.no_rev_avail or (unspoken and unspoken.value != _NULL):
        _refuse(
            "whether the certificate's revocation can be learned is not as the template has it (RFC 9608)"
        )


@lru_cache(maxsize=256)
def _dotted(usages: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(usage, usages))


def _refuse(why: str) -> NoReturn:
    raise TemplateError(why)
