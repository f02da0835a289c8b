"""Keys and certificates as files: never half written, never readable by others for a moment."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from certctl.issuance.issuer import IssuerError
from certctl.issuance.passphrase import Passphrase

SECRET = 0o600
PUBLIC = 0o644
OTHERS = 0o007  # a group is the operator's decision: ssl-cert on Debian, fsGroup on Kubernetes
MIN_RSA_BITS = 2048
LOCK = "ca.lock"

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Make the directory (0700) if need be, and keep other processes from writing keys into it meanwhile."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, SECRET)
    try:
        if (owner := for_owner(directory)) is not None:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # and with it goes the lock, as it does when the process dies


def for_owner(directory: Path) -> os.stat_result | None:
    """Whose root's files are to be: the owner's of the directory, as the server may run as another user than root."""
    return directory.stat() if os.geteuid() == 0 else None


@contextmanager
def reporting(directory: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an IssuerError."""
    try:
        yield
    except OSError as error:
        where = error.filename or directory
        raise IssuerError(
            f"{where}: {error.strerror}; the server's user must be able to read and write {directory}"
        ) from error


def rewrite(path: Path, content: bytes) -> None:
    """Do as ``write`` to a file that is there, which keeps its owner and its mode, whoever writes."""
    write(path, content, stat.S_IMODE(path.stat().st_mode), path.stat())


def write(path: Path, content: bytes, mode: int, owner: os.stat_result | None = None) -> None:
    """Put a file there whole or not at all, also across a crash; only under the directory's lock."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)  # what a crash left
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
        if owner is not None:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def key_pem(key: SigningKey, passphrase: Passphrase | None = None) -> bytes:
    """Return a private key as PKCS #8, encrypted if there is a passphrase."""
    if passphrase is not None:
        return passphrase.sealed(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def secret(path: Path) -> bool:
    """Whether nobody but the owner and the group can touch a file."""
    return not path.stat().st_mode & OTHERS


def read_key(path: Path, passphrase: Passphrase | None = None) -> SigningKey:
    """Return the CA key of a PEM file, encrypted or not; raise IssuerError if it is none, or if others may read it."""
    content = _read(path)
    if not secret(path):
        raise IssuerError(f"{path}: this key is open to other users of the machine; run: chmod 600 {path}")
    try:
        key = open_key(content, passphrase)
    except KeyLocked as error:
        raise IssuerError(f"{path}: {error}") from None
    except Exception:  # malformed ASN.1 has many exceptions
        raise IssuerError(f"{path}: this is not a private key in PEM; put back the CA's key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise IssuerError(f"{path}: a CA key is EC or RSA; make the CA with one of these")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < MIN_RSA_BITS:
        raise IssuerError(f"{path}: an RSA key of a CA has {MIN_RSA_BITS} bits or more; make a new CA")
    return key


class KeyLocked(Exception):
    """A key that is encrypted, and cannot be opened; the sentence says why, and the remedy."""


def open_key(pem: bytes, passphrase: Passphrase | None) -> PrivateKeyTypes:
    """Return a private key in PEM, encrypted or not; raise KeyLocked, or anything if it is none."""
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError:
        if passphrase is None:
            raise KeyLocked(
                "the key is encrypted; name the file with its passphrase in CERTCTL_CA_PASSPHRASE_FILE"
            ) from None
    try:
        return load_pem_private_key(pem, password=passphrase.octets)
    except ValueError:
        raise KeyLocked(
            f"the key does not open with the passphrase in {passphrase.source}; put the right one there"
        ) from None


def key_of(pem: bytes) -> bytes:
    """The part of a PEM file that is its private key; empty if it has none."""
    found = re.search(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----\n?", pem, re.DOTALL)
    return b"" if found is None else found[0]


def is_encrypted(pem: bytes) -> bool:
    """Whether a file has an encrypted key: PKCS #8, or what openssl wrote before that."""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem or b"Proc-Type: 4,ENCRYPTED" in pem


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a PEM file, one at least, as they stand there; raise IssuerError."""
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except IssuerError:
        raise
    except Exception:
        raise IssuerError(f"{path}: this is no certificate in PEM; put back the CA's certificate") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise IssuerError(f"{path}: the file is missing; put it back, or name the right one") from None
    except OSError as error:
        raise IssuerError(f"{path}: {error.strerror}; let the server's user read it") from error
