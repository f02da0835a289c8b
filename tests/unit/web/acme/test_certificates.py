"""Downloading certificates (RFC 8555 sections 7.4.2 and 9.1)."""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.unit.web.bench import BenchCase, authority

# RFC 8555 section 9.1: the strict form of RFC 7468, and nothing between or around.
_STRICT = re.compile(
    rb"(-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/=]{1,64}\n-----END CERTIFICATE-----\n)+\Z"
)


def _der(body: bytes) -> list[bytes]:
    return [each.public_bytes(Encoding.DER) for each in x509.load_pem_x509_certificates(body)]


class DownloadTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()
        self.issued = self.client.issue("www.example.org", "*.example.org", "10.1.2.3", "2001:db8::1")

    def test_chain(self) -> None:
        """Section 7.4.2: PEM, the leaf first, then the issuing CA, and not the root."""
        response = self.client.read(self.issued.url)
        self.assertEqual(response.status, 200)
        self.assertEqual(response.one("Content-Type"), "application/pem-certificate-chain")
        self.assertRegex(response.body, _STRICT)
        self.assertEqual(_der(response.body)[1:], list(authority().chain))
        leaf = x509.load_pem_x509_certificates(response.body)[0]
        self.assertEqual(leaf.public_key(), self.issued.key.public_key())

    def test_alternate_chain(self) -> None:
        """Section 7.4.2: Link rel="alternate" leads to the chain with the root, and back."""
        response = self.client.read(self.issued.url)
        (url,) = response.links("alternate")
        other = self.client.read(url)
        self.assertEqual(other.one("Content-Type"), "application/pem-certificate-chain")
        self.assertEqual(_der(other.body), [*_der(response.body), authority().root])
        (back,) = other.links("alternate")
        self.assertEqual(self.client.read(back).body, response.body)

    def test_chains_that_are_not_there(self) -> None:
        """There are as many chains as there are."""
        for number in ("2", "9", "-1", "x", "00000000000000000000001", "1x", "%C2%B2", ""):
            self.assertProblem(self.client.read(f"{self.issued.url}/chain/{number}"), "malformed", 404)

    def test_names(self) -> None:
        """The names are the order's, in its order, addresses as addresses."""
        leaf = self.issued.chain[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(
            [str(each.value) for each in names],
            ["www.example.org", "*.example.org", "10.1.2.3", "2001:db8::1"],
        )

    def test_another_account(self) -> None:
        """A certificate is handed to its own account alone; nobody else learns that it is there."""
        stranger = self.bench.account()
        refused = stranger.read(self.issued.url)
        self.assertProblem(refused, "malformed", 404)
        self.assertEqual(refused.json, stranger.read("certificate/cv-x").json)
        self.assertProblem(stranger.read(f"{self.issued.url}/chain/1"), "malformed", 404)

    def test_after_expiry_and_revocation(self) -> None:
        """Section 7.4.2: what was issued can be read for as long as it is kept."""
        self.client.revoke(self.issued.der)
        self.bench.pass_by(days=100)
        self.assertEqual(self.client.read(self.issued.url).status, 200)

    def test_renewal_is_a_version_of_the_same_names(self) -> None:
        """The same names of the same account are one managed certificate, with a version for each issue."""
        self.bench.pass_by(days=60)
        self.client.issue("10.1.2.3", "*.example.org", "www.example.org", "2001:db8::1")
        self.client.issue("www.example.org")
        self.bench.account().issue("www.example.org")
        self.assertEqual(self.bench.value("SELECT count(*) FROM managed_certificates"), 3)
        self.assertEqual(self.bench.value("SELECT count(*) FROM certificate_versions"), 4)

    def test_serial_in_the_database(self) -> None:
        """The serial is stored as the certificate has it: lower-case hexadecimal without leading zeros."""
        stored = self.bench.value("SELECT serial_number FROM certificate_versions")
        self.assertEqual(stored, f"{self.issued.chain[0].serial_number:x}")
