"""http-01 (RFC 8555 section 8.3): a GET that no name, address or redirect can turn on the network behind the
server.
"""

from __future__ import annotations

import hmac
from typing import Any

import attrs
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol, Request
from twisted.web.client import (
    Agent,
    PartialDownloadError,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from certctl import __version__
from certctl.acme.challenges import MAX_KEY_AUTHORIZATION
from certctl.acme.identifiers import IdentifierType
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.attempt import Attempt, Evidence, Limits, Transient, printable, within
from certctl.validation.hops import Hop, Ports, first_hop, next_hop, refused
from certctl.validation.wire import Creator, Dialler, Wire, tls_context

MAX_REDIRECTS = 10  # what the public CAs follow
REDIRECTS = frozenset({301, 302, 303, 307, 308})  # RFC 9110 section 15.4, those that name one place to go to
USER_AGENT = f"certctl-validator/{__version__} (+https://www.rfc-editor.org/rfc/rfc8555#section-8.3)"

_ANY_URL = "http://hop.invalid/"  # for treq; see _Plain


@attrs.frozen(kw_only=True)
class Answer:
    """What came back from a hop, of the body no more than could be a key authorization."""

    status: int
    locations: tuple[bytes, ...]
    body: bytes
    address: str


def judge_answer(answer: Answer, hop: Hop, path: str, key_authorization: str) -> None:
    """Return if the answer holds the key authorization; raise Problem with what it held.

    A status other than 200 means that nothing is there to show control (unauthorized); a body that is not
    the key authorization is a response that "didn't match the challenge's requirements" (incorrectResponse;
    RFC 8555 sections 6.7 and 8.3). The first bytes are shown only while the path is still the challenge's
    own: a redirect could name any path of an internal server, and its content is nobody's business (RFC 8555
    section 10.4).
    """
    shown = (
        printable(answer.body)
        if (hop.path, hop.query) == (path, "")
        else f"{len(answer.body)} bytes, not shown"
    )
    where = f"{hop.url} from {answer.address}"
    if answer.status >= 500:
        raise Transient(ProblemType.UNAUTHORIZED, f"{where}: status {answer.status}: {shown}")
    if answer.status != 200:
        raise Problem(ProblemType.UNAUTHORIZED, f"{where}: status {answer.status}: {shown}")
    judge_body(answer.body, key_authorization, where, shown)


def judge_body(body: bytes, key_authorization: str, where: str, shown: str) -> None:
    """Return if ``body`` is the key authorization, whitespace after it ignored (RFC 8555 section 8.3, step
    4).
    """
    if len(body) > MAX_KEY_AUTHORIZATION:
        raise Problem(
            ProblemType.INCORRECT_RESPONSE,
            f"{where}: more than {MAX_KEY_AUTHORIZATION} bytes came, of them: {shown}",
        )
    if not hmac.compare_digest(body.rstrip(), key_authorization.encode("ascii")):
        raise Problem(ProblemType.INCORRECT_RESPONSE, f"{where}: not the key authorization but {shown}")


@attrs.frozen
class HTTP01:
    """Validates by http-01 (RFC 8555 section 8.3, RFC 8738 section 5)."""

    _reactor: Any
    _dialler: Dialler
    _ports: Ports
    _limits: Limits
    _context: SSL.Context = attrs.field(factory=tls_context)

    async def validate(self, attempt: Attempt) -> Evidence:
        """Fetch the key authorization; see ``Validator.validate``."""
        attempt.check_type()

        def late() -> Problem:
            return Transient(
                ProblemType.CONNECTION,
                f"http-01 for {attempt.identifier.value} did not end within {self._limits.total:g} s",
            )

        return await within(self._reactor, self._limits.total, self._walk(attempt), late)

    async def _walk(self, attempt: Attempt) -> Evidence:
        """Follow the redirects by hand: each hop is looked up, judged and dialled like the first."""
        hop = first_hop(attempt.identifier, attempt.token, self._ports)
        path = hop.path
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._visit(hop, attempt)
            if answer.status not in REDIRECTS:
                judge_answer(answer, hop, path, attempt.key_authorization)
                return Evidence(answer.address, hop.url, "the key authorization")
            hop = next_hop(answer.status, answer.locations, hop, self._ports)
        raise refused(hop, f"more than {MAX_REDIRECTS} redirects")

    async def _visit(self, hop: Hop, attempt: Attempt) -> Answer:
        wire = await self._dialler.wire(hop.host, hop.port, attempt.network)

        def late() -> Problem:
            what = f"no complete answer from {wire.dialled}" if wire.dialled else "no connection"
            return Transient(ProblemType.CONNECTION, f"{hop.url}: {what} within {self._limits.hop:g} s")

        return await within(self._reactor, self._limits.hop, self._fetch(hop, wire), late)

    async def _fetch(self, hop: Hop, wire: Wire) -> Answer:
        try:
            async with wire:
                answer = await self._get(hop, wire)
                if wire.overrun:  # the end that we made is not the answer's end
                    raise _overrun(hop, wire)
                return answer
        except (ResponseFailed, error.ConnectionClosed, SSL.Error, PartialDownloadError) as failure:
            if wire.overrun:
                raise _overrun(hop, wire) from None
            raise _broken(failure, hop, wire) from None

    async def _get(self, hop: Hop, wire: Wire) -> Answer:
        response = await (self._ask_by_treq(hop, wire) if hop.scheme == "https" else _ask(hop, wire))
        locations = tuple(response.headers.getRawHeaders(b"location", ()))
        body = b""
        if response.code not in REDIRECTS:
            reader = _Reader(MAX_KEY_AUTHORIZATION + 1)
            response.deliverBody(reader)
            body = await reader.body
        return Answer(status=response.code, locations=locations, body=body, address=str(wire.dialled))

    async def _ask_by_treq(self, hop: Hop, wire: Wire) -> IResponse:
        """Https is a way and no proof: the certificate is whatever it is, as the challenge only begins there."""
        name = hop.host.value if hop.host.type is IdentifierType.DNS else None  # RFC 6066 section 3
        endpoint = wrapClientTLS(Creator(self._context, name), wire, clock=self._reactor)
        agent = _Plain(Agent.usingEndpointFactory(self._reactor, _Only(endpoint)), hop)
        response = await HTTPClient(agent).get(
            _ANY_URL, headers=_headers(hop), allow_redirects=False, unbuffered=True, reactor=self._reactor
        )
        original: IResponse = response.original
        return original


async def _ask(hop: Hop, wire: Wire) -> IResponse:
    """What treq comes to where the connection is at hand; it and its agent took a third of a validation's time."""
    headers = _headers(hop)
    headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
    protocol = await wire.open(_HTTP)
    assert isinstance(protocol, HTTP11ClientProtocol)
    path = f"{hop.path}{hop.query}".encode("ascii")
    response: IResponse = await protocol.request(Request(b"GET", path, headers, None))
    return response


_HTTP = Factory.forProtocol(HTTP11ClientProtocol)
_HTTP.noisy = False


def _headers(hop: Hop) -> Headers:
    return Headers({"Host": [hop.authority], "User-Agent": [USER_AGENT], "Accept": ["*/*"]})


def _overrun(hop: Hop, wire: Wire) -> Problem:
    words = "more came than an answer may have"
    return Problem(ProblemType.CONNECTION, f"{hop.url} from {wire.dialled}: {words}")


def _broken(failure: Exception, hop: Hop, wire: Wire) -> Problem:
    """Say in plain words how a connection or an answer broke."""
    reasons = [getattr(each, "value", each) for each in getattr(failure, "reasons", [failure])]
    where = f"{hop.url} from {wire.dialled}"
    if any(isinstance(each, SSL.Error) for each in reasons):
        return Problem(ProblemType.TLS, f"{where}: the TLS handshake failed")
    if any(isinstance(each, error.ConnectionClosed) for each in reasons):
        return Transient(
            ProblemType.CONNECTION, f"{where}: the connection was closed before the answer's end"
        )
    return Problem(ProblemType.CONNECTION, f"{where}: what came is not an HTTP answer")


@implementer(IAgentEndpointFactory)
@attrs.frozen
class _Only:
    """Whatever the URL says, this endpoint is dialled."""

    _endpoint: IStreamClientEndpoint

    def endpointForURI(self, uri: object) -> IStreamClientEndpoint:
        return self._endpoint


@implementer(IAgent)
@attrs.frozen
class _Plain:
    """Asks for the hop, and lets treq neither decode an answer (gzip bombs) nor keep its cookies.

    The URL is ours and not the one that comes through treq, whose parser rewrites paths and knows no IPv6 literal.
    """

    _agent: Agent
    _hop: Hop

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        headers = headers.copy() if headers else Headers()
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        return self._agent.request(method, self._hop.url.encode("ascii"), headers, bodyProducer).addCallback(
            _without_encoding
        )


def _without_encoding(response: IResponse) -> IResponse:
    response.headers.removeHeader(b"content-encoding")
    response.headers.removeHeader(b"set-cookie")
    return response


class _Reader(Protocol):
    """Collects the first bytes of a body; the rest is not waited for."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen = b""
        self.body: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._seen = (self._seen + data)[: self._limit]
        if len(self._seen) == self._limit and not self.body.called:
            self.body.callback(self._seen)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.body.called:
            return
        # PotentialDataLoss ends a body that has no length (RFC 9112 section 6.3).
        if reason.check(ResponseDone, PotentialDataLoss):
            self.body.callback(self._seen)
        else:
            self.body.errback(reason)
