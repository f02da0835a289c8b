"""Tests for the pure half of certctl.validation.http01: where a redirect may lead, and what an answer
shows.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.challenges import MAX_KEY_AUTHORIZATION
from certctl.acme.identifiers import IdentifierType, dns_name, ip_address
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.attempt import MAX_SEEN, Transient, printable
from certctl.validation.hops import Hop, Ports, first_hop, next_hop
from certctl.validation.http01 import Answer, judge_answer

from .responders import KEY_AUTHORIZATION, PATH, TOKEN

BASE = first_hop(dns_name("a.example"), TOKEN, Ports())
NAMES = Ports()


class FirstHopTests(SynchronousTestCase):
    """RFC 8555 section 8.3, step 1."""

    def test_urls(self) -> None:
        """The port is in the URL only if it is not 80, an IPv6 address stands in brackets (RFC 8738 section
        5).
        """
        table = (
            (dns_name("a.example"), 80, "a.example"),
            (dns_name("a.example"), 5002, "a.example:5002"),
            (ip_address("192.0.2.7"), 80, "192.0.2.7"),
            (ip_address("2001:db8::1"), 80, "[2001:db8::1]"),
            (ip_address("2001:db8::1"), 5002, "[2001:db8::1]:5002"),
        )
        for identifier, port, authority in table:
            hop = first_hop(identifier, TOKEN, Ports(port))
            self.assertEqual(hop.authority, authority)
            self.assertEqual(hop.url, f"http://{authority}{PATH}")


class NextHopTests(SynchronousTestCase):
    """Redirects."""

    def refused(self, location: str, words: str = "", ports: Ports = NAMES) -> Problem:
        problem: Problem = self.assertRaises(Problem, next_hop, 302, (location.encode(),), BASE, ports)
        self.assertIs(problem.type, ProblemType.UNAUTHORIZED, location)
        self.assertNotIsInstance(problem, Transient)
        self.assertIn(words, problem.detail)
        self.assertTrue(problem.detail.isascii() and problem.detail.isprintable(), problem.detail)
        return problem

    def test_followed(self) -> None:
        table = {
            "/x": "http://a.example/x",
            "x?y=1#z": "http://a.example/.well-known/acme-challenge/x?y=1",
            "//b.example/x": "http://b.example/x",
            "http://b.example": "http://b.example/",
            "HTTP://B.Example./x": "http://b.example/x",
            "http://b.example:80/x": "http://b.example/x",
            "https://b.example/x?y": "https://b.example/x?y",
            "https://b.example:443/": "https://b.example/",
            "http://10.0.0.1/x": "http://10.0.0.1/x",
            "http://[2001:db8::1]/x": "http://[2001:db8::1]/x",
            "http://[2001:db8::1]:80/x": "http://[2001:db8::1]/x",
            "?a=http://b.example:99/": f"http://a.example{PATH}?a=http://b.example:99/",
        }
        for location, url in table.items():
            self.assertEqual(next_hop(301, (location.encode(),), BASE, NAMES).url, url)

    def test_scheme_refused(self) -> None:
        for location in (
            "ftp://b.example/",
            "file:///etc/passwd",
            "gopher://b.example/",
            "javascript:alert(1)",
            "data:,x",
            "unix:/run/x.sock",
            "wss://b.example/",
            "httpx://b.example/",
        ):
            self.refused(location, "not an http or https URL")

    def test_port_refused(self) -> None:
        for location in (
            "http://b.example:22/",
            "http://b.example:8080/",
            "http://b.example:443/",
            "https://b.example:80/",
            "https://b.example:8443/",
            "http://b.example:0/",
            "http://b.example:65616/",
        ):
            self.refused(location, "is not to port")
        for location in (
            "http://b.example:/",
            "http://b.example:x/",
            "http://b.example:999999/",
            "http://b.example:-80/",
        ):
            self.refused(location)

    def test_configured_ports(self) -> None:
        """Where the server dials other ports than 80 and 443, those are the two; a URL without a port means
        them.
        """
        ports = Ports(5002, 5003)
        for location, url in {
            "http://b.example/": "http://b.example:5002/",
            "http://b.example:5002/": "http://b.example:5002/",
            "https://b.example/": "https://b.example:5003/",
        }.items():
            self.assertEqual(next_hop(302, (location.encode(),), BASE, ports).url, url)
        self.refused("http://b.example:80/", "port 5002", ports)
        self.refused("https://b.example:443/", "port 5003", ports)

    def test_spellings_of_addresses_refused(self) -> None:
        """A host is an address in its canonical form, or a name; loopback in disguise is neither."""
        for host in (
            "0x7f.1",
            "0x7f000001",
            "0X7F.0.0.1",
            "127.0.0.0x1",
            "2130706433",
            "0177.0.0.1",
            "0177.1",
            "017700000001",
            "127.1",
            "127.0.1",
            "127.0.0.01",
            "127.000.000.001",
            "127.0.0.1.",
            "1.2.3.4.5",
            "256.0.0.1",
            "[0:0:0:0:0:0:0:1]",
            "[::0001]",
            "[::1%25lo]",
            "[::1%lo]",
            "[fe80::1%1]",
            "[127.0.0.1]",
            "[v1.x]",
            "[]",
            "①②⑦.0.0.1",
            "%31%32%37.0.0.1",
        ):
            self.refused(f"http://{host}/")

    def test_hosts_refused(self) -> None:
        for host in (
            "*.b.example",
            "b_c.example",
            "-b.example",
            "b..example",
            "b.example\\@c",
            "b%2eexample",
            "\u212a.example",
        ):
            self.refused(f"http://{host}/")

    def test_user_information_refused(self) -> None:
        for location in (
            "http://u@b.example/",
            "http://u:p@b.example/",
            "http://a.example@10.0.0.1/",
            "//x@b.example/",
        ):
            self.refused(location, "plain host")

    def test_not_visible_refused(self) -> None:
        for location in (
            "",
            " ",
            "/a b",
            "/a\tb",
            "/a\r\nX: y",
            "/a\x00",
            "/ä",
            "\\\\b.example\\x",
            "/" + "a" * 2048,
        ):
            self.refused(location, "not a URL")

    def test_one_location_field(self) -> None:
        """None, or several that may disagree, lead nowhere."""
        for locations in ((), (b"/a", b"/b")):
            problem: Problem = self.assertRaises(Problem, next_hop, 302, locations, BASE, NAMES)
            self.assertIn("Location fields", problem.detail)

    @given(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)))
    def test_any_location(self, location: bytes) -> None:
        """Whatever is in the field: a hop within bounds or a Problem."""
        self.check_any(location)

    @given(
        st.sampled_from(["http://", "https://", "//", "http:", "HTTP:/"]),
        st.text(st.sampled_from("[]@:./?#\\%0129afx*-vV~"), max_size=30),
    )
    def test_any_authority(self, scheme: str, rest: str) -> None:
        """Strings made of the characters that confuse parsers."""
        self.check_any((scheme + rest).encode())

    def check_any(self, location: bytes) -> None:
        try:
            hop = next_hop(302, (location,), BASE, NAMES)
        except Problem:
            return
        self.assertEqual(hop.port, NAMES.of(hop.scheme))
        parse = ip_address if hop.host.type is IdentifierType.IP else dns_name
        self.assertEqual(parse(hop.host.value), hop.host)
        self.assertTrue(hop.path.startswith("/"))


class JudgeAnswerTests(SynchronousTestCase):
    """RFC 8555 section 8.3, steps 4 and 5."""

    def judge(self, status: int = 200, body: bytes = b"", hop: Hop = BASE) -> Problem | None:
        answer = Answer(status=status, locations=(), body=body, address="192.0.2.7")
        try:
            judge_answer(answer, hop, PATH, KEY_AUTHORIZATION)
        except Problem as problem:
            self.assertIn("192.0.2.7", problem.detail)
            self.assertIn(hop.url, problem.detail)
            return problem
        return None

    def test_accepted(self) -> None:
        """With or without whitespace after it."""
        good = KEY_AUTHORIZATION.encode()
        for end in (b"", b"\n", b"\r\n", b" \t\r\n\x0b\x0c"):
            self.assertIsNone(self.judge(200, good + end))

    def test_wrong_bodies(self) -> None:
        good = KEY_AUTHORIZATION.encode()
        for body in (
            b"",
            b" " + good,
            good[:-1],
            good + b"x",
            good + b"\n" + good,
            good.lower(),
            b"\xef\xbb\xbf" + good,
        ):
            problem = self.judge(200, body)
            assert problem is not None
            self.assertIs(problem.type, ProblemType.INCORRECT_RESPONSE)
            self.assertIn(printable(body), problem.detail)

    def test_too_long(self) -> None:
        """The right beginning is not enough, even if only whitespace follows."""
        problem = self.judge(200, KEY_AUTHORIZATION.encode().ljust(MAX_KEY_AUTHORIZATION + 1))
        assert problem is not None
        self.assertIn("more than 512 bytes", problem.detail)

    def test_status(self) -> None:
        """Anything but 200 is unauthorized, and a server's error may pass."""
        for status in (201, 204, 304, 400, 401, 403, 404, 418, 429, 500, 502, 503, 599):
            problem = self.judge(status, KEY_AUTHORIZATION.encode())
            assert problem is not None
            self.assertIs(problem.type, ProblemType.UNAUTHORIZED)
            self.assertIn(f"status {status}", problem.detail)
            self.assertEqual(isinstance(problem, Transient), status >= 500)

    def test_content_of_other_paths_not_shown(self) -> None:
        """After a redirect to a path of the redirector's choice the body stays secret; on the own path it is
        shown.
        """
        for location, shown in (
            ("/latest/meta-data", False),
            (PATH + "?x", False),
            ("http://b.example" + PATH, True),
            ("https://b.example" + PATH, True),
        ):
            hop = next_hop(302, (location.encode(),), BASE, NAMES)
            for status in (200, 404, 500):
                problem = self.judge(status, b"the password is 123", hop)
                assert problem is not None
                self.assertEqual("password" in problem.detail, shown, problem.detail)


class PrintableTests(SynchronousTestCase):
    """What strangers sent, shown to others."""

    def test_table(self) -> None:
        for data, shown in (
            (b"", '""'),
            (b"abc", '"abc"'),
            (b'<a href="x">\\', '"<a href=\\x22x\\x22>\\x5c"'),
            (b"\x1b[31m\r\n", '"\\x1b[31m\\x0d\\x0a"'),
            (b"x" * (MAX_SEEN + 1), '"' + "x" * MAX_SEEN + '"...'),
        ):
            self.assertEqual(printable(data), shown)

    @given(st.binary(max_size=300))
    def test_bounded_and_plain(self, data: bytes) -> None:
        shown = printable(data)
        self.assertTrue(shown.isascii() and shown.isprintable())
        self.assertLessEqual(len(shown), 4 * MAX_SEEN + 5)
