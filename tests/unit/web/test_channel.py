"""What comes in one piece is read as what comes in many: the short way in changes nothing but its cost."""

from __future__ import annotations

import re

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from certctl.web import channel, head
from certctl.web.answer import Answer
from certctl.web.site import BoundedSite
from tests.unit.web.wire import Transport

PLAIN = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nUser-Agent: y z\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
ODD = (
    b"GET /a HTTP/1.0\r\nHost: x\r\n\r\n",
    b"get /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET  /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a HTTP/1.1\nHost: x\n\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost : x\r\n\r\n",
    b"GET /a HTTP/1.1\r\n: x\r\n\r\n",
    b"GET /a HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET /a HTTP/1.1\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: \x00\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET https://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"BREW /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nHost:\t y \r\nX:\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + PLAIN,
    b"\r\n" + PLAIN,
    b"\r\n\r\n" + PLAIN,
    PLAIN + POST + PLAIN,
    POST + PLAIN,
    POST[:-1],
    POST + b"x",
    b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n",
    *(
        b"POST /a HTTP/1.1\r\n%b\r\n\r\nbody" % fields
        for fields in (
            b"Content-Length: 4\r\nContent-Length: 4",
            b"Content-Length: 4\r\ncontent-length: 3",
            b"Content-Length: +4",
            b"Content-Length: 4, 4",
            b"Content-Length: 0x4",
            b"Content-Length:",
            b"Content-Length: 4" + 9 * b"0",
            b"Content-Length : 4",
            b"Content-Length: 4\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: identity\r\nContent-Length: 4",
            b"Content-Length: 4\r\nExpect: 100-continue",
            b"X-Content-Length: 9\r\nContent-Length: 4",
        )
    ),
    b"POST /a HTTP/1.1\r\ntransfer-encoding: CHUNKED\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    b"GET /a HTTP/1.1\r\n%b\r\n" % b"".join(b"X-%d: y\r\n" % n for n in range(channel.MAX_HEADERS)),
    b"GET /a HTTP/1.1\r\n%b\r\n" % b"".join(b"X-%d: y\r\n" % n for n in range(channel.MAX_HEADERS + 1)),
    b"GET /a HTTP/1.1\r\nX: %b\r\n\r\n" % (channel.MAX_HEADER_OCTETS * b"y"),
)


@attrs.define
class Seen:
    """What a server made of octets."""

    requests: list[tuple[object, ...]]
    answered: bytes
    connected: bool


def seen(*pieces: bytes) -> Seen:
    """Send pieces to a server that answers all it gets; a piece may be the rest of what cannot be parted."""
    requests: list[tuple[object, ...]] = []

    def answer(request: Request) -> Answer:
        assert request.content is not None
        fields = sorted(request.requestHeaders.getAllRawHeaders())
        parts = request.method, request.uri, request.clientproto, request.path, request.args
        requests.append((*parts, fields, request.content.read()))
        return Answer(body=b"said")

    site = BoundedSite(Resource(), Clock(), answer)
    transport = Transport(peerAddress=IPv4Address("TCP", "192.0.2.1", 40000))
    protocol = site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000))
    transport.protocol = protocol
    protocol.makeConnection(transport)
    for piece in pieces:
        if transport.connected:
            protocol.dataReceived(piece)
    return Seen(requests, re.sub(rb"Date: [^\r]*", b"", transport.value()), transport.connected)


class ShortWayTests(SynchronousTestCase):
    def test_which(self) -> None:
        """The usual requests take it, and each of the unusual ones that must not does not."""
        limits = channel.MAX_HEADER_OCTETS, channel.MAX_HEADERS
        whole = head.read(POST, *limits)
        assert whole is not None
        self.assertEqual((whole.method, whole.target, whole.body), (b"POST", b"/a", b"body"))
        self.assertEqual(whole.fields, [(b"Host", b"x"), (b"Content-Length", b"4")])
        self.assertIsNotNone(head.read(PLAIN, *limits))
        self.assertGreater(sum(head.read(each, *limits) is None for each in ODD), len(ODD) - 7)

    def test_same(self) -> None:
        """In one piece, or parted behind the first octet: what is made of it, and what is answered, is the same."""
        for octets in (PLAIN, POST, *ODD):
            self.assertEqual(seen(octets), seen(octets[:1], octets[1:]), octets[:200])

    @given(
        st.sampled_from((PLAIN, POST, *ODD[:20])),
        st.integers(0, 90),
        st.integers(0, 3),
        st.binary(max_size=3),
    )
    def test_same_when_spoilt(self, octets: bytes, where: int, gone: int, put: bytes) -> None:
        """So it is when octets are missing, or others are put in their place."""
        spoilt = octets[:where] + put + octets[where + gone :]
        self.assertEqual(seen(spoilt), seen(spoilt[:1], spoilt[1:]))

    def test_one_after_the_other(self) -> None:
        """A connection goes on after it, by either way."""
        first = seen(PLAIN, POST, POST[:9], POST[9:], PLAIN)
        self.assertEqual([each[0] for each in first.requests], [b"GET", b"POST", b"POST", b"GET"])
        self.assertEqual(first.answered.count(b"200 OK"), 4)
        self.assertTrue(first.connected)

    def test_line_break_in_a_field(self) -> None:
        """A value with a line break begins no field of its own."""
        lines = channel._lines([("A", "b\r\nC: d"), ("E", "f\ng")])
        self.assertEqual(lines, "A: b C: d\r\nE: f g\r\n")
