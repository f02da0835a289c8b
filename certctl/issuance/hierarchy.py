"""The server's own hierarchy, made at the first start: a root, and an issuing CA under it."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Self

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certctl.acme.common_names import MAX_COMMON_NAME, is_common_name
from certctl.issuance import files
from certctl.issuance.files import SigningKey
from certctl.issuance.issuer import IssuerError
from certctl.issuance.passphrase import Passphrase
from certctl.issuance.profile import (
    authority_key_identifier,
    key_usage,
    subject_key_identifier,
)

ROOT_LIFETIME = timedelta(days=20 * 365)
ISSUING_LIFETIME = timedelta(days=5 * 365)
BACKDATE = timedelta(hours=1)  # a CA lives for years: an hour for clocks that are behind costs nothing
ROOT_CERTIFICATE = "root-ca.pem"


@attrs.frozen
class Files:
    """Where the hierarchy lies; written in the order of the fields, keys before certificates."""

    root_key: Path
    root: Path
    issuing_key: Path
    issuing: Path

    @classmethod
    def under(cls, directory: Path) -> Self:
        """Return the paths in a state directory."""
        names = ("root-ca-key.pem", ROOT_CERTIFICATE, "issuing-ca-key.pem", "issuing-ca.pem")
        return cls(*(directory / name for name in names))


def complete(
    paths: Files,
    *,
    common_name: str,
    root_common_name: str,
    now: datetime,
    passphrase: Passphrase | None = None,
) -> None:
    """Make what is not there yet; only under the directory's lock.

    A crash leaves a beginning of the sequence, which is carried on here. Any other gap was made by hand, and
    closing it would found a second CA beside the one that clients trust: IssuerError. The root key alone may
    be missing once the issuing CA stands: it is well kept on another machine.
    """
    if paths.issuing.exists():
        return
    refuse_awaited(paths)
    for earlier, later in pairwise((paths.root_key, paths.root, paths.issuing_key)):
        if later.exists() and not earlier.exists():
            raise IssuerError(f"{earlier}: the file is missing though {later.name} is there; put it back")
    _check_names(common_name, root_common_name)
    root_key = _key(paths.root_key, passphrase)
    if not paths.root.exists():
        _write(paths.root, root_certificate(root_key, root_common_name, now))
    root = files.read_certificates(paths.root)[0]
    if root.public_key() != root_key.public_key():
        raise IssuerError(
            f"{paths.root_key}: the key is not that of {paths.root.name}; put back the right one"
        )
    issuing_key = _key(paths.issuing_key, passphrase)
    _write(paths.issuing, issuing_certificate(issuing_key, common_name, root_key, root, now))


def refuse_awaited(paths: Files) -> None:
    """Raise IssuerError while the issuing CA's certificate is still to come, from a root on another machine."""
    if paths.issuing_key.exists() and not (
        paths.issuing.exists() or paths.root.exists() or paths.root_key.exists()
    ):
        raise IssuerError(
            f"{paths.issuing}: the CA's key waits for its certificate; have it certified, and run: certctl ca install"
        )


def root_certificate(
    key: SigningKey,
    common_name: str,
    now: datetime,
    *,
    lifetime: timedelta = ROOT_LIFETIME,
    path_length: int | None = 1,
    constraints: x509.NameConstraints | None = None,
) -> x509.Certificate:
    """Return a self-signed root; its path length is the number of levels of CAs below it, None for any."""
    subject = name(common_name)
    own = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
        subject_key_identifier(key.public_key())
    )
    builder = _authority(key.public_key(), subject, path_length, constraints).issuer_name(subject)
    builder = builder.add_extension(own, critical=False)
    return _valid(builder, now, lifetime).sign(key, signature_hash(key))


def issuing_certificate(
    key: SigningKey, common_name: str, root_key: SigningKey, root: x509.Certificate, now: datetime
) -> x509.Certificate:
    """Return an issuing CA under a root, for end-entity certificates alone."""
    return certified(key.public_key(), name(common_name), root_key, root, now)


def certified(
    public_key: CertificateIssuerPublicKeyTypes,
    subject: x509.Name,
    above_key: SigningKey,
    above: x509.Certificate,
    now: datetime,
    *,
    lifetime: timedelta = ISSUING_LIFETIME,
    path_length: int | None = 0,
    constraints: x509.NameConstraints | None = None,
) -> x509.Certificate:
    """Return a certificate for a CA under another one, which it does not outlive."""
    builder = (
        _authority(public_key, subject, path_length, constraints)
        .issuer_name(above.subject)
        .add_extension(authority_key_identifier(above), critical=False)
    )
    lifetime = min(lifetime, above.not_valid_after_utc - now)
    return _valid(builder, now, lifetime).sign(above_key, signature_hash(above_key))


def signature_hash(key: SigningKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    """Return the hash that goes with a CA key: as strong as its curve, SHA-256 with RSA."""
    bits = key.key_size if isinstance(key, ec.EllipticCurvePrivateKey) else 256
    if bits <= 256:
        return hashes.SHA256()
    return hashes.SHA384() if bits <= 384 else hashes.SHA512()


def _authority(
    public_key: CertificateIssuerPublicKeyTypes,
    subject: x509.Name,
    path_length: int | None,
    constraints: x509.NameConstraints | None,
) -> x509.CertificateBuilder:
    """What CA certificates have in common (RFC 5280 sections 4.2.1.2, 4.2.1.3, 4.2.1.9 and 4.2.1.10)."""
    builder = (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .subject_name(subject)
        .public_key(public_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(subject_key_identifier(public_key), critical=False)
    )
    return builder if constraints is None else builder.add_extension(constraints, critical=True)


def _valid(builder: x509.CertificateBuilder, now: datetime, lifetime: timedelta) -> x509.CertificateBuilder:
    moment = now.replace(microsecond=0)
    return builder.not_valid_before(moment - BACKDATE).not_valid_after(moment + lifetime)


def name(common_name: str) -> x509.Name:
    """The subject of a CA."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _check_names(common_name: str, root_common_name: str) -> None:
    """Two CAs of one name would look self-issued to clients that build paths (RFC 5280 section 6.1)."""
    for each in (common_name, root_common_name):
        check_name(each)
    if common_name == root_common_name:
        raise IssuerError(f"root and issuing CA cannot both be named {common_name!r}; choose another name")


def check_name(common_name: str) -> None:
    """Raise IssuerError for a name that no certificate can have."""
    if not is_common_name(common_name):
        raise IssuerError(
            f"a CA's name is printable text of 1 to {MAX_COMMON_NAME} octets in UTF-8, not {common_name!r};"
            " choose another"
        )


def _key(path: Path, passphrase: Passphrase | None) -> SigningKey:
    if not path.exists():
        files.write(path, files.key_pem(ec.generate_private_key(ec.SECP256R1()), passphrase), files.SECRET)
    return files.read_key(path, passphrase)


def _write(path: Path, certificate: x509.Certificate) -> None:
    files.write(path, certificate.public_bytes(Encoding.PEM), files.PUBLIC)
