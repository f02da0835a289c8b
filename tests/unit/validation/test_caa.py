"""Tests for certctl.validation.caa: RFC 8659 and RFC 8657, their own examples among the cases."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from certctl.acme.objects import ChallengeType
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.addresses import Resolvers
from certctl.validation.attempt import Transient
from certctl.validation.caa import NOBODY, Grant, Question, caa, climb, grant, judge
from certctl.validation.resolver import CAARecord

from .responders import SHORT, DNSResponder, reactor

ACCOUNT = "https://ca1.example.net/acme/profile/prof-x/acct/acme-acc-1"


def allowed(
    *records: tuple[int, str, str],
    wildcard: bool = False,
    identities: tuple[str, ...] = ("ca1.example.net",),
    method: ChallengeType | None = ChallengeType.DNS01,
) -> bool:
    """Whether the record set lets ca1.example.net issue."""
    found = [CAARecord(flags, tag, value.encode("latin-1")) for flags, tag, value in records]
    question = Question(wildcard=wildcard, identities=identities, account_url=ACCOUNT, method=method)
    try:
        judge(found, question)
    except Problem as problem:
        assert problem.type is ProblemType.CAA and not isinstance(problem, Transient)
        return False
    return True


class JudgeTests(SynchronousTestCase):
    """RFC 8659 section 4."""

    def test_nothing_restricts(self) -> None:
        """No records, or none that restrict issuance (section 3)."""
        self.assertTrue(allowed())
        self.assertTrue(allowed((0, "iodef", "mailto:a@b.example")))
        self.assertTrue(allowed((0, "tbs", "Unknown"), (128, "iodef", "x")))

    def test_issue(self) -> None:
        self.assertTrue(allowed((0, "issue", "ca1.example.net")))
        self.assertFalse(allowed((0, "issue", "ca2.example.org")))
        self.assertTrue(allowed((0, "issue", "ca2.example.org"), (0, "issue", "ca1.example.net")))

    def test_nobody(self) -> None:
        """An empty name forbids, and beside another it does nothing (section 4.2)."""
        for value in ("", ";", " ; ", " "):
            self.assertFalse(allowed((0, "issue", value)))
            self.assertTrue(allowed((0, "issue", value), (0, "issue", "ca1.example.net")))

    def test_no_identity(self) -> None:
        """A CA without a name in CAA is named by nobody."""
        self.assertFalse(allowed((0, "issue", "ca1.example.net"), identities=()))
        self.assertFalse(allowed((0, "issue", ";"), identities=("",)))
        self.assertTrue(allowed(identities=()))

    def test_identities(self) -> None:
        for identity in ("ca1.example.net", "CA1.Example.NET"):
            self.assertTrue(allowed((0, "issue", "Ca1.example.net"), identities=("x.example", identity)))
        self.assertFalse(allowed((0, "issue", "sub.ca1.example.net")))
        self.assertFalse(allowed((0, "issue", "example.net")))

    def test_malformed_forbids(self) -> None:
        for value in (
            "%%%%%",
            "ca1.example.net.",
            ".ca1.example.net",
            "ca1..example.net",
            "-ca1.example.net",
            "ca1-.example.net",
            "ca1_x.example.net",
            "ca1.example.net x=y",
            "ca1.example.net; x",
            "ca1.example.net; x=y z",
            "ca1.example.net; =y",
            "ca1.example.net;; x=y",
            "ca1.example.net; x=\xe4",
            "ca1.example.net\n",
            "ca1.example.net\x00",
            "ca1.example.net; x=y\n",
            "ca1.example.net" + " " * 5000,
        ):
            self.assertFalse(allowed((0, "issue", value)), value)

    def test_syntax_accepted(self) -> None:
        for value in (
            " ca1.example.net ",
            "\tca1.example.net\t;\t",
            "ca1.example.net;",
            "ca1.example.net; account=230123",
            "ca1.example.net;a=1;b=2",
            "ca1.example.net; a = 1 ; b = ;",
            "ca1.example.net; a-b=!\"#$%&'()*+,-./:<=>?@[\\]^_`{|}~",
        ):
            self.assertTrue(allowed((0, "issue", value)), value)

    def test_wildcards(self) -> None:
        """The examples of section 4.3."""
        wild = ((0, "issue", "ca1.example.net"), (0, "issuewild", "ca2.example.org"))
        self.assertTrue(allowed(*wild))
        self.assertFalse(allowed(*wild, wildcard=True))
        self.assertTrue(allowed((0, "issue", "ca1.example.net"), wildcard=True))
        wild3 = ((0, "issuewild", "ca1.example.net"), (0, "issue", ";"))
        self.assertTrue(allowed(*wild3, wildcard=True))
        self.assertFalse(allowed(*wild3))
        self.assertTrue(allowed((0, "issuewild", "ca2.example.org")))
        self.assertFalse(allowed((0, "issuewild", "ca2.example.org"), wildcard=True))
        self.assertFalse(allowed((0, "issue", "ca1.example.net"), (0, "issuewild", ";"), wildcard=True))

    def test_critical(self) -> None:
        """The most significant bit, on a tag that is not understood; the others are ignored (section 4.1)."""
        good = (0, "issue", "ca1.example.net")
        self.assertFalse(allowed(good, (128, "tbs", "Unknown")))
        self.assertFalse(allowed(good, (255, "tbs", "Unknown")))
        self.assertFalse(allowed((128, "tbs", "Unknown")))
        self.assertTrue(allowed(good, (127, "tbs", "Unknown")))
        self.assertTrue(
            allowed((128, "issue", "ca1.example.net"), (128, "issuewild", "x.example"), (128, "iodef", "y"))
        )

    def test_tags_in_any_case(self) -> None:
        self.assertFalse(allowed((0, "ISSUE", ";")))
        self.assertTrue(allowed((128, "IoDef", "x")))
        self.assertFalse(allowed((0, "IssueWild", ";"), wildcard=True))


class ParametersTests(SynchronousTestCase):
    """RFC 8657."""

    def one(self, parameters: str, method: ChallengeType | None = ChallengeType.DNS01) -> bool:
        return allowed((0, "issue", f"ca1.example.net; {parameters}"), method=method)

    def test_accounturi(self) -> None:
        """The account's URL to the letter, once (section 3)."""
        self.assertTrue(self.one(f"accounturi={ACCOUNT}"))
        self.assertTrue(self.one(f"ACCOUNTURI={ACCOUNT}"))
        for value in (ACCOUNT + "2", ACCOUNT[:-1], ACCOUNT + "/", ACCOUNT.upper(), "", "x"):
            self.assertFalse(self.one(f"accounturi={value}"), value)
        self.assertFalse(self.one(f"accounturi={ACCOUNT}; accounturi={ACCOUNT}"))

    def test_two_records(self) -> None:
        """The example of appendix A: one of two accounts."""
        self.assertTrue(
            allowed(
                (0, "issue", "ca1.example.net; accounturi=https://ca1.example.net/account/1234"),
                (0, "issue", f"ca1.example.net; accounturi={ACCOUNT}"),
            )
        )

    def test_validationmethods(self) -> None:
        self.assertTrue(self.one("validationmethods=dns-01"))
        self.assertTrue(self.one("validationmethods=http-01,dns-01,ca-foo"))
        for value in (
            "",
            "http-01",
            "dns-01,",
            ",dns-01",
            "dns-01,,http-01",
            "dns-01;",
            "DNS-01",
            "dns-01,x_y",
            "dns",
        ):
            parameters = f"validationmethods={value}"
            self.assertEqual(self.one(parameters), value == "dns-01;", value)
        self.assertFalse(self.one("validationmethods=dns-01; validationmethods=dns-01"))

    def test_no_challenge(self) -> None:
        """Trust in an account is no validation method."""
        self.assertTrue(self.one("x=y", method=None))
        self.assertFalse(self.one("validationmethods=dns-01", method=None))

    def test_both(self) -> None:
        self.assertTrue(self.one(f"accounturi={ACCOUNT}; validationmethods=dns-01"))
        self.assertFalse(self.one(f"accounturi={ACCOUNT}; validationmethods=http-01"))

    def test_of_another_ca(self) -> None:
        """A parameter does not stand in for the name (section 3)."""
        self.assertFalse(allowed((0, "issue", f"ca2.example.org; accounturi={ACCOUNT}")))


class GrantTests(SynchronousTestCase):
    """The grammar."""

    def test_parsed(self) -> None:
        self.assertEqual(grant(b" CA.example ; A = 1 ;b=2;"), Grant("ca.example", (("a", "1"), ("b", "2"))))
        self.assertEqual(grant(b";"), NOBODY)

    @given(st.binary(max_size=100))
    def test_any_bytes(self, value: bytes) -> None:
        grant(value)

    def test_pathological(self) -> None:
        """The expressions take no more than linear time where hyphens pile up."""
        for value in (
            b"a" + b"-" * 4000 + b"!",
            b"a-" * 2000 + b"!",
            b"a.example; " + b"-a" * 2000,
            b" " * 4000 + b"!",
        ):
            self.assertEqual(grant(value), NOBODY)


class ClimbTests(SynchronousTestCase):
    """RFC 8659 section 3."""

    def test_climb(self) -> None:
        self.assertEqual(climb("x.y.z"), ("x.y.z", "y.z", "z"))
        self.assertEqual(climb("z."), ("z",))


class CheckTests(TestCase):
    """With a resolver on loopback."""

    def setUp(self) -> None:
        self.dns = DNSResponder(
            {
                ("b.c", "CAA"): ['0 issue "ca1.example.net"'],
                ("closed.b.c", "CAA"): ['0 issue ";"'],
                ("alias.b.c", "CNAME"): ["closed.b.c"],
                ("x.alias.b.c", "A"): ["192.0.2.1"],
                ("c", "SOA"): ["a. b. 1 1 1 1 1"],
            }
        )
        self.resolvers = Resolvers.of([self.dns.listen(self)])

    async def check(self, name: str, wildcard: bool = False) -> None:
        await caa(reactor, SHORT).check(
            name, wildcard, ["ca1.example.net"], ACCOUNT, ChallengeType.DNS01, self.resolvers
        )

    async def test_climbs_to_the_first_set(self) -> None:
        """The example of RFC 8659 section 3: A.B.C with records at B.C; C is not asked."""
        await self.check("a.b.c")
        self.assertEqual([name for _, name, _ in self.dns.asked], ["a.b.c", "b.c"])

    async def test_forbidden(self) -> None:
        """The closest set counts; the problem says where it is and for which name."""
        for name, where, wildcard in (
            ("closed.b.c", "closed.b.c", False),
            ("d.closed.b.c", "closed.b.c", True),
        ):
            try:
                await self.check(name, wildcard)
            except Problem as problem:
                self.assertIs(problem.type, ProblemType.CAA)
                shown = f"*.{name}" if wildcard else name
                self.assertIn(f"CAA at {where} forbids {shown}: no issue property", problem.detail)
            else:
                self.fail("allowed")

    async def test_alias(self) -> None:
        """The alias of the name itself is followed; its parents are the name's own (section 7)."""
        with self.assertRaises(Problem):
            await self.check("alias.b.c")
        with self.assertRaises(Problem):
            await self.check("x.alias.b.c")
        await self.check("y.b.c")

    async def test_none_at_all(self) -> None:
        await self.check("a.d.e")
        self.assertEqual([name for _, name, _ in self.dns.asked], ["a.d.e", "d.e", "e"])

    async def test_failure(self) -> None:
        """Records that cannot be had may forbid (section 6.3)."""
        self.dns.rcodes["b.c"] = 2
        try:
            await self.check("a.b.c")
        except Transient as problem:
            self.assertIs(problem.type, ProblemType.DNS)
            self.assertIn("the lookup of CAA b.c failed: SERVFAIL", problem.detail)
        else:
            self.fail("allowed")

    async def test_total_time(self) -> None:
        self.dns.silent = True
        self.resolvers = Resolvers(self.resolvers.default * 20)
        try:
            await self.check("a.b.c")
        except Transient as problem:
            self.assertIn("did not end within 1.5 s", problem.detail)
        else:
            self.fail("allowed")
