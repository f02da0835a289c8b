"""The HTTP server's outer wall: what arrives is bounded in size, count and time before anything looks at it."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from time import time
from typing import Any
from urllib.parse import unquote_to_bytes

from klein import Klein
from klein.resource import KleinResource
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.iweb import IRequest
from twisted.web.server import Request, Site
from werkzeug.exceptions import HTTPException

from certctl.acme.jose import MAX_BODY
from certctl.acme.problems import Problem, ProblemType
from certctl.web.acme.dispatch import Dispatch
from certctl.web.answer import Answer, document, refusal
from certctl.web.api.dispatch import ApiDispatch
from certctl.web.console.dispatch import ConsoleDispatch
from certctl.web.health import Health
from certctl.web.metrics import Metrics

MAX_DISCARDED = (
    1024 * 1024
)  # octets beyond MAX_BODY that are read, so that the client reads the 413, and thrown away
MAX_HEADERS = 64
MAX_HEADER_OCTETS = 16 * 1024  # request line and all headers
TIMEOUT = 60  # seconds from a connection's opening, or its last answer, to the end of its next request
RETIRING = TIMEOUT + 5  # seconds that connections have to come to their end by themselves
CLOSING = 5  # seconds that connections have to close when the server stops
METHODS = frozenset(b"GET HEAD POST PUT PATCH DELETE OPTIONS TRACE QUERY".split())


class BoundedRequest(Request):
    """A request whose body is kept up to MAX_BODY octets."""

    too_large = False
    _arrived = 0
    _log = Logger(namespace="certctl")

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body, or drop it; cut the connection of who does not stop."""
        self._arrived += len(data)
        if self._arrived <= MAX_BODY:
            super().handleContentChunk(data)
            return
        self.too_large = True
        if self._arrived > MAX_BODY + MAX_DISCARDED and self.channel is not None:
            self.channel.forceAbortClient()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Take a request that has arrived. No form is parsed: none is expected, and a stranger's is an attack."""
        assert self.content is not None
        self.content.seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, query = path.partition(b"?")
        self.args = http.parse_qs(query, True) if query else {}
        self.process()

    def isSecure(self) -> bool:
        """There is no other way in than TLS."""
        return True

    def process(self) -> None:
        """Refuse what no route could be asked with; twisted.web and Klein take it from here."""
        if self.method not in METHODS:
            self._refuse(http.NOT_IMPLEMENTED)
        elif self._take_shortcut():
            return
        elif not self._is_text():
            self._refuse(http.BAD_REQUEST)
        else:
            super().process()

    def _take_shortcut(self) -> bool:
        """Answer what ``shortcut`` knows at once, without the way that leads to all other resources."""
        site: BoundedSite = self.channel.site  # type: ignore[attr-defined]
        if site.shortcut is None or (answering := site.shortcut(self)) is None:
            return False
        self.site = site
        _ = answering.addCallback(self._send).addErrback(
            lambda failure: self._log.failure("an answer could not be sent", failure)
        )
        return True

    def _send(self, body: bytes) -> None:
        if self.channel is not None:  # the client is still there
            self._write_whole(body)
            self.finish()

    def _write_whole(self, body: bytes) -> None:
        """Write head and body in one piece: what a client is sent is then one TLS record and one packet.

        ``Request.write`` would look at each header again, for what an answer of ours always has or never has.
        """
        status = self.clientproto, self.code, self.code_message, _date(int(time()))
        octets = [b"%b %d %b\r\nDate: %b\r\n" % status]
        for name, values in self.responseHeaders.getAllRawHeaders():
            octets += [b"%b: %b\r\n" % (name, value) for value in values]
        octets.append(b"\r\n")
        if self.method != b"HEAD" and self.code not in http.NO_BODY_CODES:
            octets.append(body)
        self.startedWriting = 1
        self.channel.writeSequence(octets)

    def _is_text(self) -> bool:
        """Whether URL and Host are the text that Klein takes them for: it logs a traceback for each that is not."""
        if not (self.uri.isascii() and (self.getHeader(b"host") or b"").isascii()):
            return False
        try:
            unquote_to_bytes(self.path).decode("utf-8")
        except UnicodeDecodeError:
            return False
        return True

    def _refuse(self, status: int) -> None:
        self.setResponseCode(status)
        self.setHeader("Content-Length", "0")
        self.finish()


@lru_cache(maxsize=1)
def _date(now: int) -> bytes:
    """A time in seconds since the epoch as the field Date has it; asked for again and again within a second."""
    date: bytes = http.datetimeToString(now)
    return date


class BoundedChannel(http.HTTPChannel):
    """A connection whose client must send each request whole within the timeout, however it drips."""

    maxHeaders = MAX_HEADERS
    totalHeadersSize = MAX_HEADER_OCTETS
    requestFactory = BoundedRequest
    site: BoundedSite
    _host: Any = None
    closing = False

    def dataReceived(self, data: bytes) -> None:
        """Take what arrives, but for what comes after we began to close: its answer could not be sent any more."""
        if not self.closing:
            super().dataReceived(data)

    def connectionMade(self) -> None:
        """Count the connection as open."""
        super().connectionMade()
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Count it no more."""
        super().connectionLost(reason)
        self.site.channels.discard(self)

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Say with the answer that it is the last one, if the site retires."""
        if self.site.is_retiring:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return bool(super().checkPersistence(request, version))

    def getHost(self) -> Any:
        """The address that the connection came to, which does not change: asked for once, not with each request."""
        if self._host is None:
            self._host = super().getHost()
        return self._host

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a line that is too long. LineReceiver closes in a way that waits for the timeout under TLS."""
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.loseConnection()

    def resetTimeout(self) -> None:
        """Not with each octet: the time runs from the opening or the last answer."""


class BoundedSite(Site):
    """Makes such connections. There is no access log: each state change is logged where it is made."""

    protocol = BoundedChannel  # type: ignore[assignment]  # HTTP/1.1 alone, so no protocol need be chosen
    displayTracebacks = False
    noisy = False

    def __init__(
        self,
        resource: Any,
        reactor: IReactorTime,
        shortcut: Callable[[Request], Deferred[bytes] | None] | None,
    ) -> None:
        super().__init__(resource, requestFactory=BoundedRequest, timeout=TIMEOUT, reactor=reactor)
        self.shortcut = shortcut
        self.channels: set[BoundedChannel] = set()
        self.is_retiring = False

    async def retire(self) -> None:
        """Wait until no connection is left: each is closed with its next answer, or when its time is over."""
        self.is_retiring = True
        for _ in range(RETIRING * 10):
            if not self.channels:
                return
            await deferLater(self.reactor, 0.1)

    async def close(self) -> None:
        """Close all connections, once what was written to them is sent, or after some seconds."""
        for channel in list(self.channels):
            channel.closing = True
            channel.loseConnection()
        for _ in range(CLOSING * 20):
            if not self.channels:
                return
            await deferLater(self.reactor, 0.05)

    def getContentFile(self, length: int | None) -> Any:
        """Bodies are small and stay in memory."""
        return io.BytesIO()

    def log(self, request: Any) -> None:
        """Log nothing."""


def root(
    dispatch: Dispatch | None,
    health: Health,
    metrics: Metrics,
    api: ApiDispatch | None = None,
    console: ConsoleDispatch | None = None,
) -> KleinResource:
    """All that is served: ACME, the REST API and the console if they are switched on; health, readiness, metrics."""
    app = Klein()
    app.url_map.merge_slashes = False  # a redirect would make a client sign another URL
    app.url_map.strict_slashes = False
    for part in (dispatch, api, console):
        if part is not None:
            part.register(app)

    @app.route("/health", methods=["GET"])
    def alive(request: Request) -> bytes:
        return document({"status": "ok"}).send(request)

    @app.route("/ready", methods=["GET"])
    async def ready(request: Request) -> bytes:
        return (await health.ready()).send(request)

    @app.route("/metrics", methods=["GET"])
    async def measured(request: Request) -> bytes:
        return (await metrics.scraped()).send(request)

    @app.handle_errors(HTTPException)
    def refused(request: IRequest, failure: Failure) -> bytes:
        assert isinstance(request, Request) and isinstance(failure.value, HTTPException)
        answer = _refused(failure.value)
        if dispatch is not None and request.path.startswith(b"/acme/"):
            return dispatch.finish(request, answer)
        for prefix, own in ((b"/api/", api), (b"/console/", console)):
            if own is not None and request.path.startswith(prefix):
                return own.refusal(request, answer.status, _words(failure.value), answer.headers)
        return answer.send(request)

    return app.resource()


def _refused(error: HTTPException) -> Answer:
    """What the router found wrong with a request: no such path, or not by this method (RFC 8555 section 6.3)."""
    headers = dict(error.get_headers())
    allow = {"Allow": headers["Allow"]} if "Allow" in headers else {}
    return refusal(Problem(ProblemType.MALFORMED, _words(error), status=error.code, headers=allow))


def _words(error: HTTPException) -> str:
    return "there is no such resource" if error.code == http.NOT_FOUND else str(error.description)
