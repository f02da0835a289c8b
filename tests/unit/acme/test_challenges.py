"""Tests for certctl.acme.challenges."""

from __future__ import annotations

from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.challenges import (
    dns01_name,
    dns01_value,
    http01_path,
    key_authorization,
    tlsalpn01_digest,
    tlsalpn01_server_name,
    types_for,
)
from certctl.acme.identifiers import MAX_NAME, dns_name, ip_address
from certctl.acme.objects import ChallengeType

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
THUMBPRINT = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"


class ValuesTests(SynchronousTestCase):
    """What goes into files, records and certificates."""

    def test_key_authorization(self) -> None:
        """Token, dot, thumbprint (RFC 8555 section 8.1)."""
        self.assertEqual(key_authorization(TOKEN, THUMBPRINT), f"{TOKEN}.{THUMBPRINT}")

    def test_http01_path(self) -> None:
        self.assertEqual(http01_path("abc"), "/.well-known/acme-challenge/abc")

    def test_dns01_value(self) -> None:
        """The digest of the empty string, as every SHA-256 implementation has it, in base64url without padding."""
        self.assertEqual(dns01_value(""), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU")

    def test_dns01_name(self) -> None:
        """A wildcard is proved at its base."""
        for text in ("www.example.org", "*.www.example.org"):
            self.assertEqual(dns01_name(dns_name(text)), "_acme-challenge.www.example.org")

    def test_tlsalpn01_digest(self) -> None:
        self.assertEqual(tlsalpn01_digest("a.b"), sha256(b"a.b").digest())

    def test_server_name(self) -> None:
        """Names as they are, addresses by their reverse mapping (RFC 8738 section 6, its own example)."""
        table = {
            "192.0.2.7": "7.2.0.192.in-addr.arpa",
            "2001:db8::1": "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
        }
        for text, expected in table.items():
            self.assertEqual(tlsalpn01_server_name(ip_address(text)), expected)
        self.assertEqual(tlsalpn01_server_name(dns_name("a.example")), "a.example")


class TypesTests(SynchronousTestCase):
    """Which challenges an identifier can have."""

    HTTP01, DNS01, TLSALPN01 = ChallengeType

    def test_name(self) -> None:
        self.assertEqual(set(types_for(dns_name("a.example"))), set(ChallengeType))

    def test_wildcard_dns01_alone(self) -> None:
        self.assertEqual(types_for(dns_name("*.a.example")), (ChallengeType.DNS01,))

    def test_address_never_dns01(self) -> None:
        """RFC 8738 section 7."""
        for text in ("10.0.0.1", "2001:db8::1"):
            self.assertEqual(types_for(ip_address(text)), (ChallengeType.HTTP01, ChallengeType.TLSALPN01))

    def test_name_too_long_for_dns01(self) -> None:
        """``_acme-challenge.`` does not fit in front: dns-01 is not offered, and a wildcard has nothing."""
        long = ".".join(["a" * 60] * 3 + ["b" * 58])
        self.assertEqual(len(long), 241)
        self.assertNotIn(ChallengeType.DNS01, types_for(dns_name(long)))
        self.assertEqual(types_for(dns_name("*." + long)), ())
        fits = long[: MAX_NAME - len("_acme-challenge.")]
        self.assertIn(ChallengeType.DNS01, types_for(dns_name(fits)))
