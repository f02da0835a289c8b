"""Certificates as operators read them: decoded, and in the forms in which they are downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID

from certctl.issuance.leaf import NO_REV_AVAIL

PEM = "application/x-pem-file"
DER = "application/pkix-cert"  # RFC 2585 section 4.1
PKCS7 = "application/pkcs7-mime"  # RFC 5751 section 3.2.1
MEDIA = (PEM, DER, PKCS7)
_USAGES = {
    value.dotted_string: name.lower()
    for name, value in vars(ExtendedKeyUsageOID).items()
    if isinstance(value, x509.ObjectIdentifier)
}
_WORDS = {
    "server_auth": "serverAuth",
    "client_auth": "clientAuth",
    "code_signing": "codeSigning",
    "email_protection": "emailProtection",
    "time_stamping": "timeStamping",
    "ocsp_signing": "OCSPSigning",
}


class KeyFacts(msgspec.Struct, kw_only=True):
    """A public key. ``sha256`` is the fingerprint of its SubjectPublicKeyInfo."""

    algorithm: str
    size: int | None
    sha256: str


class Decoded(msgspec.Struct, kw_only=True):
    """What is in a certificate."""

    subject: str
    issuer: str
    serial: str
    subject_alternative_names: list[str]
    key: KeyFacts
    key_usage: list[str]
    extended_key_usages: list[str]
    signature_algorithm: str
    must_staple: bool
    no_rev_avail: bool
    not_before: datetime
    not_after: datetime
    sha256: str
    sha1: str


def pem(der: bytes) -> str:
    """A certificate in PEM."""
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode("ascii")


def encoded(chain: Sequence[bytes], form: str) -> tuple[str, bytes, str]:
    """Media type, octets and the end of a file's name, for certificates of which the first is the leaf."""
    found = [x509.load_der_x509_certificate(each) for each in chain]
    if form == "der":
        return DER, chain[0], "crt"
    if form == "pkcs7":
        return PKCS7, pkcs7.serialize_certificates(found, Encoding.DER), "p7c"
    return PEM, b"".join(each.public_bytes(Encoding.PEM) for each in found), "pem"


def decoded(der: bytes) -> Decoded:
    """What is in a certificate."""
    found = x509.load_der_x509_certificate(der)
    feature = _extension(found, x509.TLSFeature)
    return Decoded(
        subject=found.subject.rfc4514_string(),
        issuer=found.issuer.rfc4514_string(),
        serial=f"{found.serial_number:x}",
        subject_alternative_names=[
            str(each.value) for each in _extension(found, x509.SubjectAlternativeName)
        ],
        key=_key(found),
        key_usage=_key_usage(found),
        extended_key_usages=[_usage(each.dotted_string) for each in _extension(found, x509.ExtendedKeyUsage)],
        signature_algorithm=found.signature_algorithm_oid._name,
        must_staple=x509.TLSFeatureType.status_request in feature,
        no_rev_avail=NO_REV_AVAIL in (each.oid.dotted_string for each in found.extensions),
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        sha256=found.fingerprint(hashes.SHA256()).hex(),
        sha1=found.fingerprint(hashes.SHA1()).hex(),  # by which some programs still name certificates
    )


def _extension(certificate: x509.Certificate, kind: Any) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return ()


def _usage(dotted: str) -> str:
    name = _USAGES.get(dotted, dotted)
    return _WORDS.get(name, name)


def _key(certificate: x509.Certificate) -> KeyFacts:
    key = certificate.public_key()
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if isinstance(key, ec.EllipticCurvePublicKey):
        algorithm = f"EC {key.curve.name}"
    else:
        algorithm = (
            "RSA" if isinstance(key, rsa.RSAPublicKey) else type(key).__name__.removesuffix("PublicKey")
        )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(info)
    return KeyFacts(algorithm=algorithm, size=getattr(key, "key_size", None), sha256=digest.finalize().hex())


def _key_usage(certificate: x509.Certificate) -> list[str]:
    usage = _extension(certificate, x509.KeyUsage)
    if not usage:
        return []
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
    )
    return [each for each in (*names, "key_cert_sign", "crl_sign") if getattr(usage, each)]
