"""Tests for certctl.validation.addresses and certctl.validation.special_purpose."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.problems import ProblemType
from certctl.validation.addresses import AddressDenied, EgressPolicy, Resolvers, network, server
from certctl.validation.special_purpose import DEFAULT_RULES, IPAddress, embedded

ALLOWED = (
    "1.1.1.1",
    "9.255.255.255",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "172.16.0.1",
    "172.31.255.254",
    "172.32.0.1",
    "192.168.0.1",
    "192.167.255.255",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1450::1",
    "fc00::1",
    "fd12:3456:789a::1",
    "64:ff9b::8.8.8.8",
    "64:ff9b::10.1.2.3",
)
# An address of every denied row of the registries, the edges of some, and the metadata addresses.
DENIED = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "this network",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "169.254.0.1": "link-local",
    "169.254.169.254": "cloud metadata",
    "169.254.170.2": "cloud metadata",
    "169.254.170.23": "cloud metadata",
    "100.100.100.200": "cloud metadata",
    "168.63.129.16": "cloud metadata",
    "192.0.0.192": "cloud metadata",
    "192.0.0.1": "IPv4 service continuity",
    "192.0.0.8": "dummy",
    "192.0.0.9": "Port Control",
    "192.0.0.10": "TURN",
    "192.0.0.100": "IETF protocol",
    "192.0.0.170": "discovery",
    "192.0.0.171": "discovery",
    "192.0.2.1": "documentation",
    "192.31.196.1": "AS112",
    "192.52.193.1": "AMT",
    "192.88.99.1": "6to4 relay",
    "192.175.48.1": "AS112",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.254": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::2": "IPv4-compatible",
    "::7f00:1": "IPv4-compatible",
    "::ffff:127.0.0.1": "IPv4-mapped",
    "::ffff:169.254.169.254": "IPv4-mapped",
    "64:ff9b::127.0.0.1": "loopback",
    "64:ff9b::169.254.169.254": "cloud metadata",
    "64:ff9b::192.0.2.1": "documentation",
    "64:ff9b:1::1": "local-use NAT64",
    "100::1": "discard",
    "100:0:0:1::1": "dummy",
    "2001::1": "Teredo",
    "2001:1::1": "Port Control",
    "2001:1::2": "TURN",
    "2001:1::3": "DNS-SD",
    "2001:1::4": "IETF protocol",
    "2001:2::1": "benchmarking",
    "2001:3::1": "AMT",
    "2001:4:112::1": "AS112",
    "2001:10::1": "ORCHID",
    "2001:20::1": "ORCHIDv2",
    "2001:30::1": "drone",
    "2001:db8::1": "documentation",
    "2002:7f00:1::1": "6to4",
    "2002:808:808::1": "6to4",
    "2620:4f:8000::1": "AS112",
    "3fff::1": "documentation",
    "4000::1": "not allocated",
    "5f00::1": "segment routing",
    "fd00:ec2::254": "cloud metadata",
    "fd00:ec2::23": "cloud metadata",
    "fd20:ce::254": "cloud metadata",
    "fd00:42::42": "cloud metadata",
    "fd00:a9fe:a9fe::1": "cloud metadata",
    "fe00::1": "not allocated",
    "fe80::1": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
}

addresses = st.ip_addresses()


def dialled(policy: EgressPolicy, text: str) -> bool:
    """Whether the policy lets an address be dialled."""
    try:
        policy.judge(ipaddress.ip_address(text))
    except AddressDenied:
        return False
    return True


class DefaultPolicyTests(SynchronousTestCase):
    """Without entries of the operator: public and private, and nothing special."""

    policy = EgressPolicy()

    def test_allowed(self) -> None:
        for text in ALLOWED:
            self.policy.judge(ipaddress.ip_address(text))

    def test_denied(self) -> None:
        """Each refusal names the address and the rule, and is a problem of the connection."""
        for text, words in DENIED.items():
            address = ipaddress.ip_address(text)
            problem = self.assertRaises(AddressDenied, self.policy.judge, address)
            self.assertIs(problem.type, ProblemType.CONNECTION)
            self.assertIn(words, problem.detail)
            self.assertIn(str(address), problem.detail)

    def test_every_denied_row_has_a_case(self) -> None:
        """No row of the table is without an address above."""
        rows = {rule.network for rule in DEFAULT_RULES if not rule.allowed}
        covered = {self.policy.rule_for(ipaddress.ip_address(text)).network for text in DENIED}
        covered |= {self.policy.rule_for(IPv6Address("4000::1")).network}
        self.assertEqual(rows - covered, set())

    def test_rows_are_different(self) -> None:
        """Two rows for one network would leave the verdict to their order."""
        self.assertEqual(len({rule.network for rule in DEFAULT_RULES}), len(DEFAULT_RULES))

    def test_zone(self) -> None:
        """An address with a zone is of one link."""
        self.assertRaises(AddressDenied, self.policy.judge, IPv6Address("2606:4700::1111%1"))

    @given(addresses)
    def test_agrees_with_the_standard_library(self, address: IPAddress) -> None:
        """What Python's table calls global or private in RFC 1918's sense is the most that may be dialled."""
        if not dialled(self.policy, str(address)):
            return
        self.assertFalse(address.is_loopback or address.is_link_local or address.is_multicast, address)
        self.assertFalse(address.is_unspecified, address)
        shared = address in ipaddress.ip_network("100.64.0.0/10") if address.version == 4 else False
        self.assertTrue(address.is_global or address.is_private or shared, address)

    @given(st.ip_addresses(v=4))
    @example(IPv4Address("127.0.0.1"))
    @example(IPv4Address("169.254.169.254"))
    def test_embedding_opens_nothing(self, inner: IPv4Address) -> None:
        """No spelling of an IPv4 address as IPv6 is dialled unless the address itself would be."""
        number = int(inner)
        spellings = (
            IPv6Address((0xFFFF << 32) | number),
            IPv6Address(number),
            IPv6Address((0x0064FF9B << 96) | number),
            IPv6Address((0x0064FF9B0001 << 80) | number),
            IPv6Address((0x2002 << 112) | (number << 80)),
            IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)),
        )
        everything = EgressPolicy.of(["::ffff:0:0/96", "::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"])
        for each in spellings:
            if not dialled(self.policy, str(inner)):
                self.assertFalse(dialled(self.policy, str(each)), each)
                self.assertFalse(dialled(everything, str(each)) and number > 1, each)


class OperatorEntriesTests(SynchronousTestCase):
    """The longest prefix decides; of equals the operator's, and of those deny."""

    def test_table(self) -> None:
        table: tuple[tuple[tuple[str, ...], tuple[str, ...], str, bool], ...] = (
            (("127.0.0.1/32",), (), "127.0.0.1", True),
            (("127.0.0.1",), (), "127.0.0.2", False),
            (("127.0.0.1",), (), "::1", False),
            (("127.0.0.1",), (), "::ffff:127.0.0.1", False),
            (("127.0.0.0/8",), (), "127.1.2.3", True),
            (("0.0.0.0/0", "::/0"), (), "127.0.0.1", False),
            (("0.0.0.0/0", "::/0"), (), "169.254.169.254", False),
            (("::/0",), (), "fe80::1", False),
            (("169.254.0.0/16",), (), "169.254.1.1", True),
            (("169.254.0.0/16",), (), "169.254.169.254", False),
            (("169.254.169.254",), (), "169.254.169.254", True),
            ((), ("10.0.0.0/8",), "10.1.1.1", False),
            ((), ("10.1.0.0/16",), "10.2.1.1", True),
            (("10.1.1.0/24",), ("10.0.0.0/8",), "10.1.1.1", True),
            (("10.1.1.0/24",), ("10.0.0.0/8",), "10.1.2.1", False),
            (("10.1.1.0/24",), ("10.1.1.0/24",), "10.1.1.1", False),
            (("10.0.0.0/8",), ("10.1.1.0/24",), "10.1.1.1", False),
            ((), ("0.0.0.0/0",), "8.8.8.8", False),
            ((), ("0.0.0.0/0",), "10.0.0.1", True),
            (("2001:db8::/32",), (), "2001:db8::5", True),
            (("64:ff9b:1::/96",), (), "64:ff9b:1::808:808", True),
            (("64:ff9b:1::/96",), (), "64:ff9b:1::7f00:1", False),
        )
        for allow, deny, address, expected in table:
            self.assertEqual(dialled(EgressPolicy.of(allow, deny), address), expected, (allow, deny, address))

    def test_words(self) -> None:
        policy = EgressPolicy.of(deny=["10.0.0.0/8"])
        problem = self.assertRaises(AddressDenied, policy.judge, IPv4Address("10.0.0.1"))
        self.assertEqual(problem.detail, "10.0.0.1 is not dialled: rule 10.0.0.0/8, denied by the operator")

    def test_spellings(self) -> None:
        for text in ("10.0.0.0/8", " 10.0.0.1 ", "2001:db8::/32", "::1"):
            network(text)
        for text in (
            "",
            "10.0.0.0/33",
            "010.0.0.1",
            "0x7f.1",
            "2130706433",
            "127.1",
            "example.org",
            "10.0.0.0-9",
        ):
            self.assertRaises(ValueError, network, text)

    def test_bits_beyond_the_prefix(self) -> None:
        """The error says which network was probably meant."""
        self.assertIn("10.0.0.0/8 is the network", str(self.assertRaises(ValueError, network, "10.1.2.3/8")))


class EmbeddedTests(SynchronousTestCase):
    """RFC 6052 section 2.4 gives the examples for 192.0.2.33 under a /48."""

    def test_nat64_forms(self) -> None:
        expected = IPv4Address("192.0.2.33")
        for text in (
            "64:ff9b:1:c000:2:2100::",
            "64:ff9b:1:c0:0:221::",
            "64:ff9b:1:0:c0:2:2100:0",
            "64:ff9b:1::192.0.2.33",
            "64:ff9b::192.0.2.33",
        ):
            self.assertIn(expected, embedded(IPv6Address(text)), text)

    def test_teredo(self) -> None:
        """Server and client, the latter inverted (RFC 4380 section 4)."""
        found = embedded(IPv6Address("2001:0:4136:e378:8000:63bf:3fff:fdd2"))
        self.assertEqual(found, (IPv4Address("65.54.227.120"), IPv4Address("192.0.2.45")))

    @given(addresses)
    def test_never_fails(self, address: IPAddress) -> None:
        embedded(address)


class ServerTests(SynchronousTestCase):
    """Resolvers as texts."""

    def test_accepted(self) -> None:
        table = {
            "8.8.8.8:53": ("8.8.8.8", 53),
            "10.0.0.1": ("10.0.0.1", 53),
            " 10.0.0.1:5353 ": ("10.0.0.1", 5353),
            "2001:db8::1": ("2001:db8::1", 53),
            "[2001:db8::1]": ("2001:db8::1", 53),
            "[2001:db8::1]:5353": ("2001:db8::1", 5353),
            "::1": ("::1", 53),
        }
        for text, (address, port) in table.items():
            self.assertEqual(server(text), (ipaddress.ip_address(address), port))

    def test_refused(self) -> None:
        for text in (
            "",
            "dns.example",
            "dns.example:53",
            "8.8.8.8:",
            "8.8.8.8:0",
            "8.8.8.8:65536",
            "8.8.8.8:+53",
            "8.8.8.8:٥٣",
            "[8.8.8.8]:53",
            "[::1",
            "[::1]53",
            "[::1]:",
            "8.8.8",
            "08.8.8.8",
        ):
            self.assertRaises(ValueError, server, text)

    @given(addresses, st.integers(1, 65535))
    def test_round_trip(self, address: IPAddress, port: int) -> None:
        text = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
        self.assertEqual(server(text), (address, port))

    @given(st.text())
    def test_anything_else_is_a_value_error(self, text: str) -> None:
        """Whatever an operator types, the answer is a server or a ValueError."""
        for parse in (server, network):
            try:
                parse(text)
            except ValueError as wrong:
                self.assertIn(repr(text), str(wrong))


class ResolversTests(SynchronousTestCase):
    """Split horizon: the longest zone wins."""

    def test_serving(self) -> None:
        resolvers = Resolvers.of(
            ["8.8.8.8"], {"corp.example.": ["10.0.0.1"], "Lab.corp.example": ["10.0.0.2", "10.0.0.3"]}
        )
        table = {
            "example": ["8.8.8.8"],
            "notcorp.example": ["8.8.8.8"],
            "corp.example": ["10.0.0.1"],
            "_acme-challenge.WWW.Corp.Example.": ["10.0.0.1"],
            "lab.corp.example": ["10.0.0.2", "10.0.0.3"],
            "a.lab.corp.example": ["10.0.0.2", "10.0.0.3"],
            "alab.corp.example": ["10.0.0.1"],
        }
        for name, expected in table.items():
            self.assertEqual([str(address) for address, _ in resolvers.serving(name)], expected, name)

    def test_refused(self) -> None:
        self.assertRaises(ValueError, Resolvers.of, [])
        for zone, servers in (("", ["10.0.0.1"]), ("a..b", ["10.0.0.1"]), ("corp", []), ("corp", ["x"])):
            self.assertRaises(ValueError, Resolvers.of, ["10.0.0.1"], {zone: servers})
