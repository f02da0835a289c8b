"""Tests for certctl.validation.tlsalpn01."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from certctl.acme.identifiers import dns_name, ip_address
from certctl.acme.objects import ChallengeType
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.addresses import Resolvers
from certctl.validation.attempt import Evidence, Transient
from certctl.validation.resolver import Resolver
from certctl.validation.table import validators
from certctl.validation.tlsalpn01 import (
    ALPN,
    DRAFT_IDENTIFIER,
    TLSALPN01,
    Shown,
    judge_certificate,
    judge_shown,
)
from certctl.validation.wire import Dialler, tls_context

from .responders import (
    KEY_AUTHORIZATION,
    SHORT,
    Connection,
    DNSResponder,
    Responder,
    TLSContext,
    acme_identifier,
    attempt,
    certificate,
    reactor,
)

NAME = dns_name("a.example")
DNS = x509.DNSName("a.example")
PROOF = acme_identifier()


def der(*args: Any, **options: Any) -> bytes:
    """The bytes of a certificate."""
    return certificate(*args, **options).public_bytes(Encoding.DER)


class JudgeCertificateTests(SynchronousTestCase):
    """RFC 8737 section 3, RFC 8738 section 6."""

    def refused(self, shown: bytes, words: str, identifier: Any = NAME) -> None:
        problem = self.assertRaises(Problem, judge_certificate, shown, identifier, KEY_AUTHORIZATION)
        self.assertIs(problem.type, ProblemType.INCORRECT_RESPONSE)
        self.assertIn(words, problem.detail)
        self.assertTrue(problem.detail.isascii() and problem.detail.isprintable(), problem.detail)

    def test_good(self) -> None:
        judge_certificate(der([DNS], PROOF), NAME, KEY_AUTHORIZATION)

    def test_case(self) -> None:
        """DNS names are compared without regard to case."""
        judge_certificate(der([x509.DNSName("A.eXample")], PROOF), NAME, KEY_AUTHORIZATION)

    def test_expired(self) -> None:
        """The dates say nothing."""
        judge_certificate(der([DNS], PROOF, expired=True), NAME, KEY_AUTHORIZATION)

    def test_addresses(self) -> None:
        for text in ("192.0.2.7", "2001:db8::1"):
            address = ip_address(text)
            general = x509.IPAddress(ipaddress.ip_address(text))
            judge_certificate(der([general], PROOF), address, KEY_AUTHORIZATION)
            for other in (x509.DNSName(text), x509.IPAddress(ipaddress.ip_address("192.0.2.8")), DNS):
                self.refused(der([other], PROOF), f"not for {text} alone", address)

    def test_names(self) -> None:
        """Exactly one entry, of the right kind, equal to the identifier."""
        for names in (
            [x509.DNSName("b.example")],
            [x509.DNSName("*.example")],
            [x509.DNSName("a.example.")],
            [x509.DNSName("a.example\x00.b")],
            [x509.DNSName("")],
            [DNS, DNS],
            [DNS, x509.DNSName("b.example")],
            [DNS, x509.IPAddress(ipaddress.ip_address("192.0.2.1"))],
            [DNS, x509.RFC822Name("root@a.example")],
            [x509.RFC822Name("a.example")],
            [x509.UniformResourceIdentifier("a.example")],
            [x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))],
        ):
            self.refused(der(names, PROOF), "the certificate is not for a.example alone but for")

    def test_no_name(self) -> None:
        """The subject's common name does not count."""
        self.refused(der(None, PROOF), "not for a.example alone")

    def test_kelvin(self) -> None:
        """Letters that fold to ASCII are not ASCII."""
        raw = der([x509.DNSName("k.example")], PROOF).replace(b"k.example", b"\xe2\x84\xaa.exam")
        self.refused(raw, "", dns_name("k.exam"))

    def test_no_proof(self) -> None:
        self.refused(der([DNS]), "has no acmeIdentifier extension")

    def test_draft_oid(self) -> None:
        """The OID of the drafts is told of, and worth nothing."""
        self.refused(der([DNS], PROOF, oid=DRAFT_IDENTIFIER), "has the outdated acmeIdentifier extension")

    def test_not_critical(self) -> None:
        self.refused(der([DNS], PROOF, critical=False), "is not critical")

    def test_proofs(self) -> None:
        """An OCTET STRING of 32 bytes in DER, and no other encoding of it."""
        digest = PROOF[2:]
        for proof in (
            b"",
            digest,
            PROOF[:-1],
            PROOF + b"\0",
            b"\x03\x20" + digest,
            b"\x04\x21\0" + digest,
            b"\x04\x81\x20" + digest,
            b"\x04\x80" + digest + b"\0\0",
            b"\x24\x22\x04\x20" + digest,
        ):
            self.refused(der([DNS], proof), "does not hold an OCTET STRING of 32 bytes")

    def test_other_digest(self) -> None:
        self.refused(der([DNS], acme_identifier("other.key")), "holds another digest: ")

    def test_extensions_twice(self) -> None:
        """A certificate with an extension twice is refused as a whole (RFC 5280 section 4.2)."""
        draft = x509.Extension(DRAFT_IDENTIFIER, True, x509.UnrecognizedExtension(DRAFT_IDENTIFIER, PROOF))
        raw = der([DNS], PROOF, extra=[draft])
        # The drafts' OID is one byte longer; the one below is as long and becomes the right one by its last byte.
        near = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.30")
        raw = der([DNS], PROOF, extra=[x509.Extension(near, True, x509.UnrecognizedExtension(near, PROOF))])
        right, wrong = bytes.fromhex("06082b0601050507011f"), bytes.fromhex("06082b0601050507011e")
        self.assertEqual(raw.count(wrong), 1)
        self.refused(raw.replace(wrong, right), "the certificate cannot be read")

    def test_rubbish(self) -> None:
        for raw in (
            b"",
            b"x",
            b"\x30\x80",
            b"\x30\x82\xff\xff",
            der([DNS], PROOF)[:-1],
            der([DNS], PROOF) + b"x",
        ):
            self.refused(raw, "the certificate cannot be read")

    @settings(max_examples=400, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def test_flipped_bytes(self, data: st.DataObject) -> None:
        """A damaged certificate is a Problem or still good, and never another exception."""
        raw = bytearray(GOOD)
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        self.judge_any(bytes(raw))

    @given(st.binary(max_size=200), st.lists(st.binary(max_size=30), max_size=3))
    def test_any_extension(self, proof: bytes, names: list[bytes]) -> None:
        others = [x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x04\x01x") for _ in names]
        self.judge_any(der([*others, DNS], proof))

    def judge_any(self, raw: bytes) -> None:
        try:
            judge_certificate(raw, NAME, KEY_AUTHORIZATION)
        except Problem as problem:
            self.assertTrue(problem.detail.isascii() and problem.detail.isprintable(), problem.detail)


GOOD = der([DNS], PROOF)


class JudgeShownTests(SynchronousTestCase):
    """The protocol first, then the certificate."""

    def test_protocol(self) -> None:
        judge_shown(Shown(b"acme-tls/1", GOOD), NAME, KEY_AUTHORIZATION)
        for protocol, words in ((None, "none"), (b"h2", '"h2"'), (b"acme-tls/1.1", '"acme-tls/1.1"')):
            problem = self.assertRaises(Problem, judge_shown, Shown(protocol, GOOD), NAME, KEY_AUTHORIZATION)
            self.assertIn(f"the protocol agreed on is {words}", problem.detail)

    def test_no_certificate(self) -> None:
        self.assertRaises(Problem, judge_shown, Shown(b"acme-tls/1", None), NAME, KEY_AUTHORIZATION)


class HandshakeTests(TestCase):
    """Against TLS servers on loopback."""

    def setUp(self) -> None:
        self.dns = DNSResponder({("a.example", "A"): ["127.0.0.1"]})
        self.resolvers = Resolvers.of([self.dns.listen(self)])
        self.web = Responder()
        self.context = TLSContext(certificate([DNS], PROOF))

    async def validate(
        self, identifier: str = "a.example", allow: Iterable[str] = ("127.0.0.1/32", "::1")
    ) -> Evidence:
        kind = ChallengeType.TLSALPN01
        validator = validators(reactor, http01_port=1, tlsalpn01_port=self.port, limits=SHORT)[kind]
        started = reactor.seconds()
        try:
            return await validator.validate(attempt(identifier, kind, self.resolvers, allow))
        finally:
            self.assertLess(reactor.seconds() - started, SHORT.total + 0.3)
            await self.web.emptied().addTimeout(2, reactor)

    def serve(self, context: TLSContext | None, interface: str = "127.0.0.1") -> None:
        self.port = self.web.listen(self, interface, context)

    async def refused(self, kind: ProblemType, words: str, transient: bool = False) -> None:
        try:
            await self.validate()
        except Problem as problem:
            self.assertIs(problem.type, kind, problem.detail)
            self.assertIn(words, problem.detail)
            self.assertIn("127.0.0.1", problem.detail)
            self.assertEqual(isinstance(problem, Transient), transient)
        else:
            self.fail("validated")

    async def test_control_shown(self) -> None:
        """SNI is the name, ALPN offers acme-tls/1 alone, nothing is sent and the connection is closed."""
        self.serve(self.context)
        evidence = await self.validate()
        self.assertEqual(evidence.address, "127.0.0.1")
        self.assertEqual(self.context.names, [b"a.example"])
        self.assertEqual(self.context.offered, [[b"acme-tls/1"]])
        self.assertEqual([each.received for each in self.web.connections], [b""])

    async def test_addresses(self) -> None:
        """The name in SNI is the reverse mapping (RFC 8738 section 6)."""
        for text, interface, name in (
            ("127.0.0.1", "127.0.0.1", b"1.0.0.127.in-addr.arpa"),
            ("::1", "::1", b"1" + b".0" * 31 + b".ip6.arpa"),
        ):
            self.web = Responder()
            context = TLSContext(certificate([x509.IPAddress(ipaddress.ip_address(text))], PROOF))
            self.serve(context, interface)
            await self.validate(text)
            self.assertEqual(context.names, [name])
        self.assertEqual(self.dns.asked, [])

    async def test_tls12(self) -> None:
        self.serve(TLSContext(certificate([DNS], PROOF), newest=SSL.TLS1_2_VERSION))
        await self.validate()

    async def test_old_tls(self) -> None:
        """TLS 1.1 and older are not spoken (RFC 8737 section 4)."""
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            self.web = Responder()
            self.serve(TLSContext(certificate([DNS], PROOF), newest=version))
            await self.refused(ProblemType.TLS, "the TLS handshake with 127.0.0.1 failed")
            await self.lenient()

    async def lenient(self) -> None:
        """Show that the server is good but for its version: a client that speaks the old ones accepts it."""
        context = tls_context(ALPN)
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        dialler = Dialler(reactor, Resolver(reactor))
        validator = TLSALPN01(reactor, dialler, self.port, SHORT, context)
        await validator.validate(attempt("a.example", ChallengeType.TLSALPN01, self.resolvers))
        await self.web.emptied()

    async def test_other_protocol(self) -> None:
        """A server that knows acme-tls/1 not is an ordinary web server."""
        self.serve(TLSContext(certificate([DNS], PROOF), [b"h2", b"http/1.1"]))
        await self.refused(
            ProblemType.INCORRECT_RESPONSE, "the protocol agreed on is none and not acme-tls/1"
        )

    async def test_other_certificate(self) -> None:
        self.serve(TLSContext(certificate([DNS])))
        await self.refused(ProblemType.INCORRECT_RESPONSE, "the certificate has no acmeIdentifier extension")

    async def test_refused(self) -> None:
        self.serve(self.context)
        await self.web.stop()
        await self.refused(ProblemType.CONNECTION, "connection refused", transient=True)

    async def test_rubbish(self) -> None:
        for data in (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"\x16\x03\x03\xff\xff" + b"\0" * 100,
            b"\x15\x03\x03\0\2\2\x28",
        ):
            self.web = Responder(on_connect=lambda connection, data=data: connection.transport.write(data))  # type: ignore[misc]
            self.serve(None)
            await self.refused(ProblemType.TLS, "the TLS handshake with 127.0.0.1 failed")

    async def test_closed(self) -> None:
        self.web.on_connect = lambda connection: connection.transport.loseConnection()
        self.serve(None)
        await self.refused(
            ProblemType.CONNECTION, "closed the connection during the TLS handshake", transient=True
        )

    async def test_silence(self) -> None:
        self.serve(None)
        await self.refused(
            ProblemType.CONNECTION, "no TLS handshake with 127.0.0.1 within 0.6 s", transient=True
        )

    async def test_drip(self) -> None:
        """A record that never ends costs the time of one hop."""

        def start(connection: Connection) -> None:
            connection.transport.write(b"\x16\x03\x03\x3f\xff")
            self.web.repeat(connection, b"\0", 0.05)

        self.web.on_connect = start
        self.serve(None)
        await self.refused(ProblemType.CONNECTION, "no TLS handshake", transient=True)

    async def test_flood(self) -> None:
        """A handshake that is longer than any honest one is cut off."""
        alert = b"\x16\x03\x03\x40\x00\x0b\x00\xff\xff"
        self.web.on_connect = lambda connection: self.web.repeat(connection, alert + b"\0" * 16375)
        self.serve(None)
        await self.refused(ProblemType.TLS, "")
        self.assertLess(self.web.sent, 10_000_000)

    async def test_data_after_the_handshake(self) -> None:
        """Nothing is read from a server that goes on talking."""
        self.web.on_connect = lambda connection: self.web.repeat(connection, b"x" * 10_000)
        self.serve(self.context)
        await self.validate()

    async def test_no_close_notify(self) -> None:
        """A server that never closes on its side is not waited for."""
        self.serve(self.context)
        started = reactor.seconds()
        await self.validate()
        self.assertLess(reactor.seconds() - started, 0.5)

    def test_random_records(self) -> Deferred[None]:
        """Random bytes in TLS records: a Problem each."""
        answers: list[bytes] = []

        @settings(max_examples=100, database=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from([20, 21, 22, 23, 24, 0]), st.binary(max_size=60), st.booleans())
        def collect(kind: int, data: bytes, hello: bool) -> None:
            body = b"\x02\0\0" + bytes([len(data)]) + data if hello else data
            answers.append(bytes([kind, 3, 3]) + len(body).to_bytes(2, "big") + body)

        collect()

        def start(connection: Connection) -> None:
            connection.transport.write(answers[-1])
            connection.transport.loseConnection()

        self.web.on_connect = start
        self.serve(None)

        async def run() -> None:
            while answers:
                try:
                    await self.validate()
                except Problem:
                    answers.pop()
                else:
                    self.fail(repr(answers))

        return Deferred.fromCoroutine(run())
