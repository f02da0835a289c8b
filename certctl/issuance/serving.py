"""The certificate that the server itself shows on its port, from its own CA."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from certctl.acme.identifiers import Identifier
from certctl.issuance import files
from certctl.issuance.issuer import Issuer, IssuerError, Template
from certctl.issuance.local import LocalCA
from certctl.issuance.profile import ValidityError, validity

LIFETIME = timedelta(days=90)
FILE = "server.pem"


@attrs.frozen(kw_only=True)
class ServingCertificate:
    """The server's TLS certificate with its chain and key."""

    path: Path  # one file for both, so that a crash cannot leave a key with another's certificate
    chain_pem: bytes  # leaf, issuing CA and those above it, without the root
    key_pem: bytes = attrs.field(repr=False)
    not_before: datetime
    not_after: datetime

    @property
    def renew_at(self) -> datetime:
        """When ``ensure`` will make another."""
        return renew_at(self.not_before, self.not_after)

    @classmethod
    def ensure(cls, directory: Path, ca: Issuer | None, names: Sequence[Identifier], now: datetime) -> Self:
        """Return the certificate of a state directory, or a new one with a new key if that will not do.

        It will do while more than a third of its life is left, for exactly these names, under this CA, in a
        file that nobody else may read. Raise IssuerError if the directory cannot be written, or if the CA
        has expired.
        """
        path = directory / FILE
        if not isinstance(ca, LocalCA):
            raise IssuerError(
                f"{path}: no issuer here can certify the server; set CERTCTL_SERVER_TLS_CERT_PATH"
            )
        permitted = [each for each in names if ca.permits(each)]  # name constraints of the organisation's
        if not permitted:
            raise IssuerError(
                f"{path}: {ca.common_name!r} may certify none of the server's names; set CERTCTL_SERVER_TLS_NAMES to"
                " one that it may, or give the server a certificate by CERTCTL_SERVER_TLS_CERT_PATH"
            )
        with files.reporting(directory), files.locked(directory):
            found = cls._find(path)
            if found is not None and found._suits(ca, permitted, now):
                return found
            made = cls._make(path, ca, permitted, now)
            files.write(path, made.chain_pem + made.key_pem, files.SECRET)
            return made

    @classmethod
    def _make(cls, path: Path, ca: LocalCA, names: Sequence[Identifier], now: datetime) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            starts, ends = validity(now, LIFETIME, ca.expires_at)
        except ValidityError:
            ended = f"{ca.expires_at:%Y-%m-%d}"
            raise IssuerError(
                f"{path}: {ca.common_name!r} expired on {ended}; give the server a new CA"
            ) from None
        issued = ca.issue(
            Template(
                names=tuple(dict.fromkeys(names)),
                common_name=None,
                public_key=key.public_key(),
                not_before=starts,
                not_after=ends,
                revocable=False,  # the database does not know it, so no OCSP answer would
            )
        )
        chain = b"".join(
            x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in (issued.der, *ca.chain)
        )
        return cls(path=path, chain_pem=chain, key_pem=files.key_pem(key), not_before=starts, not_after=ends)

    @classmethod
    def _find(cls, path: Path) -> Self | None:
        """What lies there, if certificate and key fit and nobody else could read them."""
        try:
            if not files.secret(path):
                return None
            content = path.read_bytes()
            certificates = x509.load_pem_x509_certificates(content)
            key = load_pem_private_key(content, password=None)
            if (
                not isinstance(key, ec.EllipticCurvePrivateKey)
                or key.public_key() != certificates[0].public_key()
            ):
                return None
        except Exception:  # absent, cut off, or not ours: a new one costs nothing
            return None
        return cls(
            path=path,
            chain_pem=b"".join(each.public_bytes(Encoding.PEM) for each in certificates),
            key_pem=files.key_pem(key),
            not_before=certificates[0].not_valid_before_utc,
            not_after=certificates[0].not_valid_after_utc,
        )

    def _suits(self, ca: LocalCA, names: Sequence[Identifier], now: datetime) -> bool:
        leaf, *chain = x509.load_pem_x509_certificates(self.chain_pem)
        if not self.not_before <= now < self.renew_at or self.not_after > ca.expires_at:
            return False
        if tuple(each.public_bytes(Encoding.DER) for each in chain) != ca.chain:
            return False
        try:
            leaf.verify_directly_issued_by(chain[0])
            found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (InvalidSignature, x509.ExtensionNotFound, TypeError, ValueError):
            return False
        return {str(name.value) for name in found} == {name.value for name in names}


def renew_at(not_before: datetime, not_after: datetime) -> datetime:
    """Return the moment when a third of a certificate's life is left."""
    return not_after - (not_after - not_before) / 3
