"""A CA that is certified by another: made at a desk, by files, with no server about (docs/ca.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.acme.name_constraints import Subtrees, extension
from certctl.issuance import chains, files, hierarchy
from certctl.issuance.files import MIN_RSA_BITS, SigningKey
from certctl.issuance.hierarchy import Files
from certctl.issuance.issuer import IssuerError
from certctl.issuance.passphrase import Passphrase

KEYS: Mapping[str, Callable[[], SigningKey]] = {
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa-3072": lambda: rsa.generate_private_key(65537, 3072),
    "rsa-4096": lambda: rsa.generate_private_key(65537, 4096),
}
SIGNED = "signed"  # the directory of what a root signed, one file each


@attrs.frozen(kw_only=True)
class Bounds:
    """What a CA's certificate allows below it, and for how long."""

    lifetime: timedelta
    path_length: int | None
    permitted: Subtrees = attrs.field(factory=Subtrees)
    excluded: Subtrees = attrs.field(factory=Subtrees)

    @property
    def constraints(self) -> x509.NameConstraints | None:
        """The extension, if names are bounded."""
        return extension(self.permitted, self.excluded)


def found_root(
    directory: Path,
    common_name: str,
    algorithm: str,
    bounds: Bounds,
    now: datetime,
    passphrase: Passphrase | None = None,
) -> Files:
    """Make a root's key and certificate in a directory that has neither; raise IssuerError.

    A key that a crash left without a certificate is taken up.
    """
    paths = Files.under(directory)
    hierarchy.check_name(common_name)
    with files.reporting(directory), files.locked(directory):
        if paths.root.exists():
            raise IssuerError(f"{paths.root}: there is a root already; choose another directory")
        key = ensured_key(paths.root_key, algorithm, passphrase)
        root = hierarchy.root_certificate(
            key,
            common_name,
            now,
            lifetime=bounds.lifetime,
            path_length=bounds.path_length,
            constraints=bounds.constraints,
        )
        files.write(paths.root, root.public_bytes(Encoding.PEM), files.PUBLIC)
    return paths


def ensured_key(path: Path, algorithm: str, passphrase: Passphrase | None = None) -> SigningKey:
    """The key of a file, made if there is none; only under the directory's lock. Raises IssuerError."""
    if not path.exists():
        pem = files.key_pem(KEYS[algorithm](), passphrase)
        files.write(path, pem, files.SECRET, files.for_owner(path.parent))
    key = files.read_key(path, passphrase)
    if (found := algorithm_of(key)) != algorithm:
        raise IssuerError(f"{path}: there is a key already, and it is {found}; ask for that, or remove it")
    return key


def algorithm_of(key: SigningKey) -> str:
    """What ``KEYS`` calls a key's kind."""
    if isinstance(key, rsa.RSAPrivateKey):
        return f"rsa-{key.key_size}"
    return f"ecdsa-p{key.curve.key_size}"


def first_request(
    path: Path, common_name: str, algorithm: str, passphrase: Passphrase | None
) -> x509.CertificateSigningRequest:
    """Make the key of a file if there is none, and return a CSR; only under the directory's lock.

    Raises IssuerError; for a name that no certificate can have before there is a key.
    """
    hierarchy.check_name(common_name)
    return request(ensured_key(path, algorithm, passphrase), common_name)


def request(key: SigningKey, common_name: str) -> x509.CertificateSigningRequest:
    """Return the request of an issuing CA: its name and its key, and nothing that the CA above has to obey."""
    hierarchy.check_name(common_name)
    subject = hierarchy.name(common_name)
    return (
        x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hierarchy.signature_hash(key))
    )


def sign_request(
    directory: Path, pem: bytes, bounds: Bounds, now: datetime, passphrase: Passphrase | None = None
) -> list[x509.Certificate]:
    """Certify a CA by the root of a directory; return its certificate and the root's. Raises IssuerError."""
    asked = _read_request(pem)
    key, root = _root(directory, now, passphrase)
    if asked.subject == root.subject:
        raise IssuerError(f"the request has the root's own name, {asked.subject.rfc4514_string()}")
    return _certified(directory, key, root, asked, bounds, now)


def sign_across(
    directory: Path, pem: bytes, lifetime: timedelta, now: datetime, passphrase: Passphrase | None = None
) -> list[x509.Certificate]:
    """Certify the CA of a certificate of another root's once more, by the root of a directory; raise IssuerError.

    The cross-certificate has its name, key, path length and name constraints, and ends no later.
    """
    try:
        other = x509.load_pem_x509_certificate(pem)
        basic = other.extensions.get_extension_for_class(x509.BasicConstraints).value
    except Exception:
        raise IssuerError("the file has no certificate of a CA in PEM") from None
    key, root = _root(directory, now, passphrase)
    chains.check_chain([other], "the certificate", now)
    if other.subject == root.subject:
        raise IssuerError(
            "the certificate has the root's own name; a root needs no cross-certificate of itself"
        )
    subtrees = [each.value for each in other.extensions if isinstance(each.value, x509.NameConstraints)]
    bounds = Bounds(
        lifetime=min(lifetime, other.not_valid_after_utc - now),
        path_length=basic.path_length,
        permitted=Subtrees.of(subtrees[0].permitted_subtrees if subtrees else None),
        excluded=Subtrees.of(subtrees[0].excluded_subtrees if subtrees else None),
    )
    return _certified(directory, key, root, other, bounds, now)


def _certified(
    directory: Path,
    key: SigningKey,
    root: x509.Certificate,
    asked: x509.CertificateSigningRequest | x509.Certificate,
    bounds: Bounds,
    now: datetime,
) -> list[x509.Certificate]:
    _check_path(root, bounds)
    made = hierarchy.certified(
        _key_of(asked),
        asked.subject,
        key,
        root,
        now,
        lifetime=bounds.lifetime,
        path_length=bounds.path_length,
        constraints=bounds.constraints,
    )
    _keep(directory, made)
    return [made, root]


def _root(
    directory: Path, now: datetime, passphrase: Passphrase | None
) -> tuple[SigningKey, x509.Certificate]:
    paths = Files.under(directory)
    root, key = files.read_certificates(paths.root)[0], files.read_key(paths.root_key, passphrase)
    chains.check_pair(key, paths.root_key, root, paths.root)
    chains.check_chain([root], paths.root, now)
    return key, root


def _read_request(pem: bytes) -> x509.CertificateSigningRequest:
    try:
        asked = x509.load_pem_x509_csr(pem)
        good = asked.is_signature_valid
    except Exception:  # malformed ASN.1 has many exceptions
        raise IssuerError("the file has no certificate request in PEM") from None
    if not good:
        raise IssuerError("the request is not signed by its own key")
    hierarchy.check_name(chains.common_name(asked))
    if len(list(asked.subject)) == 0:
        raise IssuerError("the request has no name for the CA")
    return asked


def _key_of(
    asked: x509.CertificateSigningRequest | x509.Certificate,
) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    key = asked.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise IssuerError("a CA key is EC or RSA; make the CA with one of these")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise IssuerError(f"an RSA key of a CA has {MIN_RSA_BITS} bits or more; make a new one")
    return key


def _check_path(root: x509.Certificate, bounds: Bounds) -> None:
    """The path length below must be smaller than that of the CA above (RFC 5280 section 4.2.1.9)."""
    above = root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    if above is None:
        return
    if bounds.path_length is None or bounds.path_length >= above:
        name = chains.common_name(root)
        raise IssuerError(f"{name!r} has path length {above}: a CA under it may have {above - 1} at most")


def _keep(directory: Path, certificate: x509.Certificate) -> None:
    """Keep a copy of what the root signed, before it leaves: whoever revokes it one day needs its serial."""
    kept = directory / SIGNED
    with files.reporting(directory), files.locked(directory):
        kept.mkdir(mode=0o700, exist_ok=True)
        files.write(
            kept / f"{certificate.serial_number:x}.pem", certificate.public_bytes(Encoding.PEM), files.PUBLIC
        )
