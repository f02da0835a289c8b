"""What is to be signed is checked before it is: the check notices what the writer would have to get wrong."""

from __future__ import annotations

import ipaddress
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import Identifier, IdentifierType, dns_name, ip_address
from certctl.issuance import linting
from certctl.issuance.issuer import StatusUrls, Template, TemplateError
from certctl.issuance.local import LocalCA
from certctl.issuance.profile import (
    IssuingCertificate,
    authority_key_identifier,
    key_usage,
    subject_key_identifier,
)
from tests.unit.issuance.cases import DirectoryCase, opened
from tests.unit.issuance.test_profile import (
    DAY,
    EC_KEY,
    ISSUER,
    ISSUING,
    ISSUING_KEY,
    NOW,
    ROOT,
    RSA_KEY,
    SECOND,
    octets,
    template,
)

SERIAL = 1
URLS = StatusUrls("http://pki.example/pki/iss-x", 4)
SAN = x509.SubjectAlternativeName([x509.DNSName("www.example.org")])
GOOD: dict[type[x509.ExtensionType], tuple[x509.ExtensionType, bool]] = {
    type(value): (value, critical)
    for value, critical in (
        (authority_key_identifier(ISSUING), False),
        (subject_key_identifier(EC_KEY), False),
        (key_usage(digital_signature=True), True),
        (SAN, True),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), False),
    )
}


def built(
    *changed: tuple[x509.ExtensionType, bool], without: type[x509.ExtensionType] | None = None, **fields: Any
) -> bytes:
    """What cryptography's builder makes of the plain template, with these extensions and fields changed."""
    values = {
        "subject_name": x509.Name([]),
        "issuer_name": ISSUING.subject,
        "serial_number": SERIAL,
        "public_key": EC_KEY,
        "not_valid_before": NOW,
        "not_valid_after": NOW + 90 * DAY,
        **fields,
    }
    builder = x509.CertificateBuilder()
    for name, value in values.items():
        builder = getattr(builder, name)(value)
    for value, critical in {**GOOD, **{type(each[0]): each for each in changed}}.values():
        if type(value) is not without:
            builder = builder.add_extension(value, critical)
    return builder.sign(ISSUING_KEY, hashes.SHA256()).tbs_certificate_bytes


class LintTests(SynchronousTestCase):
    def lint(self, wanted: Template, found: bytes, issuer: IssuingCertificate = ISSUER) -> None:
        linting.lint(wanted, issuer, SERIAL, found)

    def assert_noticed(self, wanted: Template, found: bytes, issuer: IssuingCertificate = ISSUER) -> str:
        return str(self.assertRaises(TemplateError, self.lint, wanted, found, issuer))

    def test_good(self) -> None:
        """Both writers, ours and cryptography's, make the same octets, and nothing is found in them."""
        self.assertEqual(octets(template()), built())
        for names in (("a.example.org",), ("b.example.org", "*.example.org"), ("localhost",)):
            self.lint(template(*names), octets(template(*names)))
        addresses = template(names=(ip_address("192.0.2.1"), ip_address("2001:db8::1")))
        self.lint(addresses, octets(addresses))
        plain = template(public_key=RSA_KEY, must_staple=True, extended_key_usages=())
        self.lint(plain, octets(plain))

    def test_other_names(self) -> None:
        found = octets(template("a.example.org", "b.example.org"))
        for names in (
            ("a.example.org",),
            ("b.example.org", "a.example.org"),
            ("a.example.org", "c.example.org"),
        ):
            self.assert_noticed(template(*names), found)

    def test_name_of_another_kind(self) -> None:
        """An address that was put in as a DNS name."""
        wanted = template(names=(ip_address("192.0.2.1"),))
        self.assert_noticed(wanted, octets(template(names=(Identifier(IdentifierType.DNS, "192.0.2.1"),))))

    def test_no_dns_name(self) -> None:
        """What no relying party would match, though the template has it."""
        for text in (
            "a_b.example",
            "-a.example",
            "a..example",
            "a.*.example",
            "a" * 64,
            "A.example",
            "a.example.",
        ):
            wanted = template(names=(Identifier(IdentifierType.DNS, text),))
            self.assertIn("no DNS name", self.assert_noticed(wanted, octets(wanted)), text)

    def test_other_fields(self) -> None:
        """Serial, issuer, key and validity are those that were meant."""
        others: tuple[tuple[str, Any], ...] = (
            ("serial_number", 2),
            ("issuer_name", ROOT.subject),
            ("public_key", RSA_KEY),
            ("not_valid_after", NOW + 91 * DAY),
            ("not_valid_before", NOW - SECOND),
            ("subject_name", x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "www.example.org")])),
        )
        for field, value in others:
            self.assert_noticed(template(), built(**{field: value}))
        late = IssuingCertificate(ISSUER.subject, ISSUER.authority_key_identifier, NOW + 10 * DAY)
        self.assert_noticed(template(), octets(template()), late)

    def test_serial_of_20_octets(self) -> None:
        """RFC 5280 section 4.1.2.2: positive, and 20 octets at most."""
        for serial, good in ((2**159 - 1, True), (2**159, False), (0, False)):
            found = octets(template(), serial=serial)
            if good:
                linting.lint(template(), ISSUER, serial, found)
            else:
                self.assertRaises(TemplateError, linting.lint, template(), ISSUER, serial, found)

    def test_other_uses(self) -> None:
        """Purposes, a TLS feature or a subject that the template does not have, or lacks."""
        for usages in (("serverAuth", "clientAuth"), ("clientAuth",), ()):
            self.assert_noticed(template(), octets(template(extended_key_usages=usages)))
            self.assert_noticed(template(extended_key_usages=usages), octets(template()))
        self.assert_noticed(template(), octets(template(must_staple=True)))
        self.assert_noticed(template(must_staple=True), octets(template()))
        named = template("a.example.org", common_name="a.example.org")
        self.lint(named, octets(named))
        self.assert_noticed(template("a.example.org"), octets(named))

    def test_a_signing_key(self) -> None:
        """Keys that may sign certificates or lists, that may do nothing, and EC keys that encipher."""
        for usage in (
            key_usage(digital_signature=True, key_cert_sign=True),
            key_usage(digital_signature=True, crl_sign=True),
            key_usage(key_encipherment=True),
            key_usage(digital_signature=True, key_encipherment=True),
        ):
            self.assert_noticed(template(), built((usage, True)))

    def test_a_ca(self) -> None:
        self.assert_noticed(template(), built((x509.BasicConstraints(ca=True, path_length=None), True)))

    def test_criticality(self) -> None:
        """What RFC 5280 has critical is, and nothing else."""
        for value, critical in GOOD.values():
            self.assertIn("critical", self.assert_noticed(template(), built((value, not critical))))

    def test_extensions_that_lack(self) -> None:
        for kind in set(GOOD) - {x509.ExtendedKeyUsage}:
            self.assertIn("lacks", self.assert_noticed(template(), built(without=kind)))

    def test_unknown_extension(self) -> None:
        """An extension that no template asks for, whatever is in it."""
        for value in (
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
            x509.IssuerAlternativeName([x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]),
        ):
            self.assertIn("unknown", self.assert_noticed(template(), built((value, False))))

    def test_other_identifiers(self) -> None:
        """The key identifiers are those of the two keys (RFC 5280 sections 4.2.1.1 and 4.2.1.2)."""
        other = ec.generate_private_key(ec.SECP256R1()).public_key()
        self.assert_noticed(template(), built((subject_key_identifier(other), False)))
        self.assert_noticed(template(), built((authority_key_identifier(ROOT), False)))

    def test_other_urls(self) -> None:
        """URLs of revocation are the issuer's own, all of them, and none where the template wants none."""
        told = attrs.evolve(ISSUER, urls=URLS)
        found = octets(template(), told)
        self.lint(template(), found, told)
        for other in (None, StatusUrls(URLS.base), StatusUrls("http://evil.example/pki/iss-x", 4)):
            self.assert_noticed(template(), found, attrs.evolve(ISSUER, urls=other))
        silent = template(revocable=False)
        self.assert_noticed(silent, found, told)
        self.lint(silent, octets(silent, told), told)

    def test_no_rev_avail(self) -> None:
        """A certificate of which nobody shall ask names neither list nor responder, and says so (RFC 9608)."""
        told, short = attrs.evolve(ISSUER, urls=URLS), template(no_rev_avail=True)
        self.lint(short, octets(short, told), told)
        self.lint(short, octets(short))
        self.assert_noticed(short, octets(template(), told), told)
        self.assert_noticed(template(), octets(short, told), told)
        self.assert_noticed(template(), octets(short))
        self.assert_noticed(short, octets(template()))

    def test_not_der(self) -> None:
        """Octets that are no certificate are no certificate to be signed."""
        good = octets(template())
        for found in (b"", b"\x30\x00", good[:-1], good + b"\x00", good[:40] + b"\xff" * 20 + good[60:]):
            self.assert_noticed(template(), found)


class SignerTests(DirectoryCase):
    def test_nothing_is_signed(self) -> None:
        """What the check finds wrong never reaches the key."""
        ca: LocalCA = opened(self.directory)
        wrong = template(names=(Identifier(IdentifierType.DNS, "a b.example"),))
        ca = attrs.evolve(ca, key=None)  # type: ignore[arg-type]  # which nothing could sign with
        self.assertIn("no DNS name", str(self.assertRaises(TemplateError, ca.issue, wrong)))
        self.assertRaises(AttributeError, ca.issue, template())

    def test_signature(self) -> None:
        """The signature is the issuer's, over exactly what was checked."""
        ca = opened(self.directory)
        found = x509.load_der_x509_certificate(ca.issue(template("good.example", public_key=EC_KEY)).der)
        found.verify_directly_issued_by(x509.load_der_x509_certificate(ca.chain[0]))
        self.assertEqual(
            [dns_name("good.example").value],
            [
                each.value
                for each in found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            ],
        )
