"""Tests for certctl.validation.resolver."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from certctl.acme.problems import Problem, ProblemType
from certctl.validation.addresses import Resolvers
from certctl.validation.attempt import Transient
from certctl.validation.resolver import (
    MAX_ALIASES,
    AliasesRefused,
    CAARecord,
    NameNotFound,
    NoRecords,
    Resolver,
    ResolverFailure,
)

from .responders import DNSResponder, reactor

ZONE = {
    ("a.example", "A"): ["192.0.2.1", "192.0.2.2"],
    ("a.example", "AAAA"): ["2001:db8::1"],
    ("four.example", "A"): ["192.0.2.4"],
    ("txt.example", "TXT"): ['"one"', '"two " "halves"', '""'],
    ("caa.example", "CAA"): ['0 issue "ca.example"', '128 tbs "x"'],
    ("alias.example", "CNAME"): ["middle.example"],
    ("middle.example", "CNAME"): ["txt.example"],
    ("broken.example", "CNAME"): ["gone.example"],
    ("loop.example", "CNAME"): ["pool.example"],
    ("pool.example", "CNAME"): ["loop.example"],
    **{(f"c{number}.example", "CNAME"): [f"c{number + 1}.example"] for number in range(20)},
    ("c20.example", "TXT"): ['"far"'],
}


class ResolverCase(TestCase):
    """A resolver and the responder it asks."""

    def setUp(self) -> None:
        self.dns = DNSResponder(ZONE)
        self.address = self.dns.listen(self)
        self.resolvers = Resolvers.of([self.address])
        self.resolver = Resolver(reactor, seconds=0.3)

    async def txt(self, name: str = "txt.example") -> tuple[bytes, ...]:
        return await self.resolver.txt(name, self.resolvers)

    async def failing(self, kind: type[Problem], words: str, name: str = "txt.example") -> None:
        try:
            found = await self.txt(name)
        except kind as problem:
            self.assertIs(problem.type, ProblemType.DNS)
            self.assertIn(words, problem.detail)
        else:
            self.fail(f"found {found!r}")


class AnswerTests(ResolverCase):
    """What is found."""

    async def test_txt(self) -> None:
        """The strings of a record are joined, records stay apart."""
        self.assertEqual(set(await self.txt()), {b"one", b"two halves", b""})

    async def test_addresses(self) -> None:
        """IPv6 first."""
        found = await self.resolver.addresses("a.example", self.resolvers)
        self.assertEqual(str(found[0]), "2001:db8::1")
        self.assertEqual({str(each) for each in found[1:]}, {"192.0.2.1", "192.0.2.2"})

    async def test_one_family(self) -> None:
        found = await self.resolver.addresses("four.example", self.resolvers)
        self.assertEqual([str(each) for each in found], ["192.0.2.4"])

    async def test_caa(self) -> None:
        found = await self.resolver.caa("caa.example", self.resolvers)
        self.assertEqual(set(found), {CAARecord(0, "issue", b"ca.example"), CAARecord(128, "tbs", b"x")})

    async def test_no_address(self) -> None:
        with self.assertRaises(NoRecords):
            await self.resolver.addresses("txt.example", self.resolvers)
        with self.assertRaises(NameNotFound):
            await self.resolver.addresses("gone.example", self.resolvers)

    async def test_failure_hides_what_there_may_be(self) -> None:
        """No A and a failed AAAA is a failure, not an absence."""
        real = self.dns.answer

        def answer(query: Any, name: Any, kind: str) -> Any:
            response = real(query, name, kind)
            if kind == "AAAA":
                response.set_rcode(dns.rcode.SERVFAIL)
            return response

        self.dns.answer = answer  # type: ignore[method-assign]
        with self.assertRaises(ResolverFailure):
            await self.resolver.addresses("txt.example", self.resolvers)

    async def test_nxdomain(self) -> None:
        await self.failing(NameNotFound, "gone.example does not exist (NXDOMAIN", "gone.example")

    async def test_no_data(self) -> None:
        await self.failing(NoRecords, "a.example has no TXT record", "a.example")

    async def test_not_transient(self) -> None:
        """An answer that says no is not asked for again at once."""
        for kind in (NameNotFound, NoRecords, AliasesRefused):
            self.assertFalse(issubclass(kind, Transient))
        self.assertTrue(issubclass(ResolverFailure, Transient))

    async def test_too_long(self) -> None:
        await self.failing(
            Problem, "no name that can be asked for", "_acme-challenge." + ".".join(["a" * 60] * 4)
        )


class AliasTests(ResolverCase):
    """CNAMEs."""

    def alone(self) -> None:
        """Answer with one CNAME at a time, as an authoritative server of another zone does."""
        real = self.dns.answer

        def answer(query: Any, name: Any, kind: str) -> Any:
            response = real(query, name, kind)
            if response.answer and response.answer[0].rdtype == dns.rdatatype.CNAME:
                del response.answer[1:]
                response.set_rcode(dns.rcode.NOERROR)
            return response

        self.dns.answer = answer  # type: ignore[method-assign]

    async def test_within_the_answer(self) -> None:
        self.assertEqual(len(await self.txt("alias.example")), 3)
        self.assertEqual(len(self.dns.asked), 1)

    async def test_by_further_queries(self) -> None:
        self.alone()
        self.assertEqual(len(await self.txt("alias.example")), 3)
        self.assertEqual(
            [name for _, name, _ in self.dns.asked], ["alias.example", "middle.example", "txt.example"]
        )

    async def test_to_nothing(self) -> None:
        await self.failing(
            NameNotFound, "broken.example (alias of gone.example) does not exist", "broken.example"
        )

    async def test_circle(self) -> None:
        await self.failing(AliasesRefused, "run in a circle", "loop.example")
        self.alone()
        await self.failing(AliasesRefused, "run in a circle", "loop.example")

    async def test_too_many(self) -> None:
        """Eight are followed and nine are not, in one answer or in many."""
        first = f"c{20 - MAX_ALIASES}.example"
        for _ in range(2):
            self.assertEqual(await self.txt(first), (b"far",))
            await self.failing(AliasesRefused, "more than 8 CNAMEs", f"c{19 - MAX_ALIASES}.example")
            self.alone()

    async def test_alias_in_another_zone(self) -> None:
        """Each name is asked of the resolvers of its zone."""
        other = DNSResponder({("target.inside", "TXT"): ['"inner"']})
        self.dns.zone["out.example", "CNAME"] = ["target.inside"]
        self.alone()
        resolvers = Resolvers.of([self.address], {"inside": [other.listen(self)]})
        self.assertEqual(await self.resolver.txt("out.example", resolvers), (b"inner",))


class FailureTests(ResolverCase):
    """What cannot be had, and who is asked next."""

    async def test_servfail(self) -> None:
        self.dns.rcodes["txt.example"] = 2
        await self.failing(ResolverFailure, "the lookup of TXT txt.example failed: SERVFAIL")

    async def test_refused(self) -> None:
        self.dns.rcodes["txt.example"] = 5
        await self.failing(ResolverFailure, "REFUSED")

    async def test_timeout(self) -> None:
        self.dns.silent = True
        await self.failing(ResolverFailure, "no answer within 0.3 s")
        self.assertEqual(len(self.dns.asked), 2)

    async def test_nobody_there(self) -> None:
        self.resolvers = Resolvers.of(["127.0.0.1:1"])
        await self.failing(ResolverFailure, "refused")

    async def test_next_resolver(self) -> None:
        """A failure, silence or an empty port leads to the next; an answer, even NXDOMAIN, does not."""
        silent, failing, empty = DNSResponder({}), DNSResponder(ZONE, {"txt.example": 2}), DNSResponder({})
        silent.silent = True
        self.resolvers = Resolvers.of(
            ["127.0.0.1:1", silent.listen(self), failing.listen(self), self.address]
        )
        self.assertEqual(len(await self.txt()), 3)
        self.assertEqual((len(silent.asked), len(failing.asked), len(self.dns.asked)), (1, 1, 1))
        self.resolvers = Resolvers.of([empty.listen(self), self.address])
        await self.failing(NameNotFound, "does not exist")
        self.assertEqual(len(self.dns.asked), 1)

    async def test_cancelled(self) -> None:
        """Nothing stays behind, and no further resolver is asked."""
        self.dns.silent = True
        asking = Deferred.fromCoroutine(self.resolver.addresses("a.example", self.resolvers))
        reactor.callLater(0.1, asking.cancel)
        with self.assertRaises(CancelledError):
            await asking
        self.assertEqual(len(self.dns.asked), 2)


class ForgeryTests(ResolverCase):
    """Answers of somebody else (RFC 5452)."""

    async def test_strangers_dropped(self) -> None:
        """Wrong id, wrong question, a query, rubbish: all dropped, and the true answer behind them is
        taken.
        """

        def forge(query: dns.message.Message, response: dns.message.Message) -> list[bytes]:
            true = response.to_wire()
            other = dns.message.make_query("txt.example", "A", id=query.id)
            wrong_name = dns.message.make_query("evil.example", "TXT", id=query.id)
            forged = [dns.message.make_response(each) for each in (other, wrong_name)]
            lie = dns.message.make_response(query)
            lie.answer.append(dns.rrset.from_text("txt.example.", 60, "IN", "TXT", '"forged"'))
            lie.id ^= 1
            return [
                b"",
                b"x" * 5,
                lie.to_wire(),
                query.to_wire(),
                *(each.to_wire() for each in forged),
                true[:-3],
                true[:2] + b"\xff" * 300,
                true,
            ]

        self.dns.forge = forge
        self.assertEqual(set(await self.txt()), {b"one", b"two halves", b""})
        self.assertEqual(len(self.dns.asked), 1)

    async def test_other_source_dropped(self) -> None:
        """The socket is connected to the resolver: the kernel drops what comes from elsewhere."""
        stranger = reactor.listenUDP(0, DNSStranger(), interface="127.0.0.1")
        self.addCleanup(stranger.stopListening)

        def forge(query: dns.message.Message, response: dns.message.Message) -> list[bytes]:
            fake = dns.message.make_response(query)
            fake.answer.append(dns.rrset.from_text("txt.example.", 60, "IN", "TXT", '"forged"'))
            stranger.write(fake.to_wire(), ("127.0.0.1", self.dns.sources[-1][1]))
            return []

        self.dns.forge = forge
        await self.failing(ResolverFailure, "no answer")

    async def test_ids_and_ports_vary(self) -> None:
        """Each query has an id and a source port of its own, in no order."""
        for _ in range(60):
            await self.txt()
        ids = [each for each, _ in self.dns.sources]
        ports = [port for _, port in self.dns.sources]
        for numbers in (ids, ports):
            self.assertGreater(len(set(numbers)), 55)
            steps = {after - before for before, after in pairwise(numbers)}
            self.assertGreater(len(steps), 50)

    async def test_mixed_case(self) -> None:
        """With 0x20 the case of the question must come back; a resolver that folds it is not believed."""
        self.resolver = Resolver(reactor, seconds=0.3, mix_case=True)
        self.assertEqual(len(await self.txt()), 3)

        def fold(query: dns.message.Message, response: dns.message.Message) -> list[bytes]:
            asked = query.question[0].name
            return [response.to_wire().replace(_wire(asked), _wire(asked.canonicalize()))]

        self.dns.forge = fold
        await self.failing(ResolverFailure, "no answer")


def _wire(name: dns.name.Name) -> bytes:
    """The labels as they stand in a message."""
    return b"".join(bytes([len(each)]) + each for each in name.labels)


class DNSStranger:
    """A socket that only sends."""

    def __init__(self) -> None:
        self.noisy = False

    def makeConnection(self, transport: object) -> None:
        """Nothing to do."""

    def doStop(self) -> None:
        """Nothing to do."""

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """Nothing comes."""


class TransportTests(ResolverCase):
    """EDNS and TCP."""

    async def test_edns(self) -> None:
        """The size announced is 1232, recursion is desired."""
        seen: list[dns.message.Message] = []

        def forge(query: dns.message.Message, response: dns.message.Message) -> list[bytes]:
            seen.append(query)
            return [response.to_wire()]

        self.dns.forge = forge
        await self.txt()
        self.assertEqual((seen[0].edns, seen[0].payload), (0, 1232))
        self.assertEqual(seen[0].flags, dns.flags.RD)

    async def test_truncated(self) -> None:
        """TC leads to TCP."""
        self.dns.zone["big.example", "TXT"] = [f'"{number:0200d}"' for number in range(20)]
        self.dns.truncate = True
        self.assertEqual(len(await self.txt("big.example")), 20)
        self.assertEqual([over for over, _, _ in self.dns.asked], ["udp", "tcp"])

    async def test_truncated_twice(self) -> None:
        """An answer cut short by TCP too is no answer, and surely not "no record"."""
        self.dns.forge = lambda query, response: [self.cut(response)]
        await self.failing(ResolverFailure, "cut short by TCP too")

    @staticmethod
    def cut(response: dns.message.Message) -> bytes:
        response.answer.clear()
        response.flags |= dns.flags.TC
        return response.to_wire()

    async def test_too_big_by_tcp(self) -> None:
        """An answer of 64 KiB is not parsed."""
        self.dns.zone["big.example", "TXT"] = [f'"{number:0200d}"' for number in range(200)]
        self.dns.truncate = True
        await self.failing(ResolverFailure, "closed without an answer", "big.example")

    async def test_silent_by_tcp(self) -> None:
        self.dns.forge = lambda query, response: [self.cut(response)] if len(self.dns.asked) % 2 else []
        await self.failing(ResolverFailure, "no answer within")

    async def test_ipv6_resolver(self) -> None:
        self.resolvers = Resolvers.of([self.dns.listen(self, "::1")])
        self.dns.truncate = True
        self.assertEqual(len(await self.txt()), 3)
