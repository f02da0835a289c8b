"""Whether a chain is what was asked for: names, public key, each signature up to a known root."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks.keys import Wanted


class WrongCertificate(Exception):
    """A certificate is not the one that was asked for, or its chain does not hold."""


def roots_of(pem: bytes | None) -> list[x509.Certificate]:
    """Return the certificates of a PEM file; none for None."""
    return x509.load_pem_x509_certificates(pem) if pem else []


def check_leaf(leaf: x509.Certificate, want: Wanted) -> None:
    """Raise WrongCertificate unless the names and the key are those that were asked for."""
    extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    names = extension.value.get_values_for_type(x509.DNSName)
    if sorted(names) != sorted(want.names):
        raise WrongCertificate(f"asked for {want.names}, got {names}")
    if leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != want.public_key:
        raise WrongCertificate(f"the certificate of {want.names} has another public key")


def check_chain(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> bool:
    """Check each signature by the next certificate, and the last one by a root.

    Return whether a root was reached, which is not asked where none is given. Raise WrongCertificate for a
    signature that does not hold, or a chain that does not end in one of the roots given.
    """
    for subject, issuer in pairwise(chain):
        if not _issued_by(subject, issuer):
            raise WrongCertificate(f"{subject.subject} was not signed by {issuer.subject}")
    if not roots:
        return False
    if not any(chain[-1] == root or _issued_by(chain[-1], root) for root in roots):
        raise WrongCertificate(f"the chain ends in {chain[-1].issuer}, which is no given root")
    return True


def _issued_by(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def check(pem: bytes, want: Wanted, roots: Sequence[x509.Certificate]) -> bool:
    """Check a chain as it was downloaded; return whether it reached a root, raise WrongCertificate."""
    chain = x509.load_pem_x509_certificates(pem)
    check_leaf(chain[0], want)
    return check_chain(chain, roots)
