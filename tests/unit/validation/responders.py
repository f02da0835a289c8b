"""The other side of a validation, in this process and on loopback: a web server, a TLS server, a DNS
server.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from certctl.acme.challenges import tlsalpn01_digest
from certctl.acme.identifiers import Identifier, dns_name, ip_address
from certctl.acme.objects import ChallengeType
from certctl.validation.addresses import EgressPolicy, Network, Resolvers
from certctl.validation.attempt import Attempt, Limits
from certctl.validation.tlsalpn01 import ACME_IDENTIFIER

reactor: Any = installed

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
KEY_AUTHORIZATION = TOKEN + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
PATH = f"/.well-known/acme-challenge/{TOKEN}"
SHORT = Limits(connect=0.5, hop=0.6, query=0.3, total=1.5)
NOWHERE = Resolvers.of(["127.0.0.1:9"])  # for validations that ask nobody


def attempt(
    identifier: str,
    kind: ChallengeType,
    resolvers: Resolvers = NOWHERE,
    allow: Iterable[str] = ("127.0.0.1/32", "::1/128"),
    wildcard: bool = False,
) -> Attempt:
    """An attempt whose policy opens loopback, unless told otherwise."""
    text = identifier
    numeric = ":" in text or text.replace(".", "").isdigit()
    return Attempt(
        identifier=ip_address(text) if numeric else dns_name(text),
        wildcard=wildcard,
        type=kind,
        token=TOKEN,
        key_authorization=KEY_AUTHORIZATION,
        network=Network(EgressPolicy.of(allow), resolvers),
    )


class Connection(Protocol):
    """A connection of a responder: counts what comes and hands it on."""

    factory: Any
    transport: Any

    def __init__(self) -> None:
        self.received = b""

    def connectionMade(self) -> None:
        self.factory.connections.append(self)
        self.factory.made(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.factory.got(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.lost(self)


class Responder(Factory):
    """Listens on loopback and does as ``script`` says when a whole HTTP request, or a connection, has
    come.
    """

    protocol = Connection
    noisy = False

    def __init__(
        self,
        script: Callable[[Connection], None] | None = None,
        on_connect: Callable[[Connection], None] | None = None,
    ) -> None:
        self.script = script
        self.on_connect = on_connect
        self.connections: list[Connection] = []
        self.requests: list[bytes] = []
        self.sent = 0
        self._open: set[Connection] = set()
        self._waiting: list[Deferred[None]] = []
        self._calls: list[Any] = []
        self._port: Any = None

    def made(self, connection: Connection) -> None:
        self._open.add(connection)
        if self.on_connect:
            self.on_connect(connection)

    def got(self, connection: Connection) -> None:
        if self.script and b"\r\n\r\n" in connection.received:
            self.requests.append(connection.received)
            connection.received = b""
            self.script(connection)

    def lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not self._open:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    @property
    def lines(self) -> list[str]:
        """The request lines that came."""
        return [each.split(b"\r\n")[0].decode() for each in self.requests]

    def listen(self, test: TestCase, interface: str = "127.0.0.1", context: Any = None) -> int:
        """Listen until the test's end and return the port."""
        if context is None:
            self._port = reactor.listenTCP(0, self, interface=interface)
        else:
            self._port = reactor.listenSSL(0, self, context, interface=interface)
        test.addCleanup(self.stop)
        return int(self._port.getHost().port)

    def later(self, seconds: float, script: Callable[..., object], *args: object) -> None:
        """Call unless the responder is stopped before."""
        self._calls.append(reactor.callLater(seconds, script, *args))

    def repeat(self, connection: Connection, data: bytes, seconds: float = 0.0) -> None:
        """Send the same bytes again and again while the connection stands."""
        if connection in self._open:
            self.sent += len(data)
            connection.transport.write(data)
            self.later(seconds, self.repeat, connection, data, seconds)

    def emptied(self) -> Deferred[None]:
        """Fires when no connection is open."""
        done: Deferred[None] = Deferred()
        if self._open:
            self._waiting.append(done)
        else:
            done.callback(None)
        return done

    def stop(self) -> Deferred[None]:
        for each in list(self._open):
            each.transport.abortConnection()

        for call in self._calls:
            if call.active():
                call.cancel()

        async def stopping() -> None:
            await maybeDeferred(self._port.stopListening)
            await self.emptied()

        return Deferred.fromCoroutine(stopping())


def answering(
    body: bytes, status: bytes = b"200 OK", headers: Sequence[bytes] = ()
) -> Callable[[Connection], None]:
    """A script: one whole HTTP answer."""

    def script(connection: Connection) -> None:
        head = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers, b"", b""]
        connection.transport.write(b"\r\n".join(head) + body)

    return script


def redirecting(*locations: str, status: bytes = b"302 Found") -> Callable[[Connection], None]:
    """A script: each request is sent on, the last place again and again."""
    left = list(locations)

    def script(connection: Connection) -> None:
        location = left.pop(0) if len(left) > 1 else left[0]
        answering(b"", status, [b"Location: " + location.encode()])(connection)

    return script


Zone = Mapping[tuple[str, str], Sequence[str]]


class DNSResponder:
    """A resolver with a zone of records, over UDP and TCP; tests replace ``answer`` to misbehave."""

    def __init__(self, zone: Zone, rcodes: Mapping[str, int] | None = None) -> None:
        self.zone = {(name.lower(), kind): list(texts) for (name, kind), texts in zone.items()}
        self.rcodes = dict(rcodes or {})
        self.asked: list[tuple[str, str, str]] = []  # transport, name, type
        self.sources: list[tuple[int, int]] = []  # query id, source port
        self.truncate = False
        self.silent = False
        self.forge: Callable[[dns.message.Message, dns.message.Message], list[bytes]] | None = None

    def respond(self, wire: bytes, over: str, source: int) -> list[bytes]:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((over, question.name.to_text(omit_final_dot=True).lower(), kind))
        self.sources.append((query.id, source))
        if self.silent:
            return []
        response = self.answer(query, question.name, kind)
        if over == "udp" and (self.truncate or len(response.to_wire(max_size=65535)) > query.payload):
            response.answer.clear()
            response.flags |= dns.flags.TC
        if self.forge is not None:
            return self.forge(query, response)
        return [response.to_wire(max_size=65535)]

    def answer(self, query: Any, name: dns.name.Name, kind: str) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        text = name.to_text(omit_final_dot=True).lower()
        response.set_rcode(dns.rcode.Rcode(self.rcodes.get(text, 0)))
        known = {each for each, _ in self.zone}
        seen: set[str] = set()
        while (text, kind) not in self.zone and (text, "CNAME") in self.zone and text not in seen:
            seen.add(text)
            target = self.zone[text, "CNAME"][0]
            response.answer.append(dns.rrset.from_text(f"{text}.", 60, "IN", "CNAME", f"{target}."))
            text = target
        if (text, kind) in self.zone:
            texts = self.zone[text, kind]
            response.answer.append(dns.rrset.from_text_list(f"{text}.", 60, "IN", kind, texts))
        elif text not in known and not response.rcode():
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    def serve(self, interface: str, port: int = 0) -> tuple[Any, Responder]:
        """Listen on UDP and on the same port of TCP."""
        while True:
            udp = reactor.listenUDP(port, _UDP(self), interface=interface)
            stream = Responder()
            stream.protocol = _TCP  # type: ignore[assignment]
            stream.dns = self  # type: ignore[attr-defined]
            try:
                stream._port = reactor.listenTCP(udp.getHost().port, stream, interface=interface)
            except CannotListenError:
                udp.stopListening()
                if port:
                    raise
            else:
                return udp, stream

    def listen(self, test: TestCase, interface: str = "127.0.0.1") -> str:
        """Listen until the test's end and return ``address:port``."""
        udp, stream = self.serve(interface)
        test.addCleanup(udp.stopListening)
        test.addCleanup(stream.stop)
        port = udp.getHost().port
        return f"[{interface}]:{port}" if ":" in interface else f"{interface}:{port}"


class _UDP(DatagramProtocol):
    noisy = False
    transport: Any

    def __init__(self, responder: DNSResponder) -> None:
        self._responder = responder

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        for each in self._responder.respond(datagram, "udp", addr[1]):
            self.transport.write(each, addr)


class _TCP(Int16StringReceiver):
    noisy = False
    factory: Any
    transport: Any

    def connectionMade(self) -> None:
        self.factory.made(self)

    def stringReceived(self, string: bytes) -> None:
        for each in self.factory.dns.respond(string, "tcp", self.transport.getPeer().port):
            self.sendString(each)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.lost(self)


def acme_identifier(key_authorization: str = KEY_AUTHORIZATION) -> bytes:
    """The value of the extension: an OCTET STRING with the digest."""
    return b"\x04\x20" + tlsalpn01_digest(key_authorization)


KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(
    names: Iterable[x509.GeneralName] | None,
    proof: bytes | None = None,
    *,
    critical: bool = True,
    oid: x509.ObjectIdentifier = ACME_IDENTIFIER,
    extra: Iterable[x509.Extension[Any]] = (),
    expired: bool = False,
) -> x509.Certificate:
    """A self-signed certificate such as a tls-alpn-01 responder shows."""
    now = datetime.datetime.now(datetime.UTC)
    start = now - datetime.timedelta(days=10 if expired else 1)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME challenge")])
    builder = (
        x509.CertificateBuilder(subject, subject, KEY.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=5))
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    if proof is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, proof), critical=critical)
    for each in extra:
        builder = builder.add_extension(each.value, critical=each.critical)
    return builder.sign(KEY, hashes.SHA256())


def general(identifier: Identifier) -> x509.GeneralName:
    """The SAN entry of an identifier."""
    if identifier.type == "ip":
        return x509.IPAddress(ipaddress.ip_address(identifier.value))
    return x509.DNSName(identifier.value)


@implementer(IOpenSSLServerConnectionCreator)
class TLSContext:
    """A server's TLS: one certificate, the protocols it agrees to, the versions it speaks; notes the SNI
    that came.
    """

    def __init__(
        self,
        shown: x509.Certificate,
        protocols: Sequence[bytes] = (b"acme-tls/1",),
        newest: int | None = None,
    ) -> None:
        self.names: list[bytes | None] = []
        self.offered: list[list[bytes]] = []
        self._context = context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(X509.from_cryptography(shown))
        context.use_privatekey(PKey.from_cryptography_key(KEY))
        if newest is not None:
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
            context.set_min_proto_version(SSL.TLS1_VERSION)
            context.set_max_proto_version(newest)
        context.set_tlsext_servername_callback(
            lambda connection: self.names.append(connection.get_servername())
        )

        def select(connection: SSL.Connection, offered: list[bytes]) -> Any:
            self.offered.append(offered)
            return next((each for each in protocols if each in offered), SSL.NO_OVERLAPPING_PROTOCOLS)

        context.set_alpn_select_callback(select)

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return SSL.Connection(self._context, None)
