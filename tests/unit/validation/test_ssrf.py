"""http-01 and tls-alpn-01 cannot be turned on the network behind the server: one class for each layer.

Everything that could be reached is a responder here that notes connections, so that a refusal is shown by
silence and not only by words. Loopback plays the network behind the server; it is opened by an explicit
entry where the test is about another layer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

import dns.rrset
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from certctl.acme.identifiers import IdentifierError, dns_name, identifier, ip_address
from certctl.acme.objects import ChallengeType
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.addresses import EgressPolicy, Network, Resolvers
from certctl.validation.attempt import Evidence, Transient
from certctl.validation.special_purpose import IPAddress
from certctl.validation.table import validators
from certctl.validation.wire import MAX_TARGETS, Dialler, permitted

from .responders import (
    KEY_AUTHORIZATION,
    NOWHERE,
    PATH,
    SHORT,
    DNSResponder,
    Responder,
    answering,
    attempt,
    reactor,
    redirecting,
)

LOOPBACK = ("127.0.0.1/32", "::1/128")


class IdentifierSyntaxTests(SynchronousTestCase):
    """Layer 1: what is no name and no canonical address never becomes an attempt."""

    def test_names(self) -> None:
        for text in (
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "localhost:80",
            "a.example/x",
            "a.example#x",
            "u@a.example",
            "a.example?x",
            "[::1]",
            "::1",
            "a.example\r\nHost: b",
            "a.example\x00.b",
            "a b.example",
            "\u2460.example",
            "a%2eexample",
        ):
            self.assertRaises(IdentifierError, dns_name, text)

    def test_addresses(self) -> None:
        for text in (
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "0177.0.0.1",
            "::0001",
            "0::1",
            "::1%lo",
            "[::1]",
            "127.0.0.1:80",
        ):
            self.assertRaises(IdentifierError, ip_address, text)

    def test_types(self) -> None:
        for value in (
            {"type": "url", "value": "http://127.0.0.1/"},
            {"type": "dns", "value": ["127.0.0.1"]},
            "127.0.0.1",
        ):
            self.assertRaises(IdentifierError, identifier, value)


class FixedLookup:
    """A lookup whose answer is known, and counted."""

    def __init__(self, *answers: Iterable[str]) -> None:
        self.answers = [list(each) for each in answers]
        self.count = 0

    async def addresses(self, name: str, resolvers: Resolvers) -> tuple[IPAddress, ...]:
        self.count += 1
        texts = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return tuple(ipaddress.ip_address(each) for each in texts)


class JudgedBeforeDiallingTests(SynchronousTestCase):
    """Layer 2: addresses are judged before a socket exists. The reactor here has no network."""

    def dial(self, lookup: FixedLookup, allow: Iterable[str] = ()) -> tuple[list[str], Any]:
        """Dial a name; return what the reactor was asked to connect to, and the outcome."""
        fake: Any = MemoryReactorClock()
        network = Network(EgressPolicy.of(allow), NOWHERE)

        async def work() -> None:
            async with await Dialler(fake, lookup).wire(dns_name("a.example"), 80, network) as wire:
                await wire.connect(Responder())

        outcome = Deferred.fromCoroutine(work())
        dialled = []
        while fake.tcpClients:
            host, port, factory, _, _ = fake.tcpClients.pop(0)
            dialled.append(f"{host}:{port}")
            factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        return dialled, outcome

    def test_denied(self) -> None:
        """Nothing is dialled, and the problem names address and rule."""
        for text, rule in (
            ("127.0.0.1", "127.0.0.0/8"),
            ("169.254.169.254", "169.254.169.254/32"),
            ("::1", "::1/128"),
            ("::ffff:127.0.0.1", "::ffff:0:0/96"),
            ("64:ff9b::7f00:1", "127.0.0.0/8 of the embedded 127.0.0.1"),
            ("0.0.0.0", "0.0.0.0/32"),
            ("fe80::1", "fe80::/10"),
        ):
            dialled, outcome = self.dial(FixedLookup([text]))
            self.assertEqual(dialled, [])
            problem = self.failureResultOf(outcome, Problem).value
            self.assertIs(problem.type, ProblemType.CONNECTION)
            self.assertIn(f"is not dialled: rule {rule}", problem.detail)

    def test_denied_among_allowed(self) -> None:
        """Denied addresses are left out, wherever they stand."""
        for addresses in (["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["::1", "10.0.0.1"]):
            dialled, outcome = self.dial(FixedLookup(addresses))
            self.assertEqual(dialled, ["10.0.0.1:80"])
            self.failureResultOf(outcome, Transient)

    def test_in_turn(self) -> None:
        """IPv6 and IPv4 alternate, and the number is bounded."""
        six = [f"2606:4700::{number}" for number in range(1, 5)]
        dialled, outcome = self.dial(FixedLookup([*six, "10.0.0.1", "10.0.0.2", "10.0.0.3"]))
        self.assertEqual(dialled, ["2606:4700::1:80", "10.0.0.1:80", "2606:4700::2:80", "10.0.0.2:80"])
        self.assertEqual(len(dialled), MAX_TARGETS)
        self.failureResultOf(outcome, Transient)

    def test_rebinding(self) -> None:
        """A resolver that answers otherwise the second time is asked once; the judged address is the dialled
        one.
        """
        lookup = FixedLookup(["10.0.0.1"], ["127.0.0.1"])
        dialled, outcome = self.dial(lookup)
        self.assertEqual(lookup.count, 1)
        self.assertEqual(dialled, ["10.0.0.1:80"])
        self.failureResultOf(outcome, Transient)

    def test_permitted(self) -> None:
        """No address at all is nothing to dial."""
        self.assertEqual(permitted("a.example", [], Network(EgressPolicy(), NOWHERE)), ())


class WholeValidationCase(TestCase):
    """A public responder that may be dialled (127.0.0.1) and, on the same port, an internal one that may
    not.
    """

    def setUp(self) -> None:
        self.web = Responder(answering(KEY_AUTHORIZATION.encode()))
        self.port = self.web.listen(self)
        self.secret = Responder(answering(b"the secret"))
        self.secret._port = reactor.listenTCP(self.port, self.secret, interface="127.0.0.2")
        self.addCleanup(self.secret.stop)
        self.dns = DNSResponder({("a.example", "A"): ["127.0.0.1"], ("inside.example", "A"): ["127.0.0.2"]})
        self.resolvers = Resolvers.of([self.dns.listen(self)])

    async def validate(
        self, name: str, allow: Iterable[str] = LOOPBACK, kind: ChallengeType = ChallengeType.HTTP01
    ) -> Evidence:
        validator = validators(reactor, http01_port=self.port, tlsalpn01_port=self.port, limits=SHORT)[kind]
        try:
            return await validator.validate(attempt(name, kind, self.resolvers, allow))
        finally:
            await self.web.emptied()

    async def refused(self, name: str, words: str, allow: Iterable[str] = LOOPBACK, **options: Any) -> None:
        """Show that a validation ends in these words and the internal responder saw nothing."""
        try:
            await self.validate(name, allow, **options)
        except Problem as problem:
            self.assertIn(words, problem.detail)
            self.assertNotIsInstance(problem, Transient)
            self.assertNotIn("secret", problem.detail)
        else:
            self.fail("validated")
        self.assertEqual(self.secret.connections, [])


class FirstHopTests(WholeValidationCase):
    """Layer 2 again, with real sockets."""

    async def test_loopback_by_default(self) -> None:
        """Without an entry of the operator no validation reaches loopback, by name or by address."""
        for kind in (ChallengeType.HTTP01, ChallengeType.TLSALPN01):
            for name in ("a.example", "inside.example", "127.0.0.1", "127.0.0.2", "::1"):
                await self.refused(name, "is not dialled: rule", allow=(), kind=kind)
        self.assertEqual(self.web.connections, [])

    async def test_entry_opens_exactly_that(self) -> None:
        await self.validate("a.example")
        await self.refused(
            "inside.example", "inside.example: 127.0.0.2 is not dialled: rule 127.0.0.0/8, loopback"
        )

    async def test_rebinding_resolver(self) -> None:
        """The resolver's second answer would be the internal address: it is never asked for."""
        self.rebind(after=1)
        evidence = await self.validate("a.example")
        self.assertEqual(evidence.address, "127.0.0.1")
        self.assertEqual(sorted(self.dns.asked), [("udp", "a.example", "A"), ("udp", "a.example", "AAAA")])
        self.assertEqual(self.secret.connections, [])

    async def test_rebinding_at_the_redirect(self) -> None:
        """A redirect to the same name is looked up and judged anew."""
        self.rebind(after=1)
        self.web.script = redirecting("http://a.example/x")
        await self.refused("a.example", "127.0.0.2 is not dialled")
        self.assertEqual(self.dns.asked.count(("udp", "a.example", "A")), 2)

    def rebind(self, after: int) -> None:
        """Answer with the public address so many times, and then with the internal one."""
        real = self.dns.answer
        count = 0

        def answer(query: Any, name: Any, kind: str) -> Any:
            nonlocal count
            response = real(query, name, kind)
            if kind == "A":
                count += 1
                if count > after:
                    response.answer = [dns.rrset.from_text("a.example.", 0, "IN", "A", "127.0.0.2")]
            return response

        self.dns.answer = answer  # type: ignore[method-assign]


class RedirectTests(WholeValidationCase):
    """Layer 3: each redirect is judged like the first URL."""

    async def follow(self, location: str, words: str) -> None:
        self.web.script = redirecting(location)
        await self.refused("a.example", words)

    async def test_loopback(self) -> None:
        await self.follow("http://127.0.0.2/", "127.0.0.2 is not dialled: rule 127.0.0.0/8, loopback")
        await self.follow("http://localhost/", "localhost does not exist")

    async def test_metadata(self) -> None:
        await self.follow(
            "http://169.254.169.254/latest/meta-data/", "rule 169.254.169.254/32, cloud metadata"
        )
        await self.follow("http://[fd00:ec2::254]/latest/meta-data/", "rule fd00:ec2::/32, cloud metadata")
        await self.follow("http://100.100.100.200/", "rule 100.100.100.200/32, cloud metadata")

    async def test_name_of_a_denied_address(self) -> None:
        await self.follow("http://inside.example/", "127.0.0.2 is not dialled")

    async def test_other_port(self) -> None:
        await self.follow(f"http://a.example:{self.port + 1}/", f"is not to port {self.port}")
        await self.follow("http://a.example:22/", f"is not to port {self.port}")

    async def test_other_scheme(self) -> None:
        for location in ("ftp://a.example/", "file:///etc/passwd", "gopher://127.0.0.2:6379/_INFO"):
            await self.follow(location, "is not an http or https URL")

    async def test_spellings(self) -> None:
        """Decimal, hexadecimal, octal, short, mapped, with a zone: none reaches anything."""
        for host in (
            "2130706434",
            "0x7f000002",
            "0x7f.2",
            "0177.0.0.2",
            "127.2",
            "127.0.0.2.",
            "[::ffff:7f00:2]",
        ):
            await self.follow(f"http://{host}:{self.port}/", "not")
        for host in (
            "[::ffff:127.0.0.2]",
            "[64:ff9b::127.0.0.2]",
            "[64:ff9b::7f00:2]",
            "[2002:7f00:2::1]",
            "[::1%25lo]",
        ):
            await self.follow(f"http://{host}:{self.port}/", "not")

    async def test_user_information(self) -> None:
        await self.follow(f"http://a.example@127.0.0.2:{self.port}/", "plain host")

    async def test_smuggled_header(self) -> None:
        """Blanks and controls in the target do not reach the next request."""
        for location in ("http://a.example/ HTTP/1.1", "http://a.example/\tx", "http://a.example/\x0bx"):
            await self.follow(location, "is not a URL")

    async def test_content_not_told(self) -> None:
        """Of a page that the redirect chose, status and size are told and nothing else."""
        left = [redirecting("http://a.example/admin?page=1")]
        page = answering(b"the secret is 42", b"403 Forbidden")
        self.web.script = lambda connection: (left.pop() if left else page)(connection)
        await self.refused("a.example", "status 403: 16 bytes, not shown")

    async def test_path_kept(self) -> None:
        """What the first URL asks for is the well-known path and nothing that the client chose."""
        await self.validate("a.example")
        self.assertEqual(self.web.lines, [f"GET {PATH} HTTP/1.1"])
