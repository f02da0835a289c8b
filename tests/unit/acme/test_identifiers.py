"""Tests for certctl.acme.identifiers."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import (
    MAX_NAME,
    Identifier,
    IdentifierError,
    IdentifierType,
    UnsupportedIdentifier,
    dns_name,
    identifier,
    ip_address,
)

LABELS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", fullmatch=True)
NAMES = st.builds(
    lambda wild, labels, dot: wild + ".".join(labels) + dot,
    st.sampled_from(["", "*."]),
    st.lists(LABELS, min_size=1, max_size=6),
    st.sampled_from(["", "."]),
)


class Refusals(SynchronousTestCase):
    """How a refusal is shown."""

    def refused(self, text: str, words: str) -> None:
        """Show that a DNS name is refused in these words."""
        with self.assertRaises(IdentifierError) as caught:
            dns_name(text)
        self.assertIn(words, str(caught.exception))


class DnsNameTests(Refusals):
    """Names and their one form."""

    def test_good(self) -> None:
        """Names come out in lower case and without the last dot."""
        for text, expected in (
            ("www.example.org", "www.example.org"),
            ("WWW.Example.ORG.", "www.example.org"),
            ("localhost", "localhost"),
            ("*.example.org", "*.example.org"),
            ("3com.x0", "3com.x0"),
            ("a-b.c--d--e.org", "a-b.c--d--e.org"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("1.2.3.a4", "1.2.3.a4"),
        ):
            self.assertEqual(dns_name(text), Identifier(IdentifierType.DNS, expected))

    def test_alphabet(self) -> None:
        """Other letters are refused before they are folded: str.lower() makes an ASCII k of KELVIN SIGN."""
        letters = "\N{KELVIN SIGN}\N{LATIN SMALL LETTER LONG S}\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}"
        for letter in (
            letters + "\N{FULLWIDTH FULL STOP}\N{IDEOGRAPHIC FULL STOP}\N{ARABIC-INDIC DIGIT ONE}é_ /:@%\0\n"
        ):
            self.refused(f"{letter}.example.org", "letters, digits, hyphens and dots alone")
            self.refused(f"example.org{letter}", "letters, digits, hyphens and dots alone")
        self.refused("", "letters, digits, hyphens and dots alone")

    def test_labels(self) -> None:
        """Labels have 1 to 63 characters and no hyphen at their ends."""
        dns_name("a" * 63 + ".org")
        for text in ("a" * 64 + ".org", "-a.org", "a-.org", "a.-", "-"):
            self.refused(text, "1 to 63 letters, digits and inner hyphens")
        for text in (".", "..", "a..org", ".a.org", "a.org..", "*.."):
            self.refused(text, "a label is empty")

    def test_length(self) -> None:
        """A name has 253 characters at most, not counting the last dot."""
        name = ".".join(["a" * 61] * 4) + ".org.x"
        self.assertEqual(len(name), MAX_NAME)
        self.assertEqual(dns_name(name + ".").value, name)
        self.refused("b" + name, "253 characters at most")

    def test_wildcards(self) -> None:
        """An asterisk stands only as the whole first label, before two others at least."""
        for text in ("a*.example.org", "*a.example.org", "a.*.org", "*.*.org", "*", "**.example.org"):
            self.refused(text, "an asterisk stands only alone")
        self.refused("*.org", "two labels")

    def test_numbers(self) -> None:
        """A name that could be read as an address is none: its last label is no number, in hex neither."""
        for text in ("10.0.0.1", "127.1", "1", "a.b.0", "0x7f000001", "1.2.3.0x4", "a.0X", "10.0.0.1."):
            self.refused(text, "the last label is a number")

    def test_a_labels(self) -> None:
        """A label with -- in third and fourth place is an A-label (RFC 5890 section 2.3.1)."""
        for text in (
            "xn--.org",
            "xn--a.org",
            "xn--a-.org",
            "ab--cd.org",
            "xn--999999999.org",
            "xn--abc-.org",
        ):
            with self.assertRaises(IdentifierError):
                dns_name(text)
        self.refused("ab--cd.org", "a valid A-label")
        self.refused("xn--zzzzzz99999999.org", "a valid A-label")

    @given(st.text() | NAMES)
    @example("\N{KELVIN SIGN}")
    def test_fixed_point(self, text: str) -> None:
        """What a name comes out as comes out as itself, and is in lower case and ASCII without a last dot."""
        try:
            name = dns_name(text)
        except IdentifierError:
            return
        self.assertEqual(dns_name(name.value), name)
        self.assertTrue(name.value.isascii() and name.value == name.value.lower(), name)
        self.assertEqual(name.value, text.lower().removesuffix("."))

    @given(NAMES)
    def test_case_and_dot(self, text: str) -> None:
        """A name is the same in upper case and with a last dot, or no name in either."""
        results = set()
        for spelling in (text, text.upper(), text.lower(), text.removesuffix(".") + "."):
            try:
                results.add(dns_name(spelling).value)
            except IdentifierError:
                results.add("")
        self.assertEqual(len(results), 1)

    @given(st.from_regex(r"xn--[a-z0-9-]{0,59}", fullmatch=True))
    def test_any_a_label(self, label: str) -> None:
        """Whatever stands after xn--, it is an A-label or refused."""
        with contextlib.suppress(IdentifierError):
            self.assertEqual(dns_name(f"{label}.org").value, f"{label}.org")


class IpAddressTests(SynchronousTestCase):
    """Addresses and their one form (RFC 8738 section 3)."""

    def test_good(self) -> None:
        """Addresses in the form of RFC 1123 and RFC 5952 are taken as they are."""
        for text in ("192.0.2.1", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1", "1:0:0:2::3"):
            self.assertEqual(ip_address(text), Identifier(IdentifierType.IP, text))

    def test_other_spellings(self) -> None:
        """Other spellings of an address are refused."""
        for text in (
            "2001:DB8::1",
            "2001:db8:0::1",
            "0:0:0:0:0:0:0:1",
            "2001:0db8::1",
            "fe80::1%eth0",
            "1:2:3:4:5:6:7::",
        ):
            with self.assertRaises(IdentifierError):
                ip_address(text)

    def test_mapped(self) -> None:
        """An IPv4 address in IPv6's clothes has another name already: its own."""
        for text in ("::ffff:192.0.2.1", "::ffff:c000:201", "::ffff:0:0"):
            with self.assertRaises(IdentifierError):
                ip_address(text)

    def test_no_address(self) -> None:
        """What is no address is refused."""
        for text in (
            "",
            "example.org",
            "1.2.3",
            "1.2.3.256",
            "01.2.3.4",
            "1.2.3.4 ",
            "1.2.3.4/32",
            "::g",
            "[::1]",
            "١.2.3.4",
        ):
            with self.assertRaises(IdentifierError):
                ip_address(text)

    @given(st.ip_addresses())
    def test_fixed_point(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        """Every address that is no IPv4 address in disguise has its form."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            self.assertRaises(IdentifierError, ip_address, str(address))
        else:
            self.assertEqual(ip_address(str(address)).value, str(address))

    @given(st.text("0123456789abcdefABCDEFx:.%", max_size=20))
    def test_arbitrary(self, text: str) -> None:
        """Text is the one form of an address or refused, and never a DNS name as well."""
        try:
            address = ip_address(text)
        except IdentifierError:
            return
        self.assertEqual(str(ipaddress.ip_address(text)), address.value)
        self.assertRaises(IdentifierError, dns_name, text)


class IdentifierTests(SynchronousTestCase):
    """Identifier objects (RFC 8555 section 7.1.3)."""

    def test_good(self) -> None:
        """An object becomes an identifier, and an identifier an object."""
        for document in ({"type": "dns", "value": "*.example.org"}, {"type": "ip", "value": "192.0.2.1"}):
            self.assertEqual(identifier(document).document(), document)

    def test_malformed(self) -> None:
        """What is no object with a value in text is refused."""
        values: tuple[Any, ...] = (
            None,
            [],
            "dns",
            {},
            {"type": "dns"},
            {"type": "dns", "value": 1},
            {"value": None},
        )
        for value in values:
            with self.assertRaises(IdentifierError):
                identifier(value)

    def test_unsupported(self) -> None:
        """Other types are told apart, so that they get the problem of their own."""
        values: tuple[Any, ...] = (
            {"value": "x"},
            {"type": "email", "value": "x"},
            {"type": ["dns"], "value": "x"},
        )
        for value in values:
            self.assertRaises(UnsupportedIdentifier, identifier, value)

    def test_base(self) -> None:
        """The base of a wildcard is the name without the asterisk; that of another identifier is itself."""
        wildcard = dns_name("*.example.org")
        self.assertTrue(wildcard.wildcard)
        self.assertEqual(wildcard.base, dns_name("example.org"))
        for other in (dns_name("example.org"), ip_address("::1")):
            self.assertFalse(other.wildcard)
            self.assertIs(other.base, other)

    def test_sorted(self) -> None:
        """Identifiers can be sorted, so that whatever lists them is the same each time."""
        mixed = [ip_address("::1"), dns_name("b.org"), dns_name("a.org")]
        self.assertEqual([each.value for each in sorted(mixed)], ["a.org", "b.org", "::1"])
