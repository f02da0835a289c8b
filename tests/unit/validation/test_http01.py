"""Tests for certctl.validation.http01 over real sockets on loopback."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from typing import Any

import dns.rcode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from certctl import __version__
from certctl.acme.challenges import MAX_KEY_AUTHORIZATION
from certctl.acme.identifiers import dns_name
from certctl.acme.objects import ChallengeType
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.addresses import Resolvers
from certctl.validation.attempt import Evidence, Transient
from certctl.validation.table import validators
from certctl.validation.wire import MAX_BYTES

from .responders import (
    KEY_AUTHORIZATION,
    PATH,
    SHORT,
    Connection,
    DNSResponder,
    Responder,
    TLSContext,
    answering,
    attempt,
    certificate,
    general,
    reactor,
    redirecting,
)

GOOD = answering(KEY_AUTHORIZATION.encode())
ZONE = {("a.example", "A"): ["127.0.0.1"], ("b.example", "A"): ["127.0.0.1"]}


class HTTP01Case(TestCase):
    """A validator between a DNS responder and a web server."""

    def setUp(self) -> None:
        self.dns = DNSResponder(ZONE)
        self.resolvers = Resolvers.of([self.dns.listen(self)])
        self.web = Responder(GOOD)
        self.port = self.web.listen(self)
        self.tls_port = 1

    async def validate(
        self, identifier: str = "a.example", allow: Iterable[str] = ("127.0.0.1/32", "::1/128")
    ) -> Evidence:
        validator = validators(reactor, http01_port=self.port, tlsalpn01_port=self.tls_port, limits=SHORT)
        kind = ChallengeType.HTTP01
        started = reactor.seconds()
        try:
            return await validator[kind].validate(attempt(identifier, kind, self.resolvers, allow))
        finally:
            self.assertLess(reactor.seconds() - started, SHORT.total + 0.3)
            await self.web.emptied().addTimeout(2, reactor)

    async def problem(self, *args: Any, **options: Any) -> Problem:
        """The Problem that a validation ends with."""
        try:
            evidence = await self.validate(*args, **options)
        except Problem as problem:
            self.assertTrue(problem.detail.isascii() and problem.detail.isprintable(), problem.detail)
            self.assertLess(len(problem.detail), 700)
            return problem
        raise AssertionError(f"validated: {evidence}")

    async def transient(self, kind: ProblemType, words: str) -> None:
        problem = await self.problem()
        self.assertIsInstance(problem, Transient)
        self.assertIs(problem.type, kind)
        self.assertIn(words, problem.detail)


class FetchTests(HTTP01Case):
    """RFC 8555 section 8.3."""

    async def test_control_shown(self) -> None:
        """The evidence names address and URL."""
        evidence = await self.validate()
        self.assertEqual(evidence.address, "127.0.0.1")
        self.assertEqual(evidence.url, f"http://a.example:{self.port}{PATH}")

    async def test_request(self) -> None:
        """A GET with the name as Host, a fixed User-Agent, no wish for encodings, and the end of the
        connection.
        """
        await self.validate()
        (request,) = self.web.requests
        lines = request.decode().lower().split("\r\n")
        self.assertEqual(lines[0], f"get {PATH.lower()} http/1.1")
        self.assertIn(f"host: a.example:{self.port}", lines)
        self.assertIn(
            f"user-agent: certctl-validator/{__version__} (+https://www.rfc-editor.org/rfc/rfc8555#section-8.3)",
            lines,
        )
        self.assertIn("accept-encoding: identity", lines)
        self.assertIn("connection: close", lines)
        self.assertEqual(sum(each.startswith("host:") for each in lines), 1)
        self.assertFalse([each for each in lines if each.startswith(("cookie", "authorization", "referer"))])

    async def test_address_identifier_not_looked_up(self) -> None:
        """RFC 8738 section 4."""
        await self.validate("127.0.0.1")
        self.assertEqual(self.dns.asked, [])
        self.assertIn(f"host: 127.0.0.1:{self.port}", self.web.requests[0].decode().lower())

    async def test_ipv6_identifier(self) -> None:
        """The Host field has brackets (RFC 8738 section 5)."""
        web = Responder(GOOD)
        self.port = web.listen(self, "::1")
        evidence = await self.validate("::1")
        self.assertEqual(evidence.address, "::1")
        self.assertIn(f"host: [::1]:{self.port}", web.requests[0].decode().lower())

    async def test_status(self) -> None:
        self.web.script = answering(b"<h1>nothing here</h1>", b"404 Not Found")
        problem = await self.problem()
        self.assertIs(problem.type, ProblemType.UNAUTHORIZED)
        self.assertEqual(
            problem.detail,
            f'http://a.example:{self.port}{PATH} from 127.0.0.1: status 404: "<h1>nothing here</h1>"',
        )

    async def test_server_error_is_transient(self) -> None:
        self.web.script = answering(b"oops", b"503 Service Unavailable")
        await self.transient(ProblemType.UNAUTHORIZED, "status 503")

    async def test_body_without_length(self) -> None:
        """HTTP/1.0 servers end a body by closing (RFC 9112 section 6.3)."""

        def script(connection: Connection) -> None:
            connection.transport.write(b"HTTP/1.0 200 OK\r\n\r\n" + KEY_AUTHORIZATION.encode() + b"\n")
            connection.transport.loseConnection()

        self.web.script = script
        await self.validate()

    async def test_chunked_body(self) -> None:
        def script(connection: Connection) -> None:
            body = KEY_AUTHORIZATION.encode()
            chunks = b"".join(b"%x\r\n%b\r\n" % (1, body[i : i + 1]) for i in range(len(body)))
            connection.transport.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
            )

        self.web.script = script
        await self.validate()

    async def test_early_hints(self) -> None:
        """Interim answers are passed over (RFC 9110 section 15.2)."""

        def script(connection: Connection) -> None:
            connection.transport.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            GOOD(connection)

        self.web.script = script
        await self.validate()

    async def test_connection_refused(self) -> None:
        await self.web.stop()
        await self.transient(ProblemType.CONNECTION, f"127.0.0.1 port {self.port}: connection refused")

    async def test_name_not_found(self) -> None:
        problem = await self.problem("nowhere.example")
        self.assertIs(problem.type, ProblemType.DNS)
        self.assertNotIsInstance(problem, Transient)
        self.assertIn("nowhere.example does not exist (NXDOMAIN", problem.detail)

    async def test_lookup_failed(self) -> None:
        self.dns.rcodes["a.example"] = 2
        await self.transient(ProblemType.DNS, "SERVFAIL")

    async def test_one_family_failed(self) -> None:
        """If AAAA cannot be had and A can, A is enough."""
        real = self.dns.answer

        def answer(query: Any, name: Any, kind: str) -> Any:
            response = real(query, name, kind)
            if kind == "AAAA":
                response.set_rcode(dns.rcode.SERVFAIL)
            return response

        self.dns.answer = answer  # type: ignore[method-assign]
        await self.validate()

    async def test_dead_ipv6(self) -> None:
        """IPv6 goes first; if it refuses, IPv4 is tried."""
        self.dns.zone["a.example", "AAAA"] = ["::1"]
        evidence = await self.validate()
        self.assertEqual(evidence.address, "127.0.0.1")

    async def test_ipv6_first(self) -> None:
        """Where IPv6 answers, its answer counts, and IPv4 is not asked."""
        self.port = Responder(answering(b"six", b"404 Not Found")).listen(self, "::1")
        self.dns.zone["a.example", "AAAA"] = ["::1"]
        problem = await self.problem()
        self.assertIn("from ::1: status 404", problem.detail)

    async def test_cancelled(self) -> None:
        """A validation that nobody waits for any more leaves nothing behind."""
        self.web.script = lambda connection: None
        running = Deferred.fromCoroutine(self.validate())
        reactor.callLater(0.1, running.cancel)
        with self.assertRaises((CancelledError, Problem)):
            await running


class RedirectTests(HTTP01Case):
    """Redirects that are followed; for those that are not see test_ssrf."""

    async def test_other_host(self) -> None:
        """Each hop is looked up and has its own Host."""
        self.web.script = self.then(redirecting("http://b.example/x?y=%20"), GOOD)
        evidence = await self.validate()
        self.assertEqual(evidence.url, f"http://b.example:{self.port}/x?y=%20")
        self.assertEqual(self.web.lines[1], "GET /x?y=%20 HTTP/1.1")
        self.assertIn(b"b.example", self.web.requests[1])
        self.assertIn(("udp", "b.example", "A"), self.dns.asked)

    @staticmethod
    def then(first: Any, second: Any) -> Any:
        """A script: one thing for the first request, another for the others."""
        scripts = [first]

        def script(connection: Connection) -> None:
            (scripts.pop() if scripts else second)(connection)

        return script

    async def test_all_statuses(self) -> None:
        for status in (b"301 Moved", b"302 Found", b"303 See Other", b"307 Temporary", b"308 Permanent"):
            self.web.script = self.then(redirecting("/x", status=status), GOOD)
            await self.validate()

    async def test_not_a_redirect(self) -> None:
        """300, 304 and 305 name no one place to go to."""
        for status in (b"300 Choices", b"304 Not Modified", b"305 Use Proxy", b"306 Unused"):
            self.web.script = redirecting("/x", status=status)
            problem = await self.problem()
            self.assertIn(f"status {status[:3].decode()}", problem.detail)

    async def test_https_with_any_certificate(self) -> None:
        """The certificate of the target may be expired, self-signed and for another name; SNI is sent."""
        context = TLSContext(certificate([general(dns_name("other.example"))], expired=True), [])
        secure = Responder(GOOD)
        self.tls_port = secure.listen(self, context=context)
        self.web.script = redirecting("https://b.example" + PATH)
        evidence = await self.validate()
        self.assertEqual(evidence.url, f"https://b.example:{self.tls_port}{PATH}")
        self.assertEqual(context.names, [b"b.example"])

    async def test_https_broken(self) -> None:
        """A target that does not speak TLS is told of as such."""
        secure = Responder(on_connect=lambda connection: connection.transport.write(b"SSH-2.0-x\r\n" * 10))
        self.tls_port = secure.listen(self)
        self.web.script = redirecting("https://b.example/")
        problem = await self.problem()
        self.assertIs(problem.type, ProblemType.TLS)
        self.assertIn("the TLS handshake failed", problem.detail)

    async def test_https_to_an_address(self) -> None:
        """No SNI for an address (RFC 6066 section 3)."""
        context = TLSContext(certificate([general(dns_name("other.example"))]), [])
        self.tls_port = Responder(GOOD).listen(self, context=context)
        self.web.script = redirecting("https://127.0.0.1/")
        await self.validate()
        self.assertEqual(context.names, [None])

    async def test_ten(self) -> None:
        """Ten redirects are followed and an eleventh is not."""
        for count, expected in ((10, True), (11, False)):
            left = [redirecting(f"/{number}") for number in range(count)]
            self.web.requests.clear()
            self.web.script = lambda connection, left=left: (left.pop() if left else GOOD)(connection)
            if expected:
                await self.validate()
            else:
                problem = await self.problem()
                self.assertIn("more than 10 redirects", problem.detail)
            self.assertEqual(len(self.web.requests), 11)


class HostileServerTests(HTTP01Case):
    """Whatever the peer does, a Problem comes within the limits, and nothing stays open."""

    def flood(self, head: bytes, data: bytes, seconds: float = 0.0) -> None:
        """Answer with a head and then the same bytes for ever."""

        def script(connection: Connection) -> None:
            connection.transport.write(head)
            self.web.repeat(connection, data, seconds)

        self.web.script = script

    async def test_body_cap(self) -> None:
        """One byte more than a key authorization may have is read, and the connection cut."""
        self.flood(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", b"x" * 1000)
        problem = await self.problem()
        self.assertIs(problem.type, ProblemType.INCORRECT_RESPONSE)
        self.assertIn(f"more than {MAX_KEY_AUTHORIZATION} bytes", problem.detail)
        self.assertLess(self.web.sent, 100_000)

    async def test_gzip_bomb(self) -> None:
        """What is declared as gzip is not decoded; its bytes are not the key authorization."""
        bomb = gzip.compress(b"\x00" * 10_000_000)
        self.web.script = answering(bomb, headers=[b"Content-Encoding: gzip"])
        problem = await self.problem()
        self.assertIn("more than 512 bytes", problem.detail)
        self.web.script = answering(
            gzip.compress(KEY_AUTHORIZATION.encode()), headers=[b"Content-Encoding: gzip"]
        )
        problem = await self.problem()
        self.assertIs(problem.type, ProblemType.INCORRECT_RESPONSE)
        self.assertIn("\\x1f\\x8b", problem.detail)

    async def test_gzip_bomb_over_https(self) -> None:
        """Nor is it decoded behind a redirect to https, nor more read there."""
        context = TLSContext(certificate([general(dns_name("b.example"))]), [])
        bomb = gzip.compress(b"\x00" * 10_000_000)
        secure = Responder(answering(bomb, headers=[b"Content-Encoding: gzip"]))
        self.tls_port = secure.listen(self, context=context)
        self.web.script = redirecting("https://b.example" + PATH)
        problem = await self.problem()
        self.assertIn("more than 512 bytes", problem.detail)
        (request,) = secure.requests
        self.assertIn(b"accept-encoding: identity", request.lower())
        secure.script = answering(b"", headers=[b"X: " + b"z" * 1000] * 100)
        problem = await self.problem()
        self.assertIn("more came than an answer may have", problem.detail)

    async def test_encoding_lied_about(self) -> None:
        """A server that calls the plain key authorization gzip has still shown it."""
        self.web.script = answering(KEY_AUTHORIZATION.encode(), headers=[b"Content-Encoding: gzip, br"])
        await self.validate()

    async def test_endless_headers(self) -> None:
        """Header fields are bounded in sum, not only each."""
        self.flood(b"HTTP/1.1 200 OK\r\n", b"X-Y: zzzzzzzzzzzzzz\r\n" * 200)
        problem = await self.problem()
        self.assertIs(problem.type, ProblemType.CONNECTION)
        self.assertIn("more came than an answer may have", problem.detail)
        self.assertLess(self.web.sent, 50 * MAX_BYTES)

    async def test_endless_line(self) -> None:
        """Nor is one line without an end."""
        self.web.script = lambda connection: connection.transport.write(
            b"HTTP/1.1 200 OK\r\nX: " + b"z" * 60_000
        )
        problem = await self.problem()
        self.assertIs(problem.type, ProblemType.CONNECTION)

    async def test_more_after_the_key_authorization(self) -> None:
        """Where no length is said, the end that we make because too much came is not the answer's end."""
        more = b" " * (2 * MAX_BYTES)

        def script(connection: Connection) -> None:
            connection.transport.write(b"HTTP/1.1 200 OK\r\n\r\n" + KEY_AUTHORIZATION.encode())
            self.web.later(0.1, connection.transport.write, more)

        self.web.script = script
        problem = await self.problem()
        self.assertIn("more", problem.detail)

    async def test_dripping_body(self) -> None:
        self.flood(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", b"x", 0.05)
        await self.transient(ProblemType.CONNECTION, "no complete answer from 127.0.0.1 within 0.6 s")

    async def test_dripping_headers(self) -> None:
        self.flood(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.05)
        await self.transient(ProblemType.CONNECTION, "no complete answer from 127.0.0.1 within 0.6 s")

    async def test_silence(self) -> None:
        self.web.script = lambda connection: None
        await self.transient(ProblemType.CONNECTION, "no complete answer from 127.0.0.1 within 0.6 s")

    async def test_slow_redirects(self) -> None:
        """Each hop is in time, but not all together."""
        script = redirecting("/x")
        self.web.script = lambda connection: self.web.later(0.4, script, connection)
        await self.transient(ProblemType.CONNECTION, "http-01 for a.example did not end within 1.5 s")

    async def test_closed_at_once(self) -> None:
        self.web.on_connect = lambda connection: connection.transport.abortConnection()
        await self.transient(ProblemType.CONNECTION, "the connection was closed before the answer's end")

    async def test_closed_half_way(self) -> None:
        def script(connection: Connection) -> None:
            body = KEY_AUTHORIZATION.encode()
            connection.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) + 1) + body
            )
            connection.transport.loseConnection()

        self.web.script = script
        await self.transient(ProblemType.CONNECTION, "the connection was closed before the answer's end")

    async def test_not_http(self) -> None:
        for answer in (
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"\x00" * 100,
            b"HTTP/1.1 \r\n\r\n",
            b"HTTP/1.1 abc OK\r\n\r\n",
            b"HTTP/x.y 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: nonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 100 + b"\r\n",
            b"HTTP/1.1 -200 OK\r\n\r\n",
        ):

            def script(connection: Connection, answer: bytes = answer) -> None:
                connection.transport.write(answer)
                connection.transport.loseConnection()

            self.web.script = script
            problem = await self.problem()
            self.assertIn(problem.type, (ProblemType.CONNECTION, ProblemType.UNAUTHORIZED), answer)
            self.assertTrue(re.search("127.0.0.1", problem.detail))


class FuzzTests(HTTP01Case):
    """Random answers: a Problem each, no other exception, nothing in the log."""

    def test_random_answers(self) -> Deferred[None]:
        answers: list[bytes] = []
        tokens = st.sampled_from(
            [b"HTTP/1.1 ", b"200", b"302", b" OK", b"\r\n", b"\n", b":", b" ", b"Location", b"Content-Length", b"7",
             b"Transfer-Encoding", b"chunked", b"Set-Cookie: a=b; Domain=x", b"\x00", b"\xff", b"-", b"gzip", b"100",
             b"Content-Encoding"]
        )  # fmt: skip

        @settings(max_examples=150, database=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(tokens, max_size=25).map(b"".join))
        def collect(data: bytes) -> None:
            answers.append(data)
            answers.append(b"HTTP/1.1 200 OK\r\n" + data + b"\r\n\r\n" + data)

        collect()

        def script(connection: Connection) -> None:
            connection.transport.write(answers[-1])
            connection.transport.loseConnection()

        self.web.script = script

        async def run() -> None:
            while answers:
                await self.problem()
                answers.pop()

        return Deferred.fromCoroutine(run())

    test_random_answers.timeout = 60  # type: ignore[attr-defined]
