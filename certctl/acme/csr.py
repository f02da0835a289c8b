"""Certificate signing requests (RFC 2986) as RFC 8555 section 7.4 uses them: what one asks for, if it fits.

Only the key, the names, the common name and must-staple are read. A certificate is built from the order,
never from what stands in the CSR.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier

from certctl.acme import keys
from certctl.acme.encoding import from_base64url
from certctl.acme.identifiers import Identifier, IdentifierError, dns_name, ip_address
from certctl.acme.problems import Problem, ProblemType

MAX_CSR = 32 * 1024  # octets of DER: a hundred names of 253 characters and a key and signature of RSA 8192
NAMES_TOLD = 5  # of those that are missing or too many
# No MD5 (RFC 6151), no SHA-1 (RFC 6194, RFC 9155): what can be forged shows no possession of the key.
_HASHES = frozenset({"sha256", "sha384", "sha512"})
_EXTENSION_REQUESTS = frozenset(
    {
        ObjectIdentifier("1.2.840.113549.1.9.14"),  # RFC 2985 section 5.4.2
        ObjectIdentifier("1.3.6.1.4.1.311.2.1.14"),  # Microsoft's own
    }
)


@attrs.frozen
class CertificateRequest:
    """What a CSR asks for."""

    public_key: keys.Key
    names: frozenset[Identifier]  # of the SAN and of the common name
    common_name: str | None  # canonical if it is an identifier, as it came if not
    must_staple: bool  # RFC 7633


def parse(text: str) -> CertificateRequest:
    """Return what a base64url DER CSR asks for; raise Problem badCSR if it is not good, whatever it is."""
    try:
        der = from_base64url(text)
    except ValueError as error:
        raise _bad(f"{error}; it is sent as DER (RFC 8555 section 7.4)") from None
    if len(der) > MAX_CSR:
        raise _bad(f"it has more than {MAX_CSR} octets")
    try:
        return _read(x509.load_der_x509_csr(der))
    except Problem:
        raise
    except Exception:  # the library decodes piece by piece, and each piece fails in its own way
        raise _bad("it, or a part of it, is not well-formed ASN.1 of a known kind") from None


def judge(
    request: CertificateRequest, identifiers: Collection[Identifier], account_key: keys.Key | None
) -> None:
    """Raise Problem badCSR unless ``request`` is for exactly these identifiers and a key of its own.

    RFC 8555 section 7.4: "the exact same set of requested identifiers"; section 11.1: the account's key is
    not to be a certificate's.
    """
    ordered = frozenset(identifiers)
    if missing := ordered - request.names:
        raise _bad(f"it lacks names of the order: {_listed(missing)}")
    if added := request.names - ordered:
        raise _bad(f"it has names that are not in the order: {_listed(added)}")
    if request.common_name is not None and request.common_name not in {each.value for each in ordered}:
        raise _bad("its common name is not a name of the order")
    if request.public_key == account_key:
        raise _bad("its key is the account's key; a certificate has a key of its own")


def _read(request: x509.CertificateSigningRequest) -> CertificateRequest:
    key = _key(request)
    _check_attributes(request)
    _check_extensions(request.extensions)
    names = _alternative_names(request.extensions)
    common_name = _common_name(request.subject)
    named = _named(common_name) if common_name is not None else None
    _check_signature(request)
    return CertificateRequest(
        public_key=key,
        names=names | {named} if named else names,
        common_name=named.value if named else common_name,
        must_staple=_must_staple(request.extensions),
    )


def _key(request: x509.CertificateSigningRequest) -> keys.Key:
    key = request.public_key()
    try:
        return keys.check_key(key)
    except ValueError as error:
        raise _bad(f"its key is refused: {error}") from None


def _check_signature(request: x509.CertificateSigningRequest) -> None:
    """Refuse a CSR that the owner of the key did not sign (RFC 2986 section 3)."""
    hashed = request.signature_hash_algorithm
    if hashed is not None and hashed.name not in _HASHES:
        raise _bad(f"it is signed with {hashed.name}; SHA-256, SHA-384 and SHA-512 are accepted")
    if not request.is_signature_valid:
        raise _bad("its signature does not verify")


def _check_attributes(request: x509.CertificateSigningRequest) -> None:
    if sum(each.oid in _EXTENSION_REQUESTS for each in request.attributes) > 1:
        raise _bad("it requests extensions twice")


def _check_extensions(extensions: x509.Extensions) -> None:
    """Refuse the request for a CA certificate, which would be answered by something else (section 7.4)."""
    for extension in extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            raise _bad("it requests a CA certificate")


def _alternative_names(extensions: x509.Extensions) -> frozenset[Identifier]:
    try:
        extension = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(map(_alternative_name, extension.value))


def _alternative_name(name: x509.GeneralName) -> Identifier:
    """Return the identifier of a name (RFC 8555 section 7.4, RFC 8738 section 3)."""
    try:
        match name:
            case x509.DNSName():
                return dns_name(name.value)
            case x509.IPAddress():
                return ip_address(str(name.value))
    except IdentifierError as error:
        raise _bad(f"a name in it is refused: {error}") from None
    raise _bad("it requests names that are neither DNS names nor IP addresses")


def _common_name(subject: x509.Name) -> str | None:
    """Return the subject's common name; some clients send an empty one where they mean none."""
    attributes = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(attributes) > 1:
        raise _bad("it has several common names")
    return str(attributes[0].value) or None if attributes else None


def _named(common_name: str) -> Identifier | None:
    """Return the identifier that a common name spells, if it spells one."""
    try:
        return ip_address(str(ipaddress.ip_address(common_name)))
    except ValueError:
        pass
    try:
        return dns_name(common_name)
    except IdentifierError:
        return None


def _must_staple(extensions: x509.Extensions) -> bool:
    try:
        features = extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in features


def _listed(identifiers: Collection[Identifier]) -> str:
    told = ", ".join(each.value for each in sorted(identifiers)[:NAMES_TOLD])
    return f"{told} and {len(identifiers) - NAMES_TOLD} more" if len(identifiers) > NAMES_TOLD else told


def _bad(detail: str) -> Problem:
    return Problem(ProblemType.BAD_CSR, f"the CSR is refused: {detail}")
