"""The keys of further issuers, a directory each below ``issuers/`` of the state directory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.issuance import chains, files, offline
from certctl.issuance.issuer import IssuerError, StatusUrls
from certctl.issuance.local import LocalCA
from certctl.issuance.passphrase import Passphrase
from certctl.issuance.status import LocalStatusSigner

DIRECTORY = "issuers"
KEY = "key.pem"
CHAIN = "chain.pem"  # a copy of what the database has, for people
ROOT = "root.pem"  # the same


class KeyDirectory:
    """A Keyring of files."""

    def __init__(
        self, state: Path, urls: Callable[[str], StatusUrls | None], passphrase: Passphrase | None = None
    ) -> None:
        self._state = state
        self._urls = urls
        self._passphrase = passphrase

    def request(self, issuer_id: str, common_name: str, algorithm: str) -> bytes:
        """Make an issuer's key, unless there is one, and return a CSR; raise IssuerError."""
        place = self._place(issuer_id)
        with files.reporting(self._state), files.locked(self._state):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = offline.first_request(place / KEY, common_name, algorithm, self._passphrase)
        return made.public_bytes(Encoding.DER)

    def wrong(self, issuer_id: str, certificate: bytes) -> str | None:
        """A sentence if the key that lies here is another's; None if it is the right one, or if there is none."""
        path = self._place(issuer_id) / KEY
        if not path.exists():
            return None
        record = f"the database's record of issuer {issuer_id}"
        try:
            chains.check_pair(
                files.read_key(path, self._passphrase),
                path,
                x509.load_der_x509_certificate(certificate),
                record,
            )
        except IssuerError as error:
            return str(error)
        return None

    def open(
        self, issuer_id: str, chain: tuple[bytes, ...], root: bytes | None, now: datetime
    ) -> tuple[LocalCA, LocalStatusSigner]:
        """Return what signs for an issuer with the key that lies here; raise IssuerError."""
        path = self._place(issuer_id) / KEY
        if not path.exists():
            raise IssuerError(
                f"{path}: this server has no key of issuer {issuer_id}; copy {path.parent} from one that has"
            )
        certificates = [x509.load_der_x509_certificate(each) for each in chain]
        above = [] if root is None else [x509.load_der_x509_certificate(root)]
        ca = LocalCA.of(
            issuer_id,
            files.read_key(path, self._passphrase),
            [*certificates, *above],
            now=now,
            key_path=path,
            path=f"the database's record of issuer {issuer_id}",
        ).publishing(self._urls(issuer_id))
        self._show(path.with_name(CHAIN), certificates)
        self._show(path.with_name(ROOT), above)
        return ca, LocalStatusSigner(ca, self._state, self._passphrase)

    def _place(self, issuer_id: str) -> Path:
        return self._state / DIRECTORY / issuer_id

    def _show(self, path: Path, certificates: list[x509.Certificate]) -> None:
        """Write certificates where administrators look for them."""
        content = b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
        if content and not (path.exists() and path.read_bytes() == content):
            with files.reporting(self._state), files.locked(self._state):
                files.write(path, content, files.PUBLIC)
