"""What the policy of a profile says of challenges, read over the server's own settings."""

from __future__ import annotations

import ipaddress
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.objects import AuthMode, Profile
from certctl.authority.challenge_rules import ChallengeRules
from certctl.validation.addresses import AddressDenied, EgressPolicy, Network, Resolvers

SERVER = Network(
    EgressPolicy.of(["127.0.0.1/32"], ["10.9.0.0/16"]),
    Resolvers.of(["192.0.2.53"], {"server.example": ["192.0.2.54"]}),
)


def rules(**challenge: Any) -> ChallengeRules:
    """The rules of a profile whose policy has these members of ``challenge``."""
    return read({"challenge": challenge})


def read(policy: Any) -> ChallengeRules:
    """The rules of a profile with this policy."""
    profile = Profile(
        id="prof-a",
        name="A",
        issuer_id="iss-internal-ca",
        acme_auth_mode=AuthMode.CHALLENGE,
        max_ttl_seconds=3600,
        policy=policy,
    )
    return ChallengeRules.of(profile, SERVER)


def asked(found: ChallengeRules, name: str) -> list[str]:
    """The resolvers that are asked for a name."""
    return [str(address) for address, _ in found.network.resolvers.serving(name)]


class MembersTests(SynchronousTestCase):
    def dialled(self, found: ChallengeRules, address: str) -> bool:
        """Whether an address may be dialled."""
        try:
            found.network.egress.judge(ipaddress.ip_address(address))
        except AddressDenied:
            return False
        return True

    def test_none(self) -> None:
        """A profile that says nothing has the server's network, no CAA, and uses authorizations again."""
        for found in (read({}), rules()):
            self.assertEqual(found, ChallengeRules(SERVER, caa=False, reuse=True))

    def test_egress(self) -> None:
        """Both lists are added to the server's; a profile opens and closes for itself alone."""
        found = rules(egress={"allow": ["127.0.0.2", "10.9.7.0/24"], "deny": ["10.1.0.0/16"]})
        for address, there in (
            ("127.0.0.1", True),  # the server's allow
            ("127.0.0.2", True),
            ("127.0.0.3", False),  # the built-in table
            ("10.9.0.1", False),  # the server's deny
            ("10.9.7.1", True),  # more exact than that
            ("10.1.0.1", False),
            ("10.2.0.1", True),
            ("169.254.169.254", False),
        ):
            self.assertEqual(self.dialled(found, address), there, address)
        self.assertFalse(self.dialled(rules(), "127.0.0.2"))

    def test_deny_wins(self) -> None:
        """A profile cannot open exactly what the server denies, nor the server what the profile denies."""
        self.assertFalse(self.dialled(rules(egress={"allow": ["10.9.0.0/16"]}), "10.9.0.1"))
        self.assertFalse(self.dialled(rules(egress={"deny": ["127.0.0.1/32"]}), "127.0.0.1"))

    def test_resolvers(self) -> None:
        """Resolvers of a profile take the place of the server's, its zones included."""
        found = rules(resolvers=["198.51.100.1", "[2001:db8::53]:5353"])
        for name in ("a.example", "a.server.example"):
            self.assertEqual(asked(found, name), ["198.51.100.1", "2001:db8::53"])

    def test_zones(self) -> None:
        """Zones alone leave the server's resolvers to everything else."""
        found = rules(resolver_zones={"corp.example": ["198.51.100.2"]})
        self.assertEqual(asked(found, "a.corp.example"), ["198.51.100.2"])
        self.assertEqual(asked(found, "corp.example"), ["198.51.100.2"])
        self.assertEqual(asked(found, "notcorp.example"), ["192.0.2.53"])

    def test_resolvers_and_zones(self) -> None:
        """Both together: the longest zone of a name is asked, else the profile's resolvers."""
        zones = {"corp.example": ["198.51.100.2"], "lab.corp.example": ["198.51.100.3"]}
        found = rules(resolvers=["198.51.100.1"], resolver_zones=zones)
        self.assertEqual(asked(found, "a.example"), ["198.51.100.1"])
        self.assertEqual(asked(found, "a.corp.example"), ["198.51.100.2"])
        self.assertEqual(asked(found, "a.lab.corp.example"), ["198.51.100.3"])

    def test_switches(self) -> None:
        """CAA is off and reuse is on unless the policy says otherwise."""
        self.assertTrue(rules(caa=True).caa)
        self.assertFalse(rules(caa=False).caa)
        self.assertFalse(rules(reuse=False).reuse)
        self.assertTrue(rules(reuse=True).reuse)


class MistakesTests(SynchronousTestCase):
    """A rule that is misread would be a hole: whatever is not understood is refused, and the text says where."""

    def refused(self, words: str, policy: Any) -> None:
        wrong = self.assertRaises(ValueError, read, policy)
        self.assertIn(words, str(wrong))

    def test_unknown_member(self) -> None:
        """A misspelt member does not silently mean nothing."""
        self.refused("'egres'", {"challenge": {"egres": {"deny": ["10.0.0.0/8"]}}})
        self.refused("'denied'", {"challenge": {"egress": {"denied": ["10.0.0.0/8"]}}})

    def test_wrong_types(self) -> None:
        """Texts for lists, lists for objects, texts for truth."""
        self.refused("challenge", {"challenge": ["caa"]})
        self.refused("challenge", {"challenge": "caa"})
        self.refused("egress", {"challenge": {"egress": ["10.0.0.0/8"]}})
        self.refused("egress", {"challenge": {"egress": {"allow": "10.0.0.0/8"}}})
        self.refused("egress", {"challenge": {"egress": {"allow": [10]}}})
        self.refused("resolvers", {"challenge": {"resolvers": "192.0.2.53"}})
        self.refused("resolver_zones", {"challenge": {"resolver_zones": ["192.0.2.53"]}})
        self.refused("resolver_zones", {"challenge": {"resolver_zones": {"corp.example": "192.0.2.53"}}})
        self.refused("caa", {"challenge": {"caa": "true"}})
        self.refused("reuse", {"challenge": {"reuse": 0}})

    def test_wrong_values(self) -> None:
        """Networks, resolvers and zones that are none."""
        self.refused("10.0.0.1/8", {"challenge": {"egress": {"allow": ["10.0.0.1/8"]}}})
        self.refused("dns.example", {"challenge": {"resolvers": ["dns.example"]}})
        self.refused("at least one", {"challenge": {"resolvers": []}})
        self.refused("no resolver", {"challenge": {"resolver_zones": {"corp.example": []}}})
        self.refused("not a zone", {"challenge": {"resolver_zones": {"a..b": ["192.0.2.53"]}}})
