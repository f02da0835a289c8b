"""A stub resolver: dnspython's messages over Twisted's UDP and TCP, without a cache.

It trusts the resolvers it asks, as stubs do: DNSSEC is validated by them or by nobody. What an attacker off
the path could forge is made hard to guess (query id and source port, RFC 5452), and what does not match is
not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import attrs
import dns.exception
import dns.name
import dns.rcode
import dns.rdatatype
from twisted.internet.protocol import Factory

from certctl.acme.problems import Problem, ProblemType
from certctl.validation.addresses import Resolvers, Server
from certctl.validation.attempt import Transient, within
from certctl.validation.dns_messages import Answer, Query, unguessable
from certctl.validation.dns_transport import REFUSED, Datagrams, NoAnswer, Stream
from certctl.validation.special_purpose import IPAddress
from certctl.validation.wire import Wire

MAX_TCP_ANSWER = 16 * 1024  # bytes; 64 KiB of records would keep the reactor busy for a tenth of a second
MAX_ALIASES = 8  # CNAMEs followed for one question
MAX_ADDRESSES = 16  # of each family

T = TypeVar("T")


class NameNotFound(Problem):
    """The name does not exist (NXDOMAIN, RFC 2308 section 2.1)."""


class NoRecords(Problem):
    """The name exists and has no record of the type asked for (NODATA, RFC 2308 section 2.2)."""


class AliasesRefused(Problem):
    """A chain of CNAMEs that is too long, or runs in a circle."""


class ResolverFailure(Transient):
    """No resolver gave an answer that could be used: SERVFAIL, REFUSED, silence."""


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
        (found,) = await self._records(name, (dns.rdatatype.TXT,), resolvers)
        return tuple(b"".join(each.strings) for each in _had(found))

    async def caa(self, name: str, resolvers: Resolvers) -> tuple[CAARecord, ...]:
        """Return the CAA records of ``name`` itself, aliases followed (RFC 8659 section 3)."""
        (found,) = await self._records(name, (dns.rdatatype.CAA,), resolvers)
        return tuple(
            CAARecord(each.flags, each.tag.decode("ascii", "replace"), each.value) for each in _had(found)
        )

    async def addresses(self, name: str, resolvers: Resolvers) -> tuple[IPAddress, ...]:
        """Return the addresses of ``name``, IPv6 first. One family is enough: the other may have failed."""
        both = await self._records(name, (dns.rdatatype.AAAA, dns.rdatatype.A), resolvers)
        problems = [each for each in both if isinstance(each, Problem)]
        found = [each for each in both if not isinstance(each, Problem)]
        if not found:
            raise _worst(name, problems)
        return tuple(address for family in found for address in family[:MAX_ADDRESSES])

    async def _records(
        self, name: str, types: Sequence[dns.rdatatype.RdataType], resolvers: Resolvers
    ) -> list[Sequence[Any] | Problem]:
        """For each of the types the records of a name, or why there are none. The first questions go out together."""
        path = (_name(name),)
        questions = [(path[0], rdtype) for rdtype in types]
        answers = await self._ask(questions, resolvers.serving(name))
        return [
            answer if isinstance(answer, Problem) else await self._follow(answer, path, rdtype, resolvers)
            for answer, rdtype in zip(answers, types, strict=True)
        ]

    async def _follow(
        self, answer: Answer, path: Path, rdtype: dns.rdatatype.RdataType, resolvers: Resolvers
    ) -> Sequence[Any] | Problem:
        """Return the records at the end of the CNAMEs, or why there are none."""
        kind = dns.rdatatype.to_text(rdtype)
        try:
            while True:
                longer = follow(answer, path, rdtype)
                if found := answer.records(longer[-1], rdtype):
                    return found
                if answer.rcode == dns.rcode.NXDOMAIN:
                    words = f"{_shown(longer)} does not exist (NXDOMAIN asking for {kind})"
                    return NameNotFound(ProblemType.DNS, words)
                if longer == path:
                    return NoRecords(ProblemType.DNS, f"{_shown(longer)} has no {kind} record")
                path = longer
                servers = resolvers.serving(path[-1].to_text())
                answer = _had(*await self._ask([(path[-1], rdtype)], servers))
        except Problem as problem:
            return problem

    async def _ask(
        self, questions: Sequence[Question], servers: tuple[Server, ...]
    ) -> list[Answer | Problem]:
        """The answer to each question of the first resolver that has one, or ResolverFailure."""
        answers: dict[int, Answer] = {}  # by the question's number
        reasons: list[list[str]] = [[] for _ in questions]
        for server in servers * self.rounds:
            open = [number for number in range(len(questions)) if number not in answers]
            if not open:
                break
            queries = unguessable([questions[number] for number in open], self.mix_case)
            for number, outcome in zip(open, await self._exchange(queries, server), strict=True):
                if isinstance(outcome, NoAnswer):
                    reasons[number].append(str(outcome))
                elif outcome.rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    answers[number] = outcome
                else:
                    reasons[number].append(dns.rcode.to_text(outcome.rcode))
        return [
            answers.get(number) or _failure(question, reasons[number])
            for number, question in enumerate(questions)
        ]

    async def _exchange(self, queries: Sequence[Query], server: Server) -> list[Answer | NoAnswer]:
        """Ask one resolver: by UDP, and by TCP what UDP cannot hold (RFC 7766 section 5)."""
        outcomes = await self._by_udp(queries, server)
        return [
            await self._by_tcp(query, server)
            if isinstance(outcome, Answer) and outcome.truncated
            else outcome
            for query, outcome in zip(queries, outcomes, strict=True)
        ]

    async def _by_udp(self, queries: Sequence[Query], server: Server) -> list[Answer | NoAnswer]:
        try:
            datagrams = Datagrams(self._reactor, server, queries, self.mix_case)
        except OSError as failure:
            refused = isinstance(failure, ConnectionRefusedError)
            return [REFUSED if refused else NoAnswer("unreachable")] * len(queries)
        timer = self._reactor.callLater(self.seconds, lambda: datagrams.end(self._late()))
        try:
            return await datagrams.outcomes
        finally:
            datagrams.close()
            if timer.active():
                timer.cancel()

    async def _by_tcp(self, query: Query, server: Server) -> Answer | NoAnswer:
        try:
            answer = await within(self._reactor, self.seconds, self._stream(query, server), self._late)
        except NoAnswer as reason:
            return reason
        return NoAnswer("cut short by TCP too") if answer.truncated else answer

    async def _stream(self, query: Query, server: Server) -> Answer:
        async with Wire(self._reactor, (server[0],), server[1], self.seconds, MAX_TCP_ANSWER) as wire:
            try:
                protocol = await wire.connect(Factory.forProtocol(lambda: Stream(query, self.mix_case)))
            except Transient:
                raise NoAnswer("refused by TCP") from None
            assert isinstance(protocol, Stream)
            return await protocol.answer

    def _late(self) -> NoAnswer:
        return NoAnswer(f"no answer within {self.seconds:g} s")


Question = tuple[dns.name.Name, dns.rdatatype.RdataType]
Path = tuple[dns.name.Name, ...]


def follow(answer: Answer, path: Path, rdtype: dns.rdatatype.RdataType) -> Path:
    """Return ``path`` with the CNAMEs that the answer holds for its last name (RFC 1034 section 3.6.2)."""
    while not answer.records(path[-1], rdtype):
        alias = answer.alias(path[-1])
        if alias is None:
            break
        if alias in path:
            raise AliasesRefused(ProblemType.DNS, f"the CNAMEs of {_shown(path[:1])} run in a circle")
        path = (*path, alias)
        if len(path) > MAX_ALIASES + 1:
            raise AliasesRefused(
                ProblemType.DNS, f"{_shown(path[:1])} leads to more than {MAX_ALIASES} CNAMEs"
            )
    return path


def _had(found: T | Problem) -> T:
    """What was found; raises what stands in its place."""
    if isinstance(found, Problem):
        raise found
    return found


def _failure(question: Question, reasons: Sequence[str]) -> ResolverFailure:
    name, rdtype = question
    words = ", ".join(dict.fromkeys(reasons))
    return ResolverFailure(
        ProblemType.DNS,
        f"the lookup of {dns.rdatatype.to_text(rdtype)} {_shown((name,))} failed: {words}",
    )


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
