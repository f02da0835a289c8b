"""Dials what was judged, and nothing else; bounds what comes back; closes whatever the peer does."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import Any, Protocol

import attrs
from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import ClientFactory
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from certctl.acme.identifiers import Identifier, IdentifierType
from certctl.acme.problems import ProblemType
from certctl.validation.addresses import AddressDenied, Network, Resolvers
from certctl.validation.attempt import Transient
from certctl.validation.special_purpose import IPAddress

MAX_TARGETS = 4  # addresses tried for one name; RFC 8555 section 8.3 asks for one at least
MAX_BYTES = 64 * 1024  # received over one connection, TLS handshake included; honest ones have a tenth of it
CLOSE_SECONDS = 1.0  # for the last bytes of ours to leave before the connection is reset


class Lookup(Protocol):
    """What the choice of addresses needs of a resolver."""

    async def addresses(self, name: str, resolvers: Resolvers) -> tuple[IPAddress, ...]:
        """Return the addresses of ``name``, IPv6 first; raise Problem if there are none to be had."""


@attrs.frozen
class Dialler:
    """Turns an identifier into a Wire to addresses that the egress policy allows."""

    _reactor: Any
    _lookup: Lookup
    connect_seconds: float = 3.0

    async def wire(self, host: Identifier, port: int, network: Network) -> Wire:
        """Look ``host`` up once, judge every address, and return a Wire to those that are allowed.

        An address identifier is not looked up (RFC 8738 section 4). Raises AddressDenied if no address is
        left.
        """
        targets = permitted(host.value, await self._addresses(host, network), network)
        return Wire(self._reactor, targets, port, self.connect_seconds, name=host.value)

    async def _addresses(self, host: Identifier, network: Network) -> tuple[IPAddress, ...]:
        if host.type is IdentifierType.IP:
            return (ipaddress.ip_address(host.value),)
        return await self._lookup.addresses(host.value, network.resolvers)


def permitted(name: str, addresses: Iterable[IPAddress], network: Network) -> tuple[IPAddress, ...]:
    """Return the allowed ones, IPv6 and IPv4 in turn, MAX_TARGETS at most; raise the first AddressDenied if
    none is.
    """
    allowed: list[IPAddress] = []
    denied: list[AddressDenied] = []
    for address in addresses:
        try:
            network.egress.judge(address)
        except AddressDenied as refusal:
            denied.append(refusal)
        else:
            allowed.append(address)
    if denied and not allowed:
        raise AddressDenied(denied[0].address, denied[0].reason, name)
    six = (each for each in allowed if each.version == 6)
    four = (each for each in allowed if each.version == 4)
    turns = chain.from_iterable(zip_longest(six, four))
    return tuple(each for each in turns if each is not None)[:MAX_TARGETS]


@implementer(IStreamClientEndpoint)
class Wire:
    """An endpoint for one TCP connection, to the first of some judged addresses that accepts it.

    IPv6 goes first and the next address is tried when a connection fails, not when an answer displeases: the
    practice of the public CAs, so that a name with a dead AAAA record can be validated. Use as ``async
    with``: afterwards the socket is closed, and after an exception reset.
    """

    def __init__(
        self,
        reactor: Any,
        targets: tuple[IPAddress, ...],
        port: int,
        seconds: float,
        max_bytes: int = MAX_BYTES,
        name: str = "",
    ) -> None:
        self._reactor = reactor
        self._targets = targets
        self._port = port
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._name = name
        self._metered: Any = None  # the _Metered of the connection that stands
        self.dialled: str | None = None  # the address that accepted the connection

    @property
    def overrun(self) -> bool:
        """Whether the peer sent more than is borne, and was cut off."""
        return self._metered is not None and bool(self._metered.left < 0)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self.open(protocolFactory))

    async def open(self, factory: IProtocolFactory) -> IProtocol:
        """Return a protocol of ``factory`` over a connection; raise Transient if no address accepts one."""
        failures = []
        for target in self._targets:
            try:
                self._metered = await self._dial(target, factory)
            except error.ConnectError as failure:
                failures.append(f"{target} port {self._port}: {self._words(failure)}")
            else:
                self.dialled = str(target)
                wrapped: IProtocol = self._metered.wrappedProtocol
                return wrapped
        asked = f"{self._name}: " if self._name not in map(str, self._targets) else ""
        raise Transient(ProblemType.CONNECTION, f"{asked}could not connect to {'; '.join(failures)}")

    def _dial(self, target: IPAddress, factory: IProtocolFactory) -> Deferred[_Metered]:
        """Twisted asks no resolver for the text of an address."""
        metering = _Metering(factory, self._max_bytes, self._reactor)
        self._reactor.connectTCP(str(target), self._port, metering, timeout=self._seconds)
        return metering.dialled

    def _words(self, failure: error.ConnectError) -> str:
        if isinstance(failure, error.ConnectionRefusedError):
            return "connection refused"
        if isinstance(failure, error.TimeoutError):
            return f"no answer within {self._seconds:g} s"
        return "unreachable"

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._metered is not None:
            await self._metered.close(politely=kind is None)


class _Metered(ProtocolWrapper):
    """Lets only so many bytes through, and can be waited for."""

    transport: Any
    factory: Any

    def __init__(self, factory: Any, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self.left = factory.max_bytes
        self._lost = False
        self._waiting: list[Deferred[None]] = []

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        if self.factory.dialled.called:  # nobody waits for it any more
            transport.abortConnection()
        else:
            self.factory.dialled.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            self.transport.abortConnection()
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._lost = True
        super().connectionLost(reason)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def _gone(self) -> Deferred[None]:
        gone: Deferred[None] = Deferred()
        if self._lost:
            gone.callback(None)
        else:
            self._waiting.append(gone)
        return gone

    async def close(self, *, politely: bool) -> None:
        """Return when the socket is gone: at once, or a moment later if the peer does not take our last
        bytes.
        """
        try:
            if politely and not self._lost:
                self.transport.loseConnection()
                await self._gone().addTimeout(CLOSE_SECONDS, self.factory.clock)
        except DeferredTimeout:
            pass
        finally:
            if not self._lost:
                self.transport.abortConnection()
        await self._gone()


class _Metering(ClientFactory):
    """Makes one such protocol, and tells when it is connected or why it cannot be."""

    noisy = False

    def __init__(self, wrapped: IProtocolFactory, max_bytes: int, clock: Any) -> None:
        self._wrapped = wrapped
        self._connector: Any = None
        self.max_bytes = max_bytes
        self.clock = clock
        self.dialled: Deferred[_Metered] = Deferred(self._cancel)

    def startedConnecting(self, connector: Any) -> None:
        self._connector = connector

    def buildProtocol(self, addr: Any) -> _Metered:
        return _Metered(self, self._wrapped.buildProtocol(addr))

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        if not self.dialled.called:
            self.dialled.errback(reason)

    def _cancel(self, dialled: Deferred[_Metered]) -> None:
        dialled.errback(CancelledError())  # first, or it would be one more connection that failed
        self._connector.disconnect()

    def registerProtocol(self, protocol: object) -> None:
        """Nothing to note: there is one."""

    def unregisterProtocol(self, protocol: object) -> None:
        """Nothing was noted."""


def tls_context(alpn: bytes | None = None) -> SSL.Context:
    """Return a client's context: TLS 1.2 or newer (RFC 8737 section 4), nothing verified, no finite-field
    DHE.

    The peer chooses the group of a finite-field exchange, and with it how long we compute.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_cipher_list(b"DEFAULT:!kDHE:!aNULL:!eNULL:!PSK:!SRP")
    if alpn is not None:
        context.set_alpn_protos([alpn])
    return context


@implementer(IOpenSSLClientConnectionCreator)
@attrs.frozen
class Creator:
    """Makes the TLS side of a connection, with ``server_name`` as its SNI if there is one."""

    _context: SSL.Context
    _server_name: str | None

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name.encode("ascii"))
        return connection
