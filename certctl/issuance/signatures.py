"""Signatures over octets, with the AlgorithmIdentifier that says how they were made (RFC 5280 section 4.1.1.2)."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from certctl.issuance import der
from certctl.issuance.files import SigningKey
from certctl.issuance.hierarchy import signature_hash

_ECDSA = {  # RFC 5758 section 3.2: no parameters
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}
_SHA256_WITH_RSA = "1.2.840.113549.1.1.11"  # RFC 4055 section 5: parameters NULL
_NULL = bytes((der.NULL, 0))


def algorithm(key: SigningKey) -> bytes:
    """Return the DER of the AlgorithmIdentifier of a key's signatures."""
    if isinstance(key, rsa.RSAPrivateKey):
        return der.tlv(der.SEQUENCE, der.oid(_SHA256_WITH_RSA), _NULL)
    return der.tlv(der.SEQUENCE, der.oid(_ECDSA[signature_hash(key).name]))


def signed(key: SigningKey, to_be_signed: bytes, *more: bytes) -> bytes:
    """Return what was to be signed with its signature, as certificates, CRLs and OCSP responses have it.

    ``more`` follows the signature: an OCSP response's certificates.
    """
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(to_be_signed, ec.ECDSA(signature_hash(key)))
    else:
        signature = key.sign(to_be_signed, padding.PKCS1v15(), signature_hash(key))
    return der.tlv(der.SEQUENCE, to_be_signed, algorithm(key), der.bit_string(signature), *more)
