"""What a signer elsewhere sent, held against what it was asked for: it is believed no more than a CSR is."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509

from certctl.acme.identifiers import IdentifierType
from certctl.acme.profile_policy import usage
from certctl.issuance.issuer import Issued, Issuer, Template, TemplateError

SECOND = timedelta(seconds=1)
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
    basic = [each.value for each in extensions if isinstance(each.value, x509.BasicConstraints)]
    usages = [each.value for each in extensions if isinstance(each.value, x509.ExtendedKeyUsage)]
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    checks = {
        "its issuer": _is_signed_by(certificate, issuer.chain[0]),
        "its serial": issued.serial == f"{certificate.serial_number:x}",
        "its key": certificate.public_key() == template.public_key,
        "its names": {(type(each), str(each.value)) for each in names}
        == {(_KINDS[each.type], each.value) for each in template.names},
        "its subject": [each.value for each in certificate.subject] in ([], [template.common_name]),
        "its being a CA": not any(each.ca for each in basic),
        "its usages": {oid.dotted_string for each in usages for oid in each}
        == set(map(usage, template.extended_key_usages)),
        "its validity": template.not_before - SECOND < starts <= ends <= template.not_after
        and (issued.not_before, issued.not_after) == (starts, ends),
    }
    return [what for what, fits in checks.items() if not fits]


def _is_signed_by(certificate: x509.Certificate, issuer: bytes) -> bool:
    try:
        certificate.verify_directly_issued_by(x509.load_der_x509_certificate(issuer))
    except Exception:  # another's signature, another's name, or a key of another kind
        return False
    return True
