"""The CA with which a server begins, where its root is on another machine: the key and a request, the certificate."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.issuance import chains, files, offline
from certctl.issuance.hierarchy import Files
from certctl.issuance.issuer import IssuerError
from certctl.issuance.passphrase import Passphrase

SENT = "the certificates"


def request(
    directory: Path, common_name: str, algorithm: str, passphrase: Passphrase | None
) -> x509.CertificateSigningRequest:
    """Make the issuing key of a state directory, or find it, and return a CSR; raise IssuerError.

    A CA that stands asks for its renewal under its own name, with the key that it has.
    """
    paths = Files.under(directory)
    with files.reporting(directory), files.locked(directory):
        if not paths.issuing.exists():
            return offline.first_request(paths.issuing_key, common_name, algorithm, passphrase)
        standing = files.read_certificates(paths.issuing)[0]
        key = files.read_key(paths.issuing_key, passphrase)
    return offline.request(key, chains.common_name(standing))


def install(
    directory: Path, pem: bytes, now: datetime, passphrase: Passphrase | None
) -> list[x509.Certificate]:
    """Put a certificate for the issuing key, those above it, and the root into a state directory; raise IssuerError.

    The root is written first, so that a crash leaves nothing that a start would take for a CA. Another root is not
    put in the place of one that is there: clients trust that.
    """
    paths = Files.under(directory)
    try:
        found = x509.load_pem_x509_certificates(pem)
    except Exception:  # malformed ASN.1 has many exceptions
        raise IssuerError(f"{SENT} cannot be read as PEM; give the file that certctl ca sign wrote") from None
    with files.reporting(directory), files.locked(directory):
        chains.check_pair(files.read_key(paths.issuing_key, passphrase), paths.issuing_key, found[0], SENT)
        chains.check_chain(found, SENT, now)
        if len(found) < 2 or not chains.self_signed(found[-1]):
            raise IssuerError(f"{SENT} do not end in a root; add it at the end of the file")
        root = found[-1].public_bytes(Encoding.PEM)
        if paths.root.exists() and files.read_certificates(paths.root)[0] != found[-1]:
            raise IssuerError(
                f"{paths.root}: another root is there; use certctl issuer for a CA under this one"
            )
        files.write(paths.root, root, files.PUBLIC, files.for_owner(directory))
        chain = b"".join(each.public_bytes(Encoding.PEM) for each in found[:-1])
        files.write(paths.issuing, chain, files.PUBLIC, files.for_owner(directory))
    return found
