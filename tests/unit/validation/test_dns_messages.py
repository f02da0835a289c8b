"""Tests for certctl.validation.dns_messages."""

from __future__ import annotations

import ipaddress

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.validation.dns_messages import Answer, Query, answering, unguessable


class AnsweringTests(SynchronousTestCase):
    """Which bytes answer a query."""

    query = Query(0x1234, dns.name.from_text("a.example"), dns.rdatatype.TXT)
    asked = dns.message.make_query("a.example", "TXT", id=0x1234)

    def test_good(self) -> None:
        response = dns.message.make_response(self.asked)
        self.assertIsNotNone(answering(response.to_wire(), self.query))

    def test_case(self) -> None:
        """Another case is the same name, unless the case was part of the question."""
        shouted = dns.message.make_query("A.Example", "TXT", id=0x1234)
        wire = dns.message.make_response(shouted).to_wire()
        self.assertIsNotNone(answering(wire, self.query))
        self.assertIsNone(answering(wire, self.query, exact=True))

    def test_id(self) -> None:
        """One bit of the id is enough to be a stranger."""
        wire = dns.message.make_response(self.asked).to_wire()
        for bit in range(16):
            self.assertIsNone(answering((0x1234 ^ 1 << bit).to_bytes(2, "big") + wire[2:], self.query))

    def test_no_question(self) -> None:
        wire = dns.message.make_response(self.asked).to_wire()
        self.assertIsNone(answering(wire[:4] + b"\0\0" + wire[6:12], self.query))

    @given(st.binary(max_size=600))
    def test_any_bytes(self, data: bytes) -> None:
        answering(data, self.query)

    @given(st.binary(max_size=200), st.integers(0, 0xFFFF), st.tuples(*[st.integers(0, 3)] * 3))
    def test_any_records(self, data: bytes, flags: int, counts: tuple[int, int, int]) -> None:
        """The header and the question fit, the rest is rubbish: None or a message, nothing else."""
        question = self.query.wire[12 : 12 + 15]
        head = b"\x12\x34" + (flags | 0x8000).to_bytes(2, "big") + b"\0\1"
        answering(head + b"".join(each.to_bytes(2, "big") for each in counts) + question + data, self.query)

    @given(st.data())
    def test_flipped_bits(self, data: st.DataObject) -> None:
        response = dns.message.make_response(self.asked)
        response.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "TXT", '"x"'))
        response.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "CNAME", "b.example."))
        wire = bytearray(response.to_wire())
        for _ in range(data.draw(st.integers(1, 8))):
            wire[data.draw(st.integers(2, len(wire) - 1))] = data.draw(st.integers(0, 255))
        answering(bytes(wire), self.query)


class QueryTests(SynchronousTestCase):
    """What is sent."""

    def test_as_dnspython_makes_it(self) -> None:
        """Byte for byte, EDNS included."""
        for name in ("a.example", "_acme-challenge." + "x" * 63 + ".test", "."):
            for kind in ("A", "AAAA", "TXT", "CAA"):
                made = dns.message.make_query(
                    name, kind, use_edns=0, payload=1232, flags=dns.flags.RD, id=0xFFEE
                ).to_wire()
                query = Query(0xFFEE, dns.name.from_text(name), dns.rdatatype.from_text(kind))
                self.assertEqual(query.wire, made)

    def test_ids_differ(self) -> None:
        question = (dns.name.from_text("a.example"), dns.rdatatype.A)
        for _ in range(100):
            self.assertEqual(len({query.id for query in unguessable([question] * 50, False)}), 50)


class UsualAnswerTests(SynchronousTestCase):
    """Answers that are read without dnspython say the same as with it, and all others are left to it."""

    def setUp(self) -> None:
        self.query = Query(7, dns.name.from_text("a.example"), dns.rdatatype.A)
        self.response = dns.message.make_response(
            dns.message.make_query("A.example", "A", id=7, use_edns=0), recursion_available=True
        )

    def add(self, section: str, owner: str, kind: str, *texts: str) -> None:
        getattr(self.response, section).append(dns.rrset.from_text(owner, 60, "IN", kind, *texts))

    def read(self) -> Answer:
        answer = answering(self.response.to_wire(), self.query)
        assert answer is not None
        return answer

    def test_addresses(self) -> None:
        self.add("answer", "A.example.", "A", "192.0.2.1", "192.0.2.2")
        answer = self.read()
        self.assertIsNone(answer.message)
        found = answer.records(self.query.name, self.query.rdtype)
        self.assertEqual(set(found), {ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("192.0.2.2")})

    def test_ipv6(self) -> None:
        self.query = Query(7, self.query.name, dns.rdatatype.AAAA)
        self.response = dns.message.make_response(dns.message.make_query("a.example", "AAAA", id=7))
        self.add("answer", "a.example.", "AAAA", "2001:db8::1")
        answer = self.read()
        self.assertIsNone(answer.message)
        self.assertEqual(answer.addresses, [ipaddress.ip_address("2001:db8::1")])

    def test_none_with_authority(self) -> None:
        """No address, and a SOA record that says for how long (RFC 2308)."""
        self.add("authority", "example.", "SOA", "ns.example. host.example. 1 2 3 4 5")
        answer = self.read()
        self.assertIsNone(answer.message)
        self.assertEqual(answer.addresses, [])

    def test_left_to_dnspython(self) -> None:
        """Aliases, errors, an extended error code, what is signed."""

        def alias() -> None:
            self.add("answer", "a.example.", "CNAME", "b.example.")
            self.add("answer", "b.example.", "A", "192.0.2.1")

        def other_owner() -> None:
            self.add("answer", "b.example.", "A", "192.0.2.1")

        def failed() -> None:
            self.response.set_rcode(2)  # type: ignore[arg-type]

        def bad_version() -> None:
            self.response.set_rcode(16)  # type: ignore[arg-type]

        def more() -> None:
            self.add("additional", "b.example.", "A", "192.0.2.1")

        for change in (alias, other_owner, failed, bad_version, more):
            self.setUp()
            change()
            self.assertIsNotNone(self.read().message, change.__name__)

    @given(st.data())
    def test_never_other_than_dnspython(self, data: st.DataObject) -> None:
        """Whatever bytes are changed: addresses that come out are those that dnspython finds."""
        self.setUp()
        self.add("answer", "a.example.", "A", "192.0.2.1", "192.0.2.2")
        self.add("authority", "example.", "SOA", "ns.example. host.example. 1 2 3 4 5")
        wire = bytearray(self.response.to_wire())
        for _ in range(data.draw(st.integers(1, 4))):
            wire[data.draw(st.integers(2, len(wire) - 1))] = data.draw(st.integers(0, 255))
        answer = answering(bytes(wire), self.query)
        if answer is None or answer.message is not None:
            return
        try:
            message = dns.message.from_wire(bytes(wire))
        except dns.exception.DNSException:
            return  # it looks into records that matter to nobody
        self.assertEqual(message.rcode(), 0)
        found = Answer(message=message).records(self.query.name, self.query.rdtype)
        self.assertEqual(set(found), set(answer.addresses))
