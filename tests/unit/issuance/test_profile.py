"""What is in a certificate, and for how long."""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import Identifier, dns_name, ip_address
from certctl.issuance.hierarchy import issuing_certificate, root_certificate
from certctl.issuance.issuer import StatusUrls, Template, TemplateError
from certctl.issuance.profile import (
    IssuingCertificate,
    authority_key_identifier,
    build,
    key_usage,
    lint,
)

NOW = datetime(2026, 5, 17, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
ROOT_KEY = ec.generate_private_key(ec.SECP256R1())
ROOT = root_certificate(ROOT_KEY, "example root CA", NOW)
ISSUING_KEY = ec.generate_private_key(ec.SECP256R1())
ISSUING = issuing_certificate(ISSUING_KEY, "example issuing CA", ROOT_KEY, ROOT, NOW)
ISSUER = IssuingCertificate.of(ISSUING, ROOT)
EC_KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
RSA_KEY = rsa.generate_private_key(65537, 2048).public_key()


def template(*names: str, **changes: Any) -> Template:
    """A template for DNS names, ninety days from NOW."""
    plain = Template(
        names=tuple(dns_name(name) for name in names or ("www.example.org",)),
        common_name=None,
        public_key=EC_KEY,
        not_before=NOW,
        not_after=NOW + 90 * DAY,
    )
    return attrs.evolve(plain, **changes)


def signed(wanted: Template, serial: int = 1) -> x509.Certificate:
    """The certificate as it would be issued."""
    return build(wanted, ISSUER, serial).sign(ISSUING_KEY, hashes.SHA256())


def extension(certificate: x509.Certificate, of: type[Any]) -> Any:
    """The extension of a type, value and criticality."""
    return certificate.extensions.get_extension_for_class(of)


class SubjectTests(SynchronousTestCase):
    def subject(self, names: tuple[str, ...], common_name: str | None) -> str:
        return signed(template(*names, common_name=common_name)).subject.rfc4514_string()

    def test_common_name_of_the_order(self) -> None:
        """A common name that the CSR asked for is kept if it is one of the names."""
        self.assertEqual(
            self.subject(("a.example.org", "b.example.org"), "b.example.org"), "CN=b.example.org"
        )
        self.assertEqual(self.subject(("*.example.org",), "*.example.org"), "CN=*.example.org")

    def test_none_asked_none_given(self) -> None:
        self.assertEqual(self.subject(("a.example.org",), None), "")

    def test_common_name_of_another(self) -> None:
        """A name that the order does not hold never gets into the subject."""
        self.assertEqual(self.subject(("a.example.org",), "evil.example.org"), "")
        self.assertEqual(self.subject(("*.example.org",), "a.example.org"), "")

    def test_common_name_too_long(self) -> None:
        """64 characters fit, 65 do not (ub-common-name)."""
        fits = "a" * 52 + ".example.org"
        self.assertEqual(len(fits), 64)
        self.assertEqual(self.subject((fits,), fits), f"CN={fits}")
        self.assertEqual(self.subject(("a" + fits,), "a" + fits), "")

    def test_address_is_no_common_name(self) -> None:
        certificate = signed(template(names=(ip_address("192.0.2.1"),), common_name="192.0.2.1"))
        self.assertEqual(certificate.subject.rfc4514_string(), "")

    def test_san_critical_without_subject_alone(self) -> None:
        """RFC 5280 section 4.2.1.6."""
        self.assertTrue(extension(signed(template()), x509.SubjectAlternativeName).critical)
        named = signed(template(common_name="www.example.org"))
        self.assertFalse(extension(named, x509.SubjectAlternativeName).critical)


class ExtensionTests(SynchronousTestCase):
    def test_names_in_order(self) -> None:
        names = (
            dns_name("z.example.org"),
            ip_address("2001:db8::1"),
            dns_name("*.a.org"),
            ip_address("192.0.2.1"),
        )
        found = extension(signed(template(names=names)), x509.SubjectAlternativeName).value
        self.assertEqual(
            list(found),
            [
                x509.DNSName("z.example.org"),
                x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
                x509.DNSName("*.a.org"),
                x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
            ],
        )

    def test_every_extension_and_no_other(self) -> None:
        found = [(each.oid._name, each.critical) for each in signed(template(must_staple=True)).extensions]
        self.assertEqual(
            found,
            [
                ("authorityKeyIdentifier", False),
                ("subjectKeyIdentifier", False),
                ("keyUsage", True),
                ("subjectAltName", True),
                ("basicConstraints", True),
                ("extendedKeyUsage", False),
                ("TLSFeature", False),
            ],
        )

    def test_version_issuer_and_serial(self) -> None:
        certificate = signed(template(), serial=0xABCDEF)
        self.assertEqual(certificate.version, x509.Version.v3)
        self.assertEqual(certificate.issuer, ISSUING.subject)
        self.assertEqual(certificate.serial_number, 0xABCDEF)

    def test_key_identifiers(self) -> None:
        """The subject's is SHA-256 of the key cut to 160 bits (RFC 7093), the issuer's the one it has."""
        for key, bits in (
            (EC_KEY, EC_KEY.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)),
            (RSA_KEY, RSA_KEY.public_bytes(Encoding.DER, PublicFormat.PKCS1)),
        ):
            certificate = signed(template(public_key=key))
            found = extension(certificate, x509.SubjectKeyIdentifier).value
            self.assertEqual(found.digest, hashlib.sha256(bits).digest()[:20])
            authority = extension(certificate, x509.AuthorityKeyIdentifier).value
            self.assertEqual(
                authority.key_identifier, extension(ISSUING, x509.SubjectKeyIdentifier).value.digest
            )
            self.assertIsNone(authority.authority_cert_serial_number)

    def test_issuer_without_identifier(self) -> None:
        """For an issuer without a subject key identifier one is made from its key."""
        bare = (
            x509.CertificateBuilder()
            .subject_name(ROOT.subject)
            .issuer_name(ROOT.subject)
            .serial_number(1)
            .public_key(ROOT_KEY.public_key())
            .not_valid_before(NOW)
            .not_valid_after(NOW + DAY)
            .sign(ROOT_KEY, hashes.SHA256())
        )
        self.assertEqual(authority_key_identifier(bare), authority_key_identifier(ROOT))

    def test_key_usage(self) -> None:
        """Key transport is for RSA alone (RFC 5280 section 4.2.1.3)."""
        for key, enciphers in (
            (EC_KEY, False),
            (ec.generate_private_key(ec.SECP384R1()).public_key(), False),
            (ed25519.Ed25519PrivateKey.generate().public_key(), False),
            (ed448.Ed448PrivateKey.generate().public_key(), False),
            (RSA_KEY, True),
        ):
            usage = extension(signed(template(public_key=key)), x509.KeyUsage).value
            self.assertTrue(usage.digital_signature)
            self.assertEqual(usage.key_encipherment, enciphers)
            for other in (
                "content_commitment",
                "data_encipherment",
                "key_agreement",
                "key_cert_sign",
                "crl_sign",
            ):
                self.assertFalse(getattr(usage, other), other)

    def test_other_keys_refused(self) -> None:
        key = x25519.X25519PrivateKey.generate().public_key()
        self.assertRaises(TemplateError, build, template(public_key=key), ISSUER, 1)

    def test_extended_key_usages(self) -> None:
        """Names of RFC 5280 and dotted object identifiers, in order; none gives no extension."""
        wanted = ("clientAuth", "1.3.6.1.4.1.311.20.2.2", "serverAuth")
        found = extension(signed(template(extended_key_usages=wanted)), x509.ExtendedKeyUsage).value
        self.assertEqual(
            list(found),
            [
                ExtendedKeyUsageOID.CLIENT_AUTH,
                x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.2"),
                ExtendedKeyUsageOID.SERVER_AUTH,
            ],
        )
        none = signed(template(extended_key_usages=()))
        self.assertRaises(x509.ExtensionNotFound, extension, none, x509.ExtendedKeyUsage)
        self.assertRaises(TemplateError, build, template(extended_key_usages=("fly",)), ISSUER, 1)

    def test_must_staple(self) -> None:
        found = extension(signed(template(must_staple=True)), x509.TLSFeature).value
        self.assertEqual(list(found), [x509.TLSFeatureType.status_request])
        self.assertRaises(x509.ExtensionNotFound, extension, signed(template()), x509.TLSFeature)


class RefusalTests(SynchronousTestCase):
    def test_outliving_the_issuer(self) -> None:
        """The last second of the issuer is the last that a certificate may have."""
        build(template(not_after=ISSUER.expires_at), ISSUER, 1)
        late = template(not_after=ISSUER.expires_at + SECOND)
        self.assertRaises(TemplateError, build, late, ISSUER, 1)

    def test_issuer_ends_with_its_own_issuer(self) -> None:
        """What is above an issuing certificate bounds it too."""
        short = root_certificate(ROOT_KEY, "short", NOW - timedelta(days=20 * 365 - 10))
        self.assertEqual(IssuingCertificate.of(ISSUING, short).expires_at, NOW + 10 * DAY)

    def test_nothing_certified(self) -> None:
        self.assertRaises(TemplateError, build, template(names=()), ISSUER, 1)

    def test_end_before_start(self) -> None:
        self.assertRaises(TemplateError, build, template(not_after=NOW), ISSUER, 1)

    def test_fractions_of_a_second_are_cut(self) -> None:
        part = timedelta(microseconds=999_999)
        certificate = signed(template(not_before=NOW + part, not_after=NOW + DAY + part))
        self.assertEqual(certificate.not_valid_before_utc, NOW)
        self.assertEqual(certificate.not_valid_after_utc, NOW + DAY)


class LintTests(SynchronousTestCase):
    """The check of the finished certificate notices what ``build`` would have to get wrong."""

    def assert_noticed(self, wanted: Template, found: x509.Certificate) -> None:
        self.assertRaises(TemplateError, lint, wanted, ISSUER, found)

    def test_good(self) -> None:
        for names in (("a.example.org",), ("b.example.org", "*.example.org")):
            wanted = template(*names, not_before=NOW + timedelta(microseconds=5))
            lint(wanted, ISSUER, signed(wanted))
        addresses = template(names=(ip_address("192.0.2.1"), ip_address("2001:db8::1")))
        lint(addresses, ISSUER, signed(addresses))

    def test_other_names(self) -> None:
        found = signed(template("a.example.org", "b.example.org"))
        for names in (
            ("a.example.org",),
            ("b.example.org", "a.example.org"),
            ("a.example.org", "c.example.org"),
        ):
            self.assert_noticed(template(*names), found)

    def test_name_of_another_kind(self) -> None:
        """An address that was put in as a DNS name."""
        wanted = template(names=(ip_address("192.0.2.1"),))
        found = signed(template(names=(Identifier(dns_name("a").type, "192.0.2.1"),)))
        self.assert_noticed(wanted, found)

    def test_other_key(self) -> None:
        self.assert_noticed(template(), signed(template(public_key=RSA_KEY)))

    def test_other_validity(self) -> None:
        self.assert_noticed(template(), signed(template(not_after=NOW + 91 * DAY)))
        self.assert_noticed(template(), signed(template(not_before=NOW - SECOND)))
        late = IssuingCertificate(ISSUER.subject, ISSUER.authority_key_identifier, NOW + 10 * DAY)
        self.assertRaises(TemplateError, lint, template(), late, signed(template()))

    def test_other_uses(self) -> None:
        """Purposes, a TLS feature or a subject that the template does not have, or lacks."""
        other = ("serverAuth", "clientAuth"), ("clientAuth",), ()
        for usages in other:
            self.assert_noticed(template(), signed(template(extended_key_usages=usages)))
            self.assert_noticed(template(extended_key_usages=usages), signed(template()))
        self.assert_noticed(template(), signed(template(must_staple=True)))
        self.assert_noticed(template(must_staple=True), signed(template()))
        named = signed(template("a.example.org", common_name="a.example.org"))
        lint(template("a.example.org", common_name="a.example.org"), ISSUER, named)
        self.assert_noticed(template("a.example.org"), named)

    def test_other_urls(self) -> None:
        """URLs of revocation are the issuer's own, all of them, and none where the template wants none."""
        told = attrs.evolve(ISSUER, urls=StatusUrls("http://pki.example/pki/iss-x", 4))
        found = build(template(), told, 7).sign(ISSUING_KEY, hashes.SHA256())
        lint(template(), told, found)
        [point] = extension(found, x509.CRLDistributionPoints).value
        self.assertEqual(point.full_name[0].value, "http://pki.example/pki/iss-x/crl/4/3")
        access = [
            each.access_location.value for each in extension(found, x509.AuthorityInformationAccess).value
        ]
        self.assertEqual(access, ["http://pki.example/pki/iss-x/ocsp", "http://pki.example/pki/iss-x/ca"])
        others = (
            None,
            StatusUrls("http://pki.example/pki/iss-x"),
            StatusUrls("http://evil.example/pki/iss-x", 4),
        )
        for other in others:
            wrong = attrs.evolve(ISSUER, urls=other)
            self.assertRaises(TemplateError, lint, template(), wrong, found)
        silent = template(revocable=False)
        self.assertRaises(TemplateError, lint, silent, told, found)
        lint(silent, told, build(silent, told, 7).sign(ISSUING_KEY, hashes.SHA256()))

    def test_a_signing_key(self) -> None:
        """A key that may sign certificates, in a certificate that is right otherwise."""
        wanted = template()
        builder = build(wanted, ISSUER, 1)
        usage = key_usage(digital_signature=True, key_cert_sign=True)
        kept = [each for each in builder._extensions if not isinstance(each.value, x509.KeyUsage)]
        builder._extensions = [*kept, x509.Extension(usage.oid, True, usage)]
        self.assert_noticed(wanted, builder.sign(ISSUING_KEY, hashes.SHA256()))

    def test_a_ca(self) -> None:
        found = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(ISSUING.subject)
            .serial_number(1)
            .public_key(EC_KEY)
            .not_valid_before(NOW)
            .not_valid_after(NOW + 90 * DAY)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("www.example.org")]), critical=True)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(ISSUING_KEY, hashes.SHA256())
        )
        self.assert_noticed(template(), found)
