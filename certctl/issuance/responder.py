"""The certificate and the key that sign OCSP answers in place of the CA's own (RFC 6960 section 4.2.2.2).

Each server has a key of its own, in its state directory, so that servers on one database need not share it. Nobody can
ask whether this certificate is revoked (id-pkix-ocsp-nocheck), so it is short-lived and renewed by itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certctl.issuance import files
from certctl.issuance.issuer import IssuerUnavailable
from certctl.issuance.local import LocalCA
from certctl.issuance.passphrase import Passphrase
from certctl.issuance.profile import (
    ValidityError,
    key_bits,
    key_usage,
    subject_key_identifier,
    validity,
)
from certctl.issuance.serving import renew_at

LIFETIME = timedelta(days=30)
COMMON_NAME = "certctl OCSP responder"


@attrs.frozen(kw_only=True)
class Responder:
    """Who signs OCSP answers."""

    key: ec.EllipticCurvePrivateKey = attrs.field(repr=False)
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """The DER of its certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def key_bits(self) -> bytes:
        """The value of its subjectPublicKey."""
        return key_bits(self.key.public_key())

    @property
    def renew_at(self) -> datetime:
        """When ``ensure`` will make another."""
        return renew_at(self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc)

    @classmethod
    def ensure(
        cls, directory: Path, ca: LocalCA, now: datetime, passphrase: Passphrase | None = None
    ) -> Self:
        """Return the responder of a state directory, or a new one with a new key if that will not do.

        Raise IssuerError if the directory cannot be written, IssuerUnavailable if the CA has expired.
        """
        path = directory / f"ocsp-{ca.id}.pem"
        with files.reporting(directory), files.locked(directory):
            found = cls._find(path, passphrase)
            if found is not None and found._suits(ca, now):
                return found
            made = cls._make(ca, now)
            pem = made.certificate.public_bytes(Encoding.PEM) + files.key_pem(made.key, passphrase)
            files.write(path, pem, files.SECRET)
            return made

    @classmethod
    def _make(cls, ca: LocalCA, now: datetime) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            starts, ends = validity(now, LIFETIME, ca.expires_at)
        except ValidityError as error:
            raise IssuerUnavailable(f"no OCSP responder can be certified: {error}") from None
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .public_key(key.public_key())
            .not_valid_before(starts)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=False)
            .add_extension(x509.OCSPNoCheck(), critical=False)
            .add_extension(subject_key_identifier(key.public_key()), critical=False)
        )
        return cls(key=key, certificate=ca.certify(builder))

    @classmethod
    def _find(cls, path: Path, passphrase: Passphrase | None) -> Self | None:
        """What lies there, if certificate and key fit, and the key is kept as a new one would be."""
        try:
            content = path.read_bytes()
            if not files.secret(path) or files.is_encrypted(content) is (passphrase is None):
                return None
            certificate = x509.load_pem_x509_certificate(content)
            key = files.open_key(files.key_of(content), passphrase)
        except Exception:  # absent, cut off, or not ours: a new one costs nothing
            return None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            return None
        return cls(key=key, certificate=certificate)

    def _suits(self, ca: LocalCA, now: datetime) -> bool:
        if not self.certificate.not_valid_before_utc <= now < self.renew_at:
            return False
        try:
            self.certificate.verify_directly_issued_by(x509.load_der_x509_certificate(ca.chain[0]))
        except Exception:  # another CA's
            return False
        return self.certificate.not_valid_after_utc <= ca.expires_at
