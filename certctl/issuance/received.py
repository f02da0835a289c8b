"""What a signer elsewhere sent, held against what it was asked for: it is believed no more than a CSR is."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from certctl.acme.identifiers import IdentifierType
from certctl.acme.profile_policy import usage
from certctl.issuance.issuer import Issued, Issuer, Template, TemplateError
from certctl.issuance.leaf import NO_REV_AVAIL

SECOND = timedelta(seconds=1)
_NO_REV_AVAIL = x509.ObjectIdentifier(NO_REV_AVAIL)
_KINDS = {IdentifierType.DNS: x509.DNSName, IdentifierType.IP: x509.IPAddress}


def check(template: Template, issuer: Issuer, issued: Issued) -> None:
    """Raise TemplateError, which says the serial, for what is not the template's certificate by that issuer."""
    try:
        certificate = x509.load_der_x509_certificate(issued.der)
        serial = f"{certificate.serial_number:x}"
        wrong = [*_wrong(template, issuer, issued, certificate)]
    except Exception as error:  # malformed ASN.1 has many exceptions
        raise TemplateError(f"the signer sent no certificate that can be read: {error}") from None
    if wrong:
        raise TemplateError(f"the signer sent another certificate (serial {serial}): {', '.join(wrong)}")


def _wrong(template: Template, issuer: Issuer, issued: Issued, certificate: x509.Certificate) -> list[str]:
    """In what it differs from what was asked for."""
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = {each.oid: each.value for each in extensions}
    basic, uses = found.get(ExtensionOID.BASIC_CONSTRAINTS), found.get(ExtensionOID.KEY_USAGE)
    usages = found.get(ExtensionOID.EXTENDED_KEY_USAGE, ())
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    checks = {
        "its issuer": _is_signed_by(certificate, issuer.chain[0]),
        "its serial": issued.serial == f"{certificate.serial_number:x}",
        "its key": certificate.public_key() == template.public_key,
        "its names": {(type(each), str(each.value)) for each in names}
        == {(_KINDS[each.type], each.value) for each in template.names},
        "its subject": [each.value for each in certificate.subject] in ([], [template.common_name]),
        "its being a CA": not ((basic and basic.ca) or (uses and (uses.key_cert_sign or uses.crl_sign))),
        "its usages": {oid.dotted_string for oid in usages} == set(map(usage, template.extended_key_usages)),
        "its TLS feature": (ExtensionOID.TLS_FEATURE in found) == template.must_staple,
        "its noRevAvail": (_NO_REV_AVAIL in found) == template.no_rev_avail,
        "its validity": template.not_before - SECOND < starts <= ends <= template.not_after
        and ends <= issuer.expires_at
        and (issued.not_before, issued.not_after) == (starts, ends),
    }
    return [what for what, fits in checks.items() if not fits]


def _is_signed_by(certificate: x509.Certificate, issuer: bytes) -> bool:
    try:
        certificate.verify_directly_issued_by(x509.load_der_x509_certificate(issuer))
    except Exception:  # another's signature, another's name, or a key of another kind
        return False
    return True
