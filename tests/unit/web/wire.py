"""HTTP without a network: octets go into the server's own protocol, and octets come out of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.testing import StringTransportWithDisconnection

from certctl.web.site import BoundedSite

PROBLEM = "application/problem+json"
SEGMENT = 64 * 1024  # octets that arrive at once
ERROR = "urn:ietf:params:acme:error:"
_LINK = re.compile(r'<([^>]*)>;rel="([^"]*)"\Z')


@attrs.frozen
class Response:
    """What a client reads of an answer."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return the values of all headers of that name."""
        return [value for each, value in self.headers if each.lower() == name.lower()]

    def one(self, name: str) -> str:
        """Return the value of a header that must be there once."""
        (value,) = self.all(name)
        return value

    def has(self, name: str) -> bool:
        """Say whether there is a header of that name."""
        return bool(self.all(name))

    @property
    def location(self) -> str:
        """The URL of the resource that was made or found."""
        return self.one("Location")

    @property
    def nonce(self) -> str:
        """The fresh nonce that came with the answer."""
        return self.one("Replay-Nonce")

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def links(self, rel: str) -> list[str]:
        """Return the targets of all links of one relation."""
        found = [_LINK.match(value) for value in self.all("Link")]
        assert all(found), self.all("Link")
        return [match[1] for match in found if match is not None and match[2] == rel]

    @property
    def error(self) -> str:
        """The problem's type without its namespace; empty if the answer is no problem."""
        if self.status < 400 or self.one("Content-Type") != PROBLEM:
            return ""
        return str(self.json["type"]).removeprefix(ERROR)


class Transport(StringTransportWithDisconnection):
    """What TCP is to a protocol."""

    def loseConnection(self) -> None:
        """Close; whoever reads on sees that it is closing, as with TCP."""
        self.disconnecting = True
        super().loseConnection()

    def unregisterProducer(self) -> None:
        """Forget the producer, if there is one: TCP's transport does not mind."""
        if self.producer is not None:
            super().unregisterProducer()


class Exchange:
    """One request on a connection of its own, and its answer once that is there."""

    def __init__(
        self,
        site: BoundedSite,
        method: str,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        peer: str = "192.0.2.1",
    ) -> None:
        split = urlsplit(url)
        target = split.path + (f"?{split.query}" if split.query else "")
        lines = [f"{method} {target} HTTP/1.1"]
        every = {"Host": split.netloc, "Content-Length": str(len(body)), **headers}
        lines += [f"{name}: {value}" for name, value in every.items()]
        kind = IPv6Address if ":" in peer else IPv4Address
        self._transport = Transport(peerAddress=kind("TCP", peer, 40000))
        self._protocol = site.buildProtocol(kind("TCP", peer, 40000))
        self._method = method
        self._transport.protocol = self._protocol
        self._protocol.makeConnection(self._transport)
        octets = "\r\n".join([*lines, "", ""]).encode("ascii") + body
        self.send(octets)

    def send(self, octets: bytes) -> None:
        """Send octets for as long as the server takes them."""
        for start in range(0, len(octets), SEGMENT):
            if self.connected:
                self._protocol.dataReceived(octets[start : start + SEGMENT])

    def disconnect(self) -> None:
        """Go away without waiting for the answer."""
        self._transport.loseConnection()

    @property
    def connected(self) -> bool:
        """Say whether the server still holds the connection."""
        return self._transport.connected

    @property
    def answered(self) -> bool:
        """Say whether the answer is there."""
        return b"\r\n\r\n" in self._transport.value()

    @property
    def response(self) -> Response:
        """The answer, which must be there, whole, and nothing after it."""
        assert self.answered, "there is no answer yet"
        head, _, body = self._transport.value().partition(b"\r\n\r\n")
        first, *rest = head.decode("ascii").split("\r\n")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in rest)]
        response = Response(int(first.split(" ")[1]), headers, body)
        if self._method == "HEAD" or response.status == 204:
            assert body == b"", body
        else:
            assert len(body) == int(response.one("Content-Length")), head
        return response
