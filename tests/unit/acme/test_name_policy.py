"""Which names a policy allows."""

from __future__ import annotations

import ipaddress

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import Identifier, dns_name, ip_address
from certctl.acme.members import Members
from certctl.acme.name_policy import ENTRIES_TOLD, NO_POLICY, NOT_DENIED, NamePolicy
from certctl.acme.policy import NameRules

LABEL = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,5}", fullmatch=True)
NAME = st.lists(LABEL, min_size=2, max_size=4).map(".".join)
WRITTEN = st.builds(
    lambda name, dot, upper: (name.upper() if upper else name) + dot,
    NAME,
    st.sampled_from(["", "."]),
    st.booleans(),
)


def policy(
    allow: list[str] | None = None, deny: list[str] | None = None, wildcards: bool = True
) -> NamePolicy:
    """Read a name policy."""
    names = {"allow": allow, "deny": deny, "wildcards": wildcards}
    names = {name: value for name, value in names.items() if value is not None}
    return NamePolicy.of(Members.of({"names": names}, "policy", ("names",)))


def passes(found: NamePolicy, name: str) -> bool:
    """Whether a policy lets a name pass."""
    return found.judge(dns_name(name), "it").allowed


class FormTests(SynchronousTestCase):
    @given(WRITTEN)
    def test_one_form(self, name: str) -> None:
        """However a name is written in a policy or an order, it is the same name."""
        plain = name.lower().removesuffix(".")
        for rule in (name, plain):
            for asked in (name, plain):
                self.assertTrue(passes(policy([rule]), asked))
                self.assertFalse(passes(policy(None, [rule]), asked))
                self.assertTrue(passes(policy([f"*.{rule}"]), f"a.{asked}"))

    @given(NAME, NAME)
    def test_exact(self, rule: str, name: str) -> None:
        """An exact name allows itself, and no other: none above, below, before or after."""
        assume(rule.lower() != name.lower())
        self.assertFalse(passes(policy([rule]), name))
        for other in (f"a.{rule}", f"a{rule}", f"{rule}.{name}", f"*.{rule}"):
            self.assertFalse(passes(policy([rule]), other), other)

    @given(NAME, NAME)
    def test_below(self, rule: str, name: str) -> None:
        """``*.name`` allows what ends in ``.name``, label by label, and nothing else."""
        below = name.lower().endswith(f".{rule.lower()}")
        self.assertEqual(passes(policy([f"*.{rule}"]), name), below)
        self.assertTrue(passes(policy([f"*.{rule}"]), f"{name}.{rule}"))
        self.assertTrue(passes(policy([f"*.{rule}"]), f"*.{rule}"))
        self.assertFalse(passes(policy([f"*.{rule}"]), rule))
        self.assertFalse(passes(policy([f"*.{rule}"]), f"x{rule}"))

    @given(NAME, st.lists(NAME, max_size=4))
    def test_deny_wins(self, name: str, allow: list[str]) -> None:
        """What is denied is allowed by no entry, not by a wildcard that stands for it either."""
        star = f"*.{name.partition('.')[2]}"
        for denied in (name, f"*.{name.partition('.')[2]}"):
            found = policy(list(dict.fromkeys([name, f"*.{name}", *allow])), [denied])
            self.assertFalse(passes(found, name))
        if star.count(".") > 1:
            self.assertFalse(passes(policy(None, [name]), star))
        self.assertTrue(passes(policy(None, [name]), f"*.a.{name}"), "stands for nothing that is denied")

    def test_wildcards_off(self) -> None:
        """Wildcards can be refused as such."""
        self.assertTrue(passes(policy(wildcards=True), "*.a.example"))
        self.assertFalse(passes(policy(["*.a.example"], wildcards=False), "*.a.example"))
        self.assertTrue(passes(policy(["*.a.example"], wildcards=False), "b.a.example"))

    def test_single_label_zones(self) -> None:
        """Zones of one label are what many organisations have."""
        self.assertTrue(passes(policy(["*.internal"]), "a.internal"))
        self.assertFalse(passes(policy(["*.internal"]), "internal"))
        self.assertTrue(passes(policy(["localhost"]), "localhost"))

    @given(st.ip_addresses(), st.integers(0, 32))
    def test_networks(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int) -> None:
        """A network allows the addresses in it; names match no network, and addresses no name."""
        try:
            asked = ip_address(str(address))
        except ValueError:
            assume(False)
        network = ipaddress.ip_network((address, prefix), strict=False)
        assume(not getattr(network.network_address, "ipv4_mapped", None))
        self.assertTrue(policy([str(network)]).judge(asked, "it").allowed)
        self.assertFalse(policy(None, [str(network)]).judge(asked, "it").allowed)
        self.assertFalse(policy(["*.example"]).judge(asked, "it").allowed)
        self.assertFalse(passes(policy([str(network)]), "a.example"))
        other = ip_address("2001:db8::1" if asked.value.count(".") == 3 else "192.0.2.1")
        if prefix != 0:
            self.assertFalse(policy([str(address)]).judge(other, "it").allowed)


class WordsTests(SynchronousTestCase):
    def rule(self, found: NamePolicy, name: Identifier) -> str:
        """What a policy says of a name."""
        return found.judge(name, "profile prof-x").rule

    def test_rules(self) -> None:
        """Who passes is told by which entry, who does not is told whose rule it is."""
        name, address = dns_name("a.corp.example"), ip_address("10.1.2.3")
        self.assertEqual(self.rule(policy(["*.corp.example"]), name), "*.corp.example")
        self.assertEqual(self.rule(policy(["10.0.0.0/8"]), address), "10.0.0.0/8")
        self.assertEqual(self.rule(policy(["10.1.2.3"]), address), "10.1.2.3")
        self.assertEqual(self.rule(policy(), name), NO_POLICY)
        self.assertEqual(self.rule(policy(None, ["b.example"]), name), NOT_DENIED)
        refused = "name policy of profile prof-x allows *.other.example"
        self.assertEqual(self.rule(policy(["*.other.example"]), name), refused)
        refused = "name policy of profile prof-x denies *.corp.example"
        self.assertEqual(self.rule(policy(None, ["*.corp.example"]), name), refused)

    def test_long_lists(self) -> None:
        """A refusal does not repeat a list without end."""
        told = self.rule(policy([f"a{n}.example" for n in range(ENTRIES_TOLD + 7)]), dns_name("b.example"))
        self.assertTrue(told.endswith(f"a{ENTRIES_TOLD - 1}.example and 7 more"), told)

    def test_both_must_allow(self) -> None:
        """Of profile and account both must let a name pass; each is named where it refuses."""
        rules = NameRules(
            (
                ("profile p", policy(["*.corp.example"])),
                ("account a", policy(["*.web.corp.example", "x.example"])),
            )
        )
        verdict = rules.judge(dns_name("b.web.corp.example"))
        self.assertEqual((verdict.allowed, verdict.rule), (True, "*.corp.example and *.web.corp.example"))
        verdict = rules.judge(dns_name("b.corp.example"))
        told = "name policy of account a allows x.example, *.web.corp.example"
        self.assertEqual((verdict.allowed, verdict.rule), (False, told))
        verdict = rules.judge(dns_name("x.example"))
        self.assertEqual(
            (verdict.allowed, verdict.rule), (False, "name policy of profile p allows *.corp.example")
        )
