"""Whether a key and certificates are a CA: that they belong together, may sign, and are valid now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from certctl.issuance.files import SigningKey
from certctl.issuance.issuer import IssuerError

Where = Path | str  # where the certificates are, for the sentence that says what is wrong with them


def check_pair(key: SigningKey, key_path: Where, certificate: x509.Certificate, path: Where) -> None:
    """Raise IssuerError if a key is not that of a certificate."""
    if certificate.public_key() != key.public_key():
        raise IssuerError(f"{key_path}: the key is not that of the certificate in {path}; put back its own")


def check_chain(certificates: Sequence[x509.Certificate], path: Where, now: datetime) -> None:
    """Raise IssuerError unless each is a CA, valid now, signed by the next, and may have that many below it."""
    for below, certificate in enumerate(certificates):
        _check_authority(certificate, below, path)
        _check_time(certificate, path, now)
    for certificate, above in pairwise(certificates):
        try:
            certificate.verify_directly_issued_by(above)
        except (InvalidSignature, TypeError, ValueError):
            raise IssuerError(
                f"{path}: {common_name(certificate)!r} is not signed by {common_name(above)!r}; put back "
                "the certificates that belong together, the issuing CA first and each followed by its issuer"
            ) from None


def _check_authority(certificate: x509.Certificate, below: int, path: Where) -> None:
    """CA true, keyCertSign, and a path length that bears the CAs below it (RFC 5280 section 4.2.1.9)."""
    name = common_name(certificate)
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        raise IssuerError(
            f"{path}: {name!r} lacks basic constraints or key usage; have a CA certified"
        ) from None
    if not constraints.ca or not usage.key_cert_sign:
        raise IssuerError(f"{path}: {name!r} may not sign certificates; have a CA with keyCertSign certified")
    if constraints.path_length is not None and constraints.path_length < below:
        raise IssuerError(f"{path}: {name!r} allows no CA so far below it; have its path made longer")


def _check_time(certificate: x509.Certificate, path: Where, now: datetime) -> None:
    name = common_name(certificate)
    if now < certificate.not_valid_before_utc:
        starts = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M}Z"
        raise IssuerError(f"{path}: {name!r} is not valid before {starts}; set the clock right")
    if now >= certificate.not_valid_after_utc:
        ended = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        raise IssuerError(f"{path}: {name!r} expired on {ended}; have a new one certified")


def self_signed(certificate: x509.Certificate) -> bool:
    """Whether a certificate is signed by its own key."""
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def common_name(certificate: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """The common name of a certificate's subject, else all of it."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()
