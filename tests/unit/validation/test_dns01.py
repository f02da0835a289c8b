"""Tests for certctl.validation.dns01."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase, TestCase

from certctl.acme.challenges import dns01_value
from certctl.acme.objects import ChallengeType
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.addresses import Resolvers
from certctl.validation.attempt import Evidence, Transient
from certctl.validation.dns01 import judge_records
from certctl.validation.table import validators

from .responders import KEY_AUTHORIZATION, SHORT, DNSResponder, attempt, reactor

VALUE = dns01_value(KEY_AUTHORIZATION)
NAME = "_acme-challenge.a.example"


class JudgeRecordsTests(SynchronousTestCase):
    """RFC 8555 section 8.4, step 3."""

    def test_one_of_several(self) -> None:
        value = VALUE.encode()
        for records in ([value], [b"x", value], [value, b"", b"y"], [value, value]):
            judge_records(records, NAME, KEY_AUTHORIZATION)

    def test_others_refused(self) -> None:
        """The value is case-sensitive and stands alone; what was found is shown, bounded."""
        value = VALUE.encode()
        for record in (
            b"",
            value + b" ",
            b" " + value,
            value[:-1],
            value.lower(),
            value + b"=",
            b"\xff" * 255,
        ):
            problem = self.assertRaises(Problem, judge_records, [record], NAME, KEY_AUTHORIZATION)
            self.assertIs(problem.type, ProblemType.INCORRECT_RESPONSE)
            self.assertNotIsInstance(problem, Transient)
            self.assertIn(NAME, problem.detail)
            self.assertIn("1 TXT record", problem.detail)
            self.assertLess(len(problem.detail), 400)

    def test_count(self) -> None:
        problem = self.assertRaises(Problem, judge_records, [b"x", b"y"], NAME, KEY_AUTHORIZATION)
        self.assertIn("2 TXT records", problem.detail)


class ValidateTests(TestCase):
    """Against a resolver on loopback."""

    def setUp(self) -> None:
        self.dns = DNSResponder({(NAME, "TXT"): [f'"{VALUE}"']})
        self.resolvers = Resolvers.of([self.dns.listen(self)])

    async def validate(self, name: str = "a.example", wildcard: bool = False) -> Evidence:
        kind = ChallengeType.DNS01
        validator = validators(reactor, http01_port=1, tlsalpn01_port=1, limits=SHORT)[kind]
        return await validator.validate(attempt(name, kind, self.resolvers, wildcard=wildcard))

    async def refused(self, kind: ProblemType, words: str, transient: bool = False) -> None:
        started = reactor.seconds()
        try:
            await self.validate()
        except Problem as problem:
            self.assertIs(problem.type, kind)
            self.assertIn(words, problem.detail)
            self.assertEqual(isinstance(problem, Transient), transient)
        else:
            self.fail("validated")
        self.assertLess(reactor.seconds() - started, SHORT.total + 0.3)

    async def test_control_shown(self) -> None:
        evidence = await self.validate()
        self.assertEqual(evidence.seen, f"TXT {NAME}: {VALUE}")
        self.assertEqual(self.dns.asked, [("udp", NAME, "TXT")])

    async def test_wildcard(self) -> None:
        """A wildcard's authorization carries the base name, and that is asked."""
        await self.validate(wildcard=True)
        self.assertEqual(self.dns.asked, [("udp", NAME, "TXT")])

    async def test_record_in_several_strings(self) -> None:
        self.dns.zone[NAME, "TXT"] = [f'"{VALUE[:10]}" "{VALUE[10:]}"']
        await self.validate()

    async def test_other_records_beside(self) -> None:
        """Two orders for one name, each with its record, do not disturb one another."""
        self.dns.zone[NAME, "TXT"] = ['"other"', f'"{VALUE}"', '"third"']
        await self.validate()

    async def test_alias(self) -> None:
        """Operators delegate the challenge with a CNAME."""
        del self.dns.zone[NAME, "TXT"]
        self.dns.zone[NAME, "CNAME"] = ["a.challenges.example"]
        self.dns.zone["a.challenges.example", "TXT"] = [f'"{VALUE}"']
        await self.validate()

    async def test_by_tcp(self) -> None:
        self.dns.truncate = True
        await self.validate()

    async def test_wrong_value(self) -> None:
        self.dns.zone[NAME, "TXT"] = ['"stale"']
        await self.refused(
            ProblemType.INCORRECT_RESPONSE, 'none with the value of this challenge, the first "stale"'
        )

    async def test_nxdomain(self) -> None:
        """The record is not there: unauthorized, and not a problem with the query."""
        self.dns.zone.clear()
        await self.refused(ProblemType.UNAUTHORIZED, f"{NAME} does not exist (NXDOMAIN asking for TXT)")

    async def test_no_record(self) -> None:
        self.dns.zone.clear()
        self.dns.zone[NAME, "A"] = ["192.0.2.1"]
        await self.refused(ProblemType.UNAUTHORIZED, f"{NAME} has no TXT record")

    async def test_servfail(self) -> None:
        self.dns.rcodes[NAME] = 2
        await self.refused(ProblemType.DNS, "SERVFAIL", transient=True)

    async def test_silence(self) -> None:
        self.dns.silent = True
        await self.refused(ProblemType.DNS, "no answer within", transient=True)

    async def test_total_time(self) -> None:
        """However many resolvers are silent, the time is bounded in all."""
        self.dns.silent = True
        self.resolvers = Resolvers(self.resolvers.default * 20)
        await self.refused(ProblemType.DNS, "did not end within 1.5 s", transient=True)
