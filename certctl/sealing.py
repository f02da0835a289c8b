"""Secrets that the database holds sealed, so that who has the database alone cannot read them.

The secret that opens them is a file of the state directory, made at the first start. Servers on one database have the
same file.
"""

from __future__ import annotations

import binascii
import json
import os
import secrets
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FILE = "secret-key"
SECRET = 32  # bytes
_NONCE = 12  # bytes; random, so good for 2^32 sealed values (NIST SP 800-38D section 8.3)
_VERSION = b"\x01"
_MODE = 0o600
_OTHERS = 0o007  # a group is the operator's decision, as with the CA's key


class SealError(Exception):
    """The secret cannot be had, or does not open what it should: one sentence for the operator."""


class Seal:
    """Seals and opens under one secret. The fingerprint tells secrets apart, and tells nothing of them."""

    def __init__(self, secret: bytes) -> None:
        derived = HKDF(hashes.SHA256(), 2 * SECRET, salt=None, info=b"certctl sealing 1").derive(secret)
        self._cipher = AESGCM(derived[:SECRET])
        self.fingerprint = derived[SECRET:].hex()

    @classmethod
    def kept_in(cls, directory: Path) -> Self:
        """The seal of a state directory; its secret is made if there is none yet. Raises SealError."""
        path = directory / FILE
        try:
            if not path.exists():
                _make(path)
            return cls(_read(path))
        except OSError as error:
            raise SealError(f"{path}: {error.strerror}; let the server's user read and write it") from None

    def seal(self, plain: bytes, *bound_to: str) -> bytes:
        """Seal octets with AES-256-GCM; they open only for the same ``bound_to``."""
        nonce = secrets.token_bytes(_NONCE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, plain, _associated(bound_to))

    def open(self, sealed: bytes, *bound_to: str) -> bytes:
        """Return what was sealed; raise SealError if it was sealed under another secret, for another, or changed."""
        version, nonce, rest = sealed[:1], sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        try:
            if version != _VERSION or len(nonce) != _NONCE:
                raise InvalidTag
            return self._cipher.decrypt(nonce, rest, _associated(bound_to))
        except InvalidTag:
            raise SealError(
                f"what the database holds sealed for {bound_to[-1]} does not open with the {FILE} of this server:"
                " copy that file from the state directory of the server that sealed it"
            ) from None


def _associated(bound_to: tuple[str, ...]) -> bytes:
    return json.dumps(bound_to).encode("ascii")


def _make(path: Path) -> None:
    """Put a new secret there whole or not at all; one that another process made meanwhile stays."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, _MODE), "w") as file:
        file.write(secrets.token_hex(SECRET) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(path: Path) -> bytes:
    if path.stat().st_mode & _OTHERS:
        raise SealError(f"{path}: this secret is open to other users of the machine; run: chmod 600 {path}")
    try:
        secret = binascii.unhexlify(path.read_bytes().strip())
    except binascii.Error:
        secret = b""
    if len(secret) != SECRET:
        raise SealError(
            f"{path}: this is not the secret that the server made ({2 * SECRET} hexadecimal digits); put it back"
        )
    return secret
