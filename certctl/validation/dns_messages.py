"""DNS messages: what is asked, which bytes answer it, and what they say.

Queries are few bytes and made by hand. Answers are read by dnspython, but for those of the usual form to a question
for addresses, which is most of them: for these it takes five times as long as the rest of a lookup.
"""

from __future__ import annotations

import ipaddress
import secrets
import struct
from collections.abc import Sequence
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

from certctl.validation.special_purpose import IPAddress

UDP_PAYLOAD = 1232  # bytes, announced by EDNS: fits an IPv6 packet of the smallest MTU (DNS flag day 2020)
HEADER = 12  # bytes (RFC 1035 section 4.1.1)

_ASKS = struct.pack(
    "!HHHHH", dns.flags.RD, 1, 0, 0, 1
)  # of the header, all but the id: one question, one OPT
_EDNS = struct.pack("!BHHIH", 0, dns.rdatatype.OPT, UDP_PAYLOAD, 0, 0)  # RFC 6891 section 6.1.2
_RECORD = struct.Struct("!HHIH")  # type, class, TTL, length (RFC 1035 section 4.1.3)
_SAME_NAME = b"\xc0\x0c"  # the question's name, told by a pointer to it (RFC 1035 section 4.1.4)
# Flags that say nothing of an answer's form. Of all others QR alone is set in a whole answer without error.
_OF_NO_MATTER = dns.flags.AA | dns.flags.RD | dns.flags.RA | dns.flags.AD | dns.flags.CD
_ADDRESSES: dict[int, type[Any]] = {
    dns.rdatatype.A: ipaddress.IPv4Address,
    dns.rdatatype.AAAA: ipaddress.IPv6Address,
}


@attrs.frozen
class Query:
    """A question under an id, recursion desired."""

    id: int
    name: dns.name.Name
    rdtype: dns.rdatatype.RdataType
    question: bytes = attrs.field(init=False)  # as it stands in the message

    @question.default
    def _question(self) -> bytes:
        name = b"".join(bytes((len(label),)) + label for label in self.name.labels)
        return name + struct.pack("!HH", self.rdtype, dns.rdataclass.IN)

    @property
    def wire(self) -> bytes:
        """The message that asks it."""
        return self.id.to_bytes(2, "big") + _ASKS + self.question + _EDNS


def unguessable(
    questions: Sequence[tuple[dns.name.Name, dns.rdatatype.RdataType]], mix_case: bool
) -> list[Query]:
    """Queries, each under an id of its own, that nobody off the path can guess (RFC 5452 section 9.2)."""
    ids = _RANDOM.sample(range(0x10000), len(questions))
    return [
        Query(id, _in_any_case(name) if mix_case else name, rdtype)
        for id, (name, rdtype) in zip(ids, questions, strict=True)
    ]


_RANDOM = secrets.SystemRandom()


def _in_any_case(name: dns.name.Name) -> dns.name.Name:
    return dns.name.Name([bytes(_any_case(byte) for byte in label) for label in name.labels])


def _any_case(byte: int) -> int:
    return byte ^ 0x20 if chr(byte).isalpha() and byte < 128 and secrets.randbits(1) else byte


@attrs.frozen
class Answer:
    """What came back: addresses, or a message of which any record may be asked for."""

    addresses: Sequence[IPAddress] = ()
    message: dns.message.Message | None = None

    @property
    def truncated(self) -> bool:
        return self.message is not None and bool(self.message.flags & dns.flags.TC)

    @property
    def rcode(self) -> dns.rcode.Rcode:
        return dns.rcode.NOERROR if self.message is None else self.message.rcode()

    def records(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> Sequence[Any]:
        """The records of a name: addresses as such, all others as dnspython has them."""
        if self.message is None:
            return self.addresses
        found = self._rrset(name, rdtype)
        if rdtype in _ADDRESSES:
            return [ipaddress.ip_address(each.address) for each in found]
        return found

    def alias(self, name: dns.name.Name) -> dns.name.Name | None:
        """The name that ``name`` is an alias of, if the answer says so (RFC 1034 section 3.6.2)."""
        found = self._rrset(name, dns.rdatatype.CNAME)
        return found[0].target if found else None

    def _rrset(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> Sequence[Any]:
        if self.message is None:
            return ()
        return list(self.message.get_rrset(self.message.answer, name, dns.rdataclass.IN, rdtype) or ())


def answering(wire: bytes, query: Query, exact: bool = False) -> Answer | None:
    """Return the answer in ``wire`` if it answers ``query`` (RFC 5452 section 9.1), else None.

    The id, the question (with ``exact`` in its very case) and the header must match; what does not parse is None too.
    Of a truncated answer the question alone is read.
    """
    if len(wire) < HEADER:
        return None
    id, flags, questions = struct.unpack_from("!HHH", wire)
    if id != query.id or not flags & dns.flags.QR or questions != 1:
        return None
    if not _same(query.question, wire[HEADER : HEADER + len(query.question)], exact):
        return None
    if (found := _usual(wire, flags, query)) is not None:
        return Answer(found)
    try:
        message = dns.message.from_wire(wire, question_only=bool(flags & dns.flags.TC))
    except (dns.exception.DNSException, ValueError):
        return None
    return Answer(message=message) if message.opcode() == dns.opcode.QUERY else None


def _same(asked: bytes, echoed: bytes, exact: bool) -> bool:
    """Whether two questions are the same, by default in whatever case (RFC 4343): no label's length is a letter."""
    if asked == echoed:
        return True
    return not exact and asked[-4:] == echoed[-4:] and asked[:-4].lower() == echoed[:-4].lower()


def _usual(wire: bytes, flags: int, query: Query) -> list[IPAddress] | None:
    """The addresses in an answer of the usual form; None for any other, and what is not well-formed.

    It tells of no error and is whole; its answers are all of the name and the type that were asked for; nothing but
    EDNS follows, without an error of its own.
    """
    kind = _ADDRESSES.get(query.rdtype)
    if kind is None or flags & ~_OF_NO_MATTER != dns.flags.QR:
        return None
    found = []
    answers, authorities, others = struct.unpack_from("!HHH", wire, 6)
    at = HEADER + len(query.question)
    try:
        for number in range(answers + authorities + others):
            name, at = at, _after_name(wire, at)
            rdtype, rdclass, ttl, length = _RECORD.unpack_from(wire, at)
            data = wire[at + _RECORD.size : at + _RECORD.size + length]
            at += _RECORD.size + length
            if number < answers:
                if (wire[name : name + 2], rdtype, rdclass) != (_SAME_NAME, query.rdtype, dns.rdataclass.IN):
                    return None
                found.append(kind(data))
            elif number >= answers + authorities and (rdtype != dns.rdatatype.OPT or ttl >> 24 or others > 1):
                return None
    except (IndexError, struct.error, ValueError):
        return None
    return found if at == len(wire) else None


def _after_name(wire: bytes, at: int) -> int:
    """Where a name ends; raises IndexError or ValueError if it does not."""
    while length := wire[at]:
        if length >= 0xC0:  # a pointer
            return at + 2
        if length > 63:
            raise ValueError("neither a label nor a pointer")
        at += 1 + length
    return at + 1
