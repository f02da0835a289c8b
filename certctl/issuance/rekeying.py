"""Keys that lie on this host, put under a passphrase or under another one: all of them, and each whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certctl.issuance import files
from certctl.issuance.files import KeyLocked, SigningKey
from certctl.issuance.issuer import IssuerError
from certctl.issuance.passphrase import Passphrase

# In a state directory: root, issuing CA, further issuers, OCSP responders.
_WHERE = ("*-ca-key.pem", "issuers/*/key.pem", "ocsp-*.pem")


def key_files(state: Path, operators: Path | None = None) -> list[Path]:
    """The files of this host that have the private key of a CA or of an OCSP responder."""
    found = [path for pattern in _WHERE for path in sorted(state.glob(pattern))]
    if operators is not None and operators.exists():
        found.append(operators)
    return [each.resolve() for each in found]


@attrs.frozen
class _Opened:
    """A file that is to be written anew."""

    path: Path
    content: bytes
    key: SigningKey

    def write(self, passphrase: Passphrase) -> None:
        """Put the key under the passphrase, and all else of the file as it is; of the same owner and mode."""
        sealed = files.key_pem(self.key, passphrase)
        opened = files.open_key(sealed, passphrase)
        if opened.public_key() != self.key.public_key():
            raise AssertionError(f"{self.path}: what was sealed is not the key")
        files.rewrite(self.path, self.content.replace(files.key_of(self.content), sealed))


def encrypt(
    state: Path, paths: Sequence[Path], passphrase: Passphrase, old: Passphrase | None = None
) -> list[Path]:
    """Put the keys in these files under a passphrase; return those that were not yet.

    Keys in the clear, and keys under ``old``. Raises IssuerError, with nothing written, if one cannot be opened. A
    crash leaves each file as it was or as it shall be; the same again does the rest.
    """
    with files.reporting(state), files.locked(state):
        opened = list(_opened(paths, passphrase, old))
        for each in opened:
            each.write(passphrase)
    return [each.path for each in opened]


def _opened(paths: Sequence[Path], passphrase: Passphrase, old: Passphrase | None) -> Iterator[_Opened]:
    for path in paths:
        content = path.read_bytes()
        pem = files.key_of(content)
        if files.is_encrypted(pem) and _opens(pem, passphrase):
            continue
        try:
            key = files.open_key(pem, passphrase if old is None else old)
        except KeyLocked as error:
            raise IssuerError(f"{path}: {error}") from None
        except Exception:  # malformed ASN.1 has many exceptions
            raise IssuerError(
                f"{path}: there is no private key in PEM; put back what belongs there"
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise IssuerError(f"{path}: a CA key is EC or RSA; put back what belongs there")
        yield _Opened(path, content, key)


def _opens(pem: bytes, passphrase: Passphrase) -> bool:
    try:
        files.open_key(pem, passphrase)
    except KeyLocked:
        return False
    return True
