"""Private keys under a passphrase: PKCS #8 with PBES2 (RFC 8018 section 6.2), as openssl reads and writes them."""

from __future__ import annotations

import base64
import hashlib
import secrets
from pathlib import Path
from typing import Self

import attrs
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from certctl.issuance.der import OCTET_STRING, SEQUENCE, integer, oid, tlv
from certctl.issuance.issuer import IssuerError

ROUNDS = 600_000  # of PBKDF2 with SHA-256: OWASP's number of 2023, some 0.2 s a key, once at each start
MOST = 1024  # octets of a passphrase; PEM readers stop there
_SALT = 16
_KEY = 32
_BLOCK = 16
_PBES2, _PBKDF2 = "1.2.840.113549.1.5.13", "1.2.840.113549.1.5.12"
_HMAC_SHA256, _AES256_CBC = "1.2.840.113549.2.9", "2.16.840.1.101.3.4.1.42"
_NULL = b"\x05\x00"


@attrs.frozen
class Passphrase:
    """What opens private keys, and the file it came from."""

    octets: bytes = attrs.field(repr=False)
    source: Path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the passphrase in a file, which is all of it but a line's end; raise IssuerError."""
        try:
            octets = path.read_bytes().removesuffix(b"\n").removesuffix(b"\r")
        except OSError as error:
            raise IssuerError(
                f"{path}: the passphrase of the CA's keys cannot be read ({error.strerror}); put it there, or name"
                " the right file in CERTCTL_CA_PASSPHRASE_FILE"
            ) from error
        if not 1 <= len(octets) <= MOST or b"\n" in octets:
            raise IssuerError(
                f"{path}: a passphrase is one line of 1 to {MOST} octets; openssl rand -base64 32 makes a good one"
            )
        return cls(octets, path)

    def sealed(self, pkcs8: bytes) -> bytes:
        """Return the PEM of a private key (DER of PKCS #8) under the passphrase."""
        salt, vector = secrets.token_bytes(_SALT), secrets.token_bytes(_BLOCK)
        key = hashlib.pbkdf2_hmac("sha256", self.octets, salt, ROUNDS, _KEY)
        padder = padding.PKCS7(_BLOCK * 8).padder()
        cipher = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
        sealed = cipher.update(padder.update(pkcs8) + padder.finalize()) + cipher.finalize()
        function = tlv(SEQUENCE, oid(_HMAC_SHA256), _NULL)
        derived = tlv(SEQUENCE, tlv(OCTET_STRING, salt), integer(ROUNDS), function)
        scheme = tlv(SEQUENCE, oid(_AES256_CBC), tlv(OCTET_STRING, vector))
        parameters = tlv(SEQUENCE, tlv(SEQUENCE, oid(_PBKDF2), derived), scheme)
        whole = tlv(SEQUENCE, tlv(SEQUENCE, oid(_PBES2), parameters), tlv(OCTET_STRING, sealed))
        lines = base64.encodebytes(whole).decode("ascii").replace("\n", "")
        wrapped = "".join(lines[at : at + 64] + "\n" for at in range(0, len(lines), 64))
        return (
            f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{wrapped}-----END ENCRYPTED PRIVATE KEY-----\n".encode()
        )
