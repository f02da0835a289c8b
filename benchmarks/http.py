"""HTTP/1.1 over one kept-alive TLS connection: just enough of it, and cheap.

The generator shares the machine with the server that it measures, so each microsecond spent here is one that
the server does not get. (Reading the head of an answer: 3 us here, 27 us with http.client.)
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

RECEIVE = 65536  # bytes asked for at once; an answer of an ACME server is far shorter
MAX_ANSWER = 1 << 20  # bytes; more is not an ACME answer, and the run stops


class ConnectionLost(Exception):
    """The server closed the connection, or sent what is not HTTP/1.1."""


@attrs.frozen
class Response:
    """An answer: its status, its headers (names in lower case, the last of equal ones) and its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@attrs.frozen
class Origin:
    """Where a server is: the part of its URLs that they share (RFC 6454)."""

    host: str
    port: int
    prefix: str

    @classmethod
    def of(cls, url: str) -> Origin:
        """Return the origin of an https URL; raise ValueError for any other."""
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError(f"not an https URL: {url}")
        return cls(parts.hostname, parts.port or 443, f"https://{parts.netloc}")

    def path(self, url: str) -> str:
        """Return what to ask this origin for; raise ValueError for the URL of another origin."""
        path = url.removeprefix(self.prefix)
        if not path.startswith("/"):
            raise ValueError(f"{url} does not lie below {self.prefix}")
        return path


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Return status and headers of an answer's head; raise ConnectionLost for what is not HTTP/1.1."""
    status_line, *lines = head.decode("latin-1").split("\r\n")
    protocol, _, rest = status_line.partition(" ")
    if protocol != "HTTP/1.1" or not rest[:3].isdigit():
        raise ConnectionLost(f"not an answer of HTTP/1.1: {status_line[:80]!r}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(rest[:3]), headers


class Connection:
    """One kept-alive connection, opened when it is needed; ``opened`` counts the handshakes."""

    def __init__(self, origin: Origin, context: ssl.SSLContext, timeout: float) -> None:
        self.origin = origin
        self.opened = 0
        self._context = context
        self._timeout = timeout
        self._socket: ssl.SSLSocket | None = None
        self._buffer = b""
        host = origin.prefix.removeprefix("https://")
        self._constant = f" HTTP/1.1\r\nHost: {host}\r\nUser-Agent: certctl-benchmark\r\n"

    def request(self, method: str, url: str, body: bytes | None = None) -> Response:
        """Send one request (a POST has a JWS as its body) and return the answer."""
        head = f"{method} {self.origin.path(url)}{self._constant}"
        if body is not None:
            head += f"Content-Type: application/jose+json\r\nContent-Length: {len(body)}\r\n"
        wire = self._socket or self._open()
        wire.sendall(head.encode("ascii") + b"\r\n" + (body or b""))
        response = self._receive(method)
        if response.headers.get("connection", "").lower() == "close":
            self.close()
        return response

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._buffer = b""

    def _open(self) -> ssl.SSLSocket:
        raw = socket.create_connection((self.origin.host, self.origin.port), self._timeout)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = self._context.wrap_socket(raw, server_hostname=self.origin.host)
        self.opened += 1
        return self._socket

    def _receive(self, method: str) -> Response:
        status, headers = parse_head(self._until(b"\r\n\r\n"))
        if method == "HEAD" or status == 204:
            return Response(status, headers, b"")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return Response(status, headers, self._chunks())
        return Response(status, headers, self._exactly(int(headers.get("content-length", "0"))))

    def _chunks(self) -> bytes:
        """Read a chunked body (RFC 9112 section 7.1) without trailers, which Go's servers do not send."""
        body = b""
        while size := int(self._until(b"\r\n").partition(b";")[0], 16):
            body += self._exactly(size + 2)[:-2]
        self._until(b"\r\n")
        return body

    def _until(self, end: bytes) -> bytes:
        while (index := self._buffer.find(end)) < 0:
            self._fill()
        found, self._buffer = self._buffer[:index], self._buffer[index + len(end) :]
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _fill(self) -> None:
        received = self._socket.recv(RECEIVE) if self._socket else b""
        if not received or len(self._buffer) > MAX_ANSWER:
            raise ConnectionLost("the server closed the connection in the middle of an answer")
        self._buffer += received
