"""The audit trail's witness: a key that signs the end of its chain, and a file of what it signed, beside the database.

Who can write to the database alone can forge neither. The file is what the server itself holds against the database.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from certctl.acme.audit_chain import Batch, Checkpoint, Damaged, checkpoint_of
from certctl.issuance.files import SECRET, locked, reporting, secret, write
from certctl.issuance.issuer import IssuerError

KEY = "audit-key.pem"
CHECKPOINTS = "audit-checkpoints.jsonl"
_TAIL = 4096  # octets; a line has some 400


class Witness:
    """Signs what the chain is, and remembers it."""

    def __init__(self, key: Ed25519PrivateKey, file: Path) -> None:
        self._key = key
        self._file = file
        self.public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def open(cls, directory: Path) -> Witness:
        """Return the witness whose key is in the state directory, made if it is not; raise IssuerError."""
        with reporting(directory), locked(directory):
            path = directory / KEY
            if not path.exists():
                pem = Ed25519PrivateKey.generate().private_bytes(
                    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
                )
                write(path, pem, SECRET)
        return cls(read_key(path), directory / CHECKPOINTS)

    def sign(self, batch: Batch, now: datetime) -> Checkpoint:
        """Sign the chain up to a batch."""
        return Checkpoint.over(batch, self._key, now)

    def remember(self, checkpoint: Checkpoint) -> None:
        """Append a checkpoint to the file; raise OSError if that cannot be."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._file, flags, SECRET)
        try:
            if (
                os.geteuid() == 0
            ):  # an operator's command may be the first, and the server must be able to go on
                owner = self._file.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            torn = (size := os.fstat(descriptor).st_size) and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, ("\n" * bool(torn) + checkpoint.line()).encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def last(self) -> Checkpoint | None:
        """What was remembered last; None if there is nothing."""
        try:
            with self._file.open("rb") as file:
                file.seek(max(0, self._file.stat().st_size - _TAIL))
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            return None
        for line in reversed(lines):
            try:
                return checkpoint_of(json.loads(line))
            except (ValueError, TypeError, Damaged):  # the first is cut, the last may be torn
                continue
        return None


def read_key(path: Path) -> Ed25519PrivateKey:
    """Return the key in a file; raise IssuerError if there is none that can be used."""
    with reporting(path.parent):
        content = path.read_bytes()
        if not secret(path):
            raise IssuerError(
                f"{path}: this key is open to other users of the machine; run: chmod 600 {path}"
            )
    try:
        key = load_pem_private_key(content, password=None)
    except Exception:  # malformed ASN.1 has many exceptions
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise IssuerError(f"{path}: this is not an Ed25519 key in PEM; put back the audit trail's key")
    return key
