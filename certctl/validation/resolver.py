"""A stub resolver: dnspython's messages over Twisted's UDP and TCP, without a cache.

It trusts the resolvers it asks, as stubs do: DNSSEC is validated by them or by nobody. What an attacker off
the path could forge is made hard to guess (query id and source port, RFC 5452), and what does not match is
not looked at.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable
from typing import Any

import attrs
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from twisted.internet import error
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.protocol import DatagramProtocol, Factory, connectionDone
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure

from certctl.acme.problems import Problem, ProblemType
from certctl.validation.addresses import Resolvers, Server
from certctl.validation.attempt import Transient, within
from certctl.validation.special_purpose import IPAddress
from certctl.validation.wire import Wire

UDP_PAYLOAD = 1232  # bytes, announced by EDNS: fits an IPv6 packet of the smallest MTU (DNS flag day 2020)
MAX_DATAGRAM = 4096  # bytes; what is longer is cut off and then does not parse
MAX_TCP_ANSWER = 16 * 1024  # bytes; 64 KiB of records would keep the reactor busy for a tenth of a second
MAX_ALIASES = 8  # CNAMEs followed for one question
MAX_ADDRESSES = 16  # of each family


class NameNotFound(Problem):
    """The name does not exist (NXDOMAIN, RFC 2308 section 2.1)."""


class NoRecords(Problem):
    """The name exists and has no record of the type asked for (NODATA, RFC 2308 section 2.2)."""


class AliasesRefused(Problem):
    """A chain of CNAMEs that is too long, or runs in a circle."""


class ResolverFailure(Transient):
    """No resolver gave an answer that could be used: SERVFAIL, REFUSED, silence."""


class _NoAnswer(Exception):
    """One resolver gave nothing usable; the text says what."""


@attrs.frozen
class CAARecord:
    """One CAA record (RFC 8659 section 4.1)."""

    flags: int
    tag: str
    value: bytes


@attrs.frozen
class Resolver:
    """Asks resolvers in turn, ``rounds`` times each, ``seconds`` for each query."""

    _reactor: Any
    seconds: float = 2.0
    rounds: int = 2
    mix_case: bool = False  # draft-vixie-dnsext-dns0x20: more bits to guess, which some resolvers fold away

    async def txt(self, name: str, resolvers: Resolvers) -> tuple[bytes, ...]:
        """Return the TXT records of ``name``, the strings of each joined (RFC 1035 section 3.3.14)."""
        return tuple(b"".join(each.strings) for each in await self._records(name, "TXT", resolvers))

    async def caa(self, name: str, resolvers: Resolvers) -> tuple[CAARecord, ...]:
        """Return the CAA records of ``name`` itself, aliases followed (RFC 8659 section 3)."""
        found = await self._records(name, "CAA", resolvers)
        return tuple(CAARecord(each.flags, each.tag.decode("ascii", "replace"), each.value) for each in found)

    async def addresses(self, name: str, resolvers: Resolvers) -> tuple[IPAddress, ...]:
        """Return the addresses of ``name``, IPv6 first. One family is enough: the other may have failed."""
        both = [Deferred.fromCoroutine(self._records(name, kind, resolvers)) for kind in ("AAAA", "A")]
        found: list[IPAddress] = []
        problems: list[Problem] = []
        for result in await _all_of(both):
            if isinstance(result, Problem):
                problems.append(result)
            else:
                found += [ipaddress.ip_address(each.address) for each in result[:MAX_ADDRESSES]]
        if not found:
            raise _worst(name, problems)
        return tuple(found)

    async def _records(self, name: str, kind: str, resolvers: Resolvers) -> list[Any]:
        path: Path = (_name(name),)
        rdtype = dns.rdatatype.from_text(kind)
        while True:
            servers = resolvers.serving(path[-1].to_text())
            answer = await self._ask(path[-1], rdtype, servers)
            longer = follow(answer, path, rdtype)
            rrset = answer.get_rrset(answer.answer, longer[-1], dns.rdataclass.IN, rdtype)
            if rrset:
                return list(rrset)
            if answer.rcode() == dns.rcode.NXDOMAIN:
                raise NameNotFound(
                    ProblemType.DNS, f"{_shown(longer)} does not exist (NXDOMAIN asking for {kind})"
                )
            if longer == path:
                raise NoRecords(ProblemType.DNS, f"{_shown(longer)} has no {kind} record")
            path = longer

    async def _ask(
        self, name: dns.name.Name, rdtype: Any, servers: tuple[Server, ...]
    ) -> dns.message.Message:
        reasons: list[str] = []
        for server in servers * self.rounds:
            try:
                answer = await self._exchange(self._query(name, rdtype), server)
                if answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    return answer
                raise _NoAnswer(dns.rcode.to_text(answer.rcode()))
            except _NoAnswer as failure:
                reasons.append(str(failure))
        words = ", ".join(dict.fromkeys(reasons))
        raise ResolverFailure(
            ProblemType.DNS,
            f"the lookup of {dns.rdatatype.to_text(rdtype)} {_shown((name,))} failed: {words}",
        )

    def _query(self, name: dns.name.Name, rdtype: Any) -> dns.message.QueryMessage:
        """Make a query that nobody off the path can guess, recursion desired."""
        if self.mix_case:
            name = dns.name.Name([bytes(_any_case(byte) for byte in label) for label in name.labels])
        return dns.message.make_query(
            name, rdtype, use_edns=0, payload=UDP_PAYLOAD, flags=dns.flags.RD, id=secrets.randbelow(0x10000)
        )

    async def _exchange(self, query: dns.message.QueryMessage, server: Server) -> dns.message.Message:
        """Ask one resolver: by UDP, and by TCP what UDP cannot hold (RFC 7766 section 5)."""

        def late() -> _NoAnswer:
            return _NoAnswer(f"no answer within {self.seconds:g} s")

        answer = await within(self._reactor, self.seconds, self._by_udp(query, server), late)
        if not answer.flags & dns.flags.TC:
            return answer
        answer = await within(self._reactor, self.seconds, self._by_tcp(query, server), late)
        if answer.flags & dns.flags.TC:
            raise _NoAnswer("cut short by TCP too")
        return answer

    async def _by_udp(self, query: dns.message.QueryMessage, server: Server) -> dns.message.Message:
        """Ask from a port of its own, which the kernel picks at random and connects to this resolver
        alone.
        """
        protocol = _Datagrams(query, self.mix_case)
        interface = "::" if server[0].version == 6 else ""
        try:
            port = self._reactor.listenUDP(0, protocol, interface=interface, maxPacketSize=MAX_DATAGRAM)
        except error.CannotListenError:
            raise _NoAnswer("no socket") from None
        try:
            port.connect(str(server[0]), server[1])
            port.write(query.to_wire())
            return await protocol.answer
        except OSError:
            raise _NoAnswer("unreachable") from None
        finally:
            protocol.waiting = False
            await maybeDeferred(port.stopListening)

    async def _by_tcp(self, query: dns.message.QueryMessage, server: Server) -> dns.message.Message:
        async with Wire(self._reactor, (server[0],), server[1], self.seconds, MAX_TCP_ANSWER) as wire:
            try:
                protocol = await wire.connect(Factory.forProtocol(lambda: _Stream(query, self.mix_case)))
            except Transient:
                raise _NoAnswer("refused by TCP") from None
            assert isinstance(protocol, _Stream)
            return await protocol.answer


class _Datagrams(DatagramProtocol):
    """Waits for the datagram that answers the query; all others are dropped."""

    noisy = False

    def __init__(self, query: dns.message.QueryMessage, exact: bool) -> None:
        self._query, self._exact = query, exact
        self.answer: Deferred[dns.message.Message] = Deferred()
        self.waiting = True

    def connectionRefused(self) -> None:
        self.stopProtocol()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        message = answering(datagram, self._query, self._exact)
        if message is not None and not self.answer.called:
            self.answer.callback(message)

    def stopProtocol(self) -> None:
        """The socket is gone: after an ICMP error, which epoll reports as a hang-up, or because we are done."""
        if not self.answer.called and self.waiting:
            self.answer.errback(Failure(_NoAnswer("refused")))


class _Stream(Int16StringReceiver):
    """Sends the query and waits for its answer (RFC 7766 section 8)."""

    noisy = False

    def __init__(self, query: dns.message.QueryMessage, exact: bool) -> None:
        self._query, self._exact = query, exact
        self.answer: Deferred[dns.message.Message] = Deferred()

    def connectionMade(self) -> None:
        self.sendString(self._query.to_wire())

    def stringReceived(self, string: bytes) -> None:
        message = answering(string, self._query, self._exact)
        if message is not None and not self.answer.called:
            self.answer.callback(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.errback(Failure(_NoAnswer("closed without an answer")))


def answering(
    wire: bytes, query: dns.message.QueryMessage, exact: bool = False
) -> dns.message.Message | None:
    """Return the message in ``wire`` if it answers ``query`` (RFC 5452 section 9.1), else None.

    The id, the question (with ``exact`` in its very case) and the header must match; what does not parse is
    None too. Of a truncated answer the question alone is read.
    """
    if len(wire) < 12 or int.from_bytes(wire[:2], "big") != query.id:
        return None
    truncated = bool(int.from_bytes(wire[2:4], "big") & dns.flags.TC)
    try:
        message = dns.message.from_wire(wire, question_only=truncated)
    except (dns.exception.DNSException, ValueError):
        return None
    if not message.flags & dns.flags.QR or message.opcode() != dns.opcode.QUERY or len(message.question) != 1:
        return None
    asked, echoed = query.question[0], message.question[0]
    if (asked.name, asked.rdtype, asked.rdclass) != (echoed.name, echoed.rdtype, echoed.rdclass):
        return None
    return None if exact and asked.name.labels != echoed.name.labels else message


Path = tuple[dns.name.Name, ...]


def follow(answer: dns.message.Message, path: Path, rdtype: Any) -> Path:
    """Return ``path`` with the CNAMEs that the answer holds for its last name (RFC 1034 section 3.6.2)."""
    while not answer.get_rrset(answer.answer, path[-1], dns.rdataclass.IN, rdtype):
        alias = answer.get_rrset(answer.answer, path[-1], dns.rdataclass.IN, dns.rdatatype.CNAME)
        if not alias:
            break
        if alias[0].target in path:
            raise AliasesRefused(ProblemType.DNS, f"the CNAMEs of {_shown(path[:1])} run in a circle")
        path = (*path, alias[0].target)
        if len(path) > MAX_ALIASES + 1:
            raise AliasesRefused(
                ProblemType.DNS, f"{_shown(path[:1])} leads to more than {MAX_ALIASES} CNAMEs"
            )
    return path


async def _all_of(lookups: list[Deferred[list[Any]]]) -> list[list[Any] | Problem]:
    """Await all, cancel all with the waiting; what is no Problem is raised."""
    results: list[list[Any] | Problem] = []
    outcome: Any
    for succeeded, outcome in await DeferredList(lookups, consumeErrors=True):
        if not succeeded and not isinstance(outcome.value, Problem):
            raise outcome.value
        results.append(outcome if succeeded else outcome.value)
    return results


def _name(text: str) -> dns.name.Name:
    try:
        return dns.name.from_text(text)
    except dns.exception.DNSException:
        raise Problem(ProblemType.DNS, f"{text} is no name that can be asked for in the DNS") from None


def _worst(name: str, problems: Iterable[Problem]) -> Problem:
    """Of the problems of two families: a failure hides what there may be, and "no record" says the name
    exists.
    """
    for kind in (ResolverFailure, AliasesRefused):
        for problem in problems:
            if isinstance(problem, kind):
                return problem
    for problem in problems:
        if isinstance(problem, NameNotFound):
            return problem
    return NoRecords(ProblemType.DNS, f"{name} has no A or AAAA record")


def _shown(path: Path) -> str:
    """The name asked, and where its aliases led."""
    names = [each.to_text(omit_final_dot=True) for each in path]
    return names[0] if len(names) == 1 else f"{names[0]} (alias of {names[-1]})"


def _any_case(byte: int) -> int:
    return byte ^ 0x20 if chr(byte).isalpha() and byte < 128 and secrets.randbits(1) else byte
