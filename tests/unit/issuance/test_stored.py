"""Templates as stored data, and certificates that came from elsewhere."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import dns_name, ip_address
from certctl.issuance import received, stored
from certctl.issuance.issuer import Issued, Template, TemplateError
from certctl.issuance.profile import key_usage
from tests.unit.issuance.cases import DAY, LEAF_KEY, NOW, DirectoryCase, opened, template

SECOND = timedelta(seconds=1)
FULL = Template(
    names=(dns_name("*.example.org"), ip_address("10.0.0.1")),
    common_name="*.example.org",
    public_key=LEAF_KEY,
    not_before=NOW,
    not_after=NOW + DAY,
    extended_key_usages=("clientAuth", "1.2.3.4"),
    must_staple=True,
    no_rev_avail=True,
    revocable=False,
)


class StoredTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        """A template comes back as it was, by way of JSON, whatever its key is."""
        keys = (
            ec.generate_private_key(ec.SECP384R1()),
            rsa.generate_private_key(65537, 2048),
            ed25519.Ed25519PrivateKey.generate(),
        )
        for each in (
            template(),
            FULL,
            *(attrs.evolve(FULL, public_key=key.public_key(), common_name=None) for key in keys),
        ):
            self.assertEqual(stored.unpacked(json.loads(json.dumps(stored.packed(each)))), each)

    def test_nothing_left_out(self) -> None:
        """Each member of a template is tried above with another value than its default, so a new one is too."""
        for field in attrs.fields(Template):
            self.assertNotEqual(getattr(FULL, field.name), field.default, field.name)


class ReceivedTests(DirectoryCase):
    """What a signer elsewhere sent."""

    def setUp(self) -> None:
        super().setUp()
        self.ca = opened(self.directory)
        self.template = template()

    def received(self, issued: Issued) -> None:
        received.check(self.template, self.ca, issued)

    def refused(self, issued: Issued) -> str:  # type: ignore[override]
        """Why it is not taken."""
        return str(self.assertRaises(TemplateError, self.received, issued))

    def test_right(self) -> None:
        """The certificate of the template is taken."""
        self.received(self.ca.issue(self.template))

    def test_other_templates(self) -> None:
        """A certificate of another template is refused, and the sentence has what differs and the serial."""
        other = ec.generate_private_key(ec.SECP256R1()).public_key()
        cases: dict[str, dict[str, Any]] = {
            "its key": {"public_key": other},
            "its names": {"names": (*self.template.names, dns_name("evil.example"))},
            "its usages": {"extended_key_usages": ("serverAuth", "clientAuth")},
            "its TLS feature": {"must_staple": True},
            "its noRevAvail": {"no_rev_avail": True},
            "its validity": {"not_after": self.template.not_after + SECOND},
        }
        for words, changes in cases.items():
            issued = self.ca.issue(attrs.evolve(self.template, **changes))
            why = self.refused(issued)
            self.assertIn(words, why)
            self.assertIn(issued.serial, why)

    def test_another_issuer(self) -> None:
        """A certificate that the issuer did not sign is refused."""
        stranger = opened(self.directory.parent / "stranger")
        self.assertIn("its issuer", self.refused(stranger.issue(self.template)))

    def test_extensions(self) -> None:
        """A CA is refused, and so is a name of another kind that spells like the right one."""
        for words, extension in (
            ("its being a CA", key_usage(key_cert_sign=True)),
            ("its being a CA", x509.BasicConstraints(ca=True, path_length=None)),
            ("its names", x509.SubjectAlternativeName([x509.UniformResourceIdentifier("www.example.org")])),
        ):
            builder = (
                x509.CertificateBuilder()
                .subject_name(x509.Name([]))
                .public_key(self.template.public_key)
                .not_valid_before(self.template.not_before)
                .not_valid_after(self.template.not_after)
                .add_extension(extension, critical=False)
            )
            if not isinstance(extension, x509.SubjectAlternativeName):
                names = [x509.DNSName("www.example.org")]
                builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            made = self.ca.certify(builder)
            issued = Issued(
                f"{made.serial_number:x}",
                made.public_bytes(Encoding.DER),
                made.not_valid_before_utc,
                made.not_valid_after_utc,
            )
            self.assertIn(words, self.refused(issued))

    def test_what_is_said_of_it(self) -> None:
        """Serial and validity are what the certificate says."""
        issued = self.ca.issue(self.template)
        self.assertIn("its serial", self.refused(attrs.evolve(issued, serial="77")))
        self.assertIn("its validity", self.refused(attrs.evolve(issued, not_after=issued.not_after + SECOND)))

    def test_garbage(self) -> None:
        """What is no certificate is refused with a sentence."""
        issued = self.ca.issue(self.template)
        for der in (b"", b"0\x82\xff\xff", issued.der[:-20]):
            self.assertIn("no certificate that can be read", self.refused(attrs.evolve(issued, der=der)))
