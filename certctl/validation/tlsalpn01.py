"""tls-alpn-01 (RFC 8737, RFC 8738 section 6): a certificate shown in a handshake that serves nothing else."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Any

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID
from OpenSSL import SSL, crypto
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from certctl.acme.challenges import tlsalpn01_digest, tlsalpn01_server_name
from certctl.acme.identifiers import Identifier, IdentifierType
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.attempt import Attempt, Evidence, Limits, Transient, printable, within
from certctl.validation.wire import Creator, Dialler, Wire, tls_context

ALPN = b"acme-tls/1"  # RFC 8737 section 4
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")  # RFC 8737 section 6.1
DRAFT_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.30.1")  # of draft-ietf-acme-tls-alpn-01, long gone

_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@attrs.frozen
class Shown:
    """What the peer showed in the handshake."""

    protocol: bytes | None
    certificate: bytes | None  # DER


def judge_certificate(der: bytes, identifier: Identifier, key_authorization: str) -> None:
    """Return if the certificate shows control of ``identifier`` (RFC 8737 section 3); raise Problem if not.

    Exactly one name, the identifier, and a critical acmeIdentifier with the digest of the key authorization.
    Dates, signature and chain say nothing here and are not looked at (RFC 8737 section 4).
    """
    try:
        extensions = x509.load_der_x509_certificate(der).extensions
        alternatives = [
            each.value for each in extensions if each.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        ]
        names = [general for each in alternatives for general in each]
        proofs = [each for each in extensions if each.oid == ACME_IDENTIFIER]
        outdated = any(each.oid == DRAFT_IDENTIFIER for each in extensions)
    except _UNREADABLE:
        raise _incorrect("the certificate cannot be read") from None
    if len(names) != 1 or not _names(names[0], identifier):
        shown = printable(", ".join(str(each.value) for each in names).encode("utf-8", "replace"))
        raise _incorrect(f"the certificate is not for {identifier.value} alone but for {shown}")
    if not proofs:
        raise _incorrect(
            "the certificate has " + ("the outdated" if outdated else "no") + " acmeIdentifier extension"
        )
    _judge_proof(proofs[0], key_authorization)


def _judge_proof(proof: x509.Extension[Any], key_authorization: str) -> None:
    if not proof.critical:
        raise _incorrect("the acmeIdentifier extension is not critical")
    octets = proof.value.value
    if len(octets) != 34 or octets[:2] != b"\x04\x20":  # OCTET STRING (SIZE (32)) in DER has this one header
        raise _incorrect("the acmeIdentifier extension does not hold an OCTET STRING of 32 bytes")
    if not hmac.compare_digest(octets[2:], tlsalpn01_digest(key_authorization)):
        raise _incorrect(f"the acmeIdentifier extension holds another digest: {octets[2:].hex()}")


def _names(general: x509.GeneralName, identifier: Identifier) -> bool:
    """Compare DNS names without regard to case (RFC 8737 section 3), addresses by their bytes (RFC 8738
    section 6).
    """
    if identifier.type is IdentifierType.IP:
        return isinstance(general, x509.IPAddress) and general.value == ipaddress.ip_address(identifier.value)
    name = general.value if isinstance(general, x509.DNSName) else ""
    return name.isascii() and name.lower() == identifier.value


def judge_shown(shown: Shown, identifier: Identifier, key_authorization: str) -> None:
    """Return if protocol and certificate are right; raise Problem if not."""
    if shown.protocol != ALPN:
        agreed = printable(shown.protocol) if shown.protocol else "none"
        raise _incorrect(f"the protocol agreed on is {agreed} and not acme-tls/1")
    if shown.certificate is None:
        raise _incorrect("no certificate was shown")
    judge_certificate(shown.certificate, identifier, key_authorization)


def _incorrect(words: str) -> Problem:
    return Problem(ProblemType.INCORRECT_RESPONSE, words)


@attrs.frozen
class TLSALPN01:
    """Validates by tls-alpn-01."""

    _reactor: Any
    _dialler: Dialler
    _port: int
    _limits: Limits
    _context: SSL.Context = attrs.field(factory=lambda: tls_context(ALPN))

    async def validate(self, attempt: Attempt) -> Evidence:
        """Shake hands and look at the certificate; see ``Validator.validate``."""
        attempt.check_type()

        def late() -> Problem:
            return Transient(
                ProblemType.CONNECTION,
                f"tls-alpn-01 for {attempt.identifier.value} did not end within {self._limits.total:g} s",
            )

        return await within(self._reactor, self._limits.total, self._look(attempt), late)

    async def _look(self, attempt: Attempt) -> Evidence:
        wire = await self._dialler.wire(attempt.identifier, self._port, attempt.network)

        def late() -> Problem:
            what = f"no TLS handshake with {wire.dialled}" if wire.dialled else "no connection"
            return Transient(
                ProblemType.CONNECTION, f"{attempt.identifier.value}: {what} within {self._limits.hop:g} s"
            )

        shown = await within(self._reactor, self._limits.hop, self._shake(attempt, wire), late)
        try:
            judge_shown(shown, attempt.identifier, attempt.key_authorization)
        except Problem as wrong:
            raise Problem(wrong.type, f"{wire.dialled} port {self._port}: {wrong.detail}") from None
        return Evidence(wire.dialled, None, "acme-tls/1 and the digest of the key authorization")

    async def _shake(self, attempt: Attempt, wire: Wire) -> Shown:
        """The connection is closed right after the handshake (RFC 8737 section 4)."""
        creator = Creator(self._context, tlsalpn01_server_name(attempt.identifier))
        endpoint = wrapClientTLS(creator, wire, clock=self._reactor)
        where = f"{attempt.identifier.value}, port {self._port}"
        try:
            async with wire:
                listener = await endpoint.connect(Factory.forProtocol(_Listener))
                assert isinstance(listener, _Listener)
                return await listener.shown
        except SSL.Error as failure:
            raise Problem(
                ProblemType.TLS, f"{where}: the TLS handshake with {wire.dialled} failed{_reason(failure)}"
            ) from None
        except error.ConnectionClosed:
            if wire.overrun:
                raise Problem(
                    ProblemType.TLS, f"{where}: {wire.dialled} sent more than a handshake may have"
                ) from None
            raise Transient(
                ProblemType.CONNECTION,
                f"{where}: {wire.dialled} closed the connection during the TLS handshake",
            ) from None


def _reason(failure: SSL.Error) -> str:
    """The TLS library's few words, such as "unsupported protocol" or the peer's alert."""
    errors = failure.args[0] if failure.args else ()
    words = [str(each[2]) for each in errors if isinstance(each, tuple) and len(each) == 3 and each[2]]
    return f": {words[0][:60]}" if words else ""


@implementer(IHandshakeListener)
class _Listener(Protocol):
    """Notes what the handshake showed. Data that follows is dropped."""

    def __init__(self) -> None:
        self.shown: Deferred[Shown] = Deferred()

    def handshakeCompleted(self) -> None:
        if self.shown.called:
            return
        transport: Any = self.transport
        certificate = transport.getPeerCertificate()
        der = None if certificate is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        self.shown.callback(Shown(transport.negotiatedProtocol, der))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.shown.called:
            self.shown.errback(reason)
