"""A connection and its requests: what arrives is bounded in size, count and time before anything looks at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.server import Request

from certctl.acme.jose import MAX_BODY
from certctl.web import head
from certctl.web.answer import Answer

if TYPE_CHECKING:
    from certctl.web.site import BoundedSite

MAX_DISCARDED = (
    1024 * 1024
)  # octets beyond MAX_BODY that are read, so that the client reads the 413, and thrown away
MAX_HEADERS = 64
MAX_HEADER_OCTETS = 16 * 1024  # request line and all headers
METHODS = frozenset(b"GET HEAD POST PUT PATCH DELETE OPTIONS TRACE QUERY".split())
NO_BODY = frozenset(http.NO_BODY_CODES)

# Answers a request without the way that leads to all other resources: at once, later, or (None) not at all.
Shortcut = Callable[[Request], Answer | Deferred[Answer] | None]


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
        if site.shortcut is None or (answer := site.shortcut(self)) is None:
            return False
        self.site = site
        if isinstance(answer, Answer):
            self._send(answer)
        else:
            _ = answer.addCallback(self._send).addErrback(
                lambda failure: self._log.failure("an answer could not be sent", failure)
            )
        return True

    def _send(self, answer: Answer) -> None:
        if self.channel is not None:  # the client is still there
            self._write_whole(answer)
            self.finish()

    def _write_whole(self, answer: Answer) -> None:
        """Write head and body in one piece: what a client is sent is then one TLS record and one packet.

        ``Request.write`` would look at each field again, for what an answer of ours always has or never has.
        """
        fields = [*answer.fields(), ("Date", _date(int(time())))]
        if self.responseHeaders.hasHeader(b"connection"):  # as the channel closes behind this answer
            fields.append(("Connection", "close"))
        status_and_fields = f"{answer.status} {answer.phrase}\r\n{_lines(fields)}\r\n".encode()
        no_body = self.method == b"HEAD" or answer.status in NO_BODY
        self.startedWriting = 1
        self.channel.writeSequence(
            [self.clientproto, b" ", status_and_fields, b"" if no_body else answer.body]
        )

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


def _lines(fields: Sequence[tuple[str, str]]) -> str:
    """The lines of a head; a line break within a value would begin a field of somebody else's."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
    if lines.count("\n") == lines.count("\r") == len(fields):
        return lines
    return "".join([f"{name}: {' '.join(value.splitlines())}\r\n" for name, value in fields])


@lru_cache(maxsize=1)
def _date(now: int) -> str:
    """A time in seconds since the epoch as the field Date has it; asked for again and again within a second."""
    date: bytes = http.datetimeToString(now)
    return date.decode("ascii")


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
        if self.closing:
            return
        whole = head.read(data, MAX_HEADER_OCTETS, MAX_HEADERS) if self._awaits_request() else None
        if whole is None:
            super().dataReceived(data)
        else:
            self._take(whole)

    def _awaits_request(self) -> bool:
        """Whether the next octet would be the first of a request."""
        return bool(
            self.line_mode
            and self.persistent
            and not (self._receivedHeaderSize or self._buffer or self._busyReceiving)
        )

    def _take(self, whole: head.Whole) -> None:
        """Do what HTTPChannel does when the last line of a head, and then the last octet of a body, has come."""
        request = self.requestFactory(self)
        self.requests.append(request)
        add_field = request.requestHeaders.addRawHeader
        for name, value in whole.fields:
            add_field(name, value)
        self._command, self._path, self._version = whole.method, whole.target, b"HTTP/1.1"
        self.length = len(whole.body)
        self.allHeadersReceived()
        if whole.body:
            request.handleContentChunk(whole.body)
        self.allContentReceived()

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
