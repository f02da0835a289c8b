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

from certctl.acme.identifiers import dns_name, ip_address
from certctl.issuance import signatures
from certctl.issuance.hierarchy import issuing_certificate, root_certificate
from certctl.issuance.issuer import Template, TemplateError
from certctl.issuance.leaf import to_be_signed
from certctl.issuance.profile import (
    IssuingCertificate,
    authority_key_identifier,
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


def octets(wanted: Template, issuer: IssuingCertificate = ISSUER, serial: int = 1) -> bytes:
    """What is to be signed."""
    return to_be_signed(wanted, issuer, serial, signatures.algorithm(ISSUING_KEY))


def signed(wanted: Template, serial: int = 1) -> x509.Certificate:
    """The certificate as it would be issued."""
    return x509.load_der_x509_certificate(signatures.signed(ISSUING_KEY, octets(wanted, serial=serial)))


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
        self.assertRaises(TemplateError, octets, template(public_key=key))

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
        self.assertRaises(TemplateError, octets, template(extended_key_usages=("fly",)))

    def test_must_staple(self) -> None:
        found = extension(signed(template(must_staple=True)), x509.TLSFeature).value
        self.assertEqual(list(found), [x509.TLSFeatureType.status_request])
        self.assertRaises(x509.ExtensionNotFound, extension, signed(template()), x509.TLSFeature)


class RefusalTests(SynchronousTestCase):
    def test_outliving_the_issuer(self) -> None:
        """The last second of the issuer is the last that a certificate may have."""
        octets(template(not_after=ISSUER.expires_at))
        late = template(not_after=ISSUER.expires_at + SECOND)
        self.assertRaises(TemplateError, octets, late)

    def test_issuer_ends_with_its_own_issuer(self) -> None:
        """What is above an issuing certificate bounds it too."""
        short = root_certificate(ROOT_KEY, "short", NOW - timedelta(days=20 * 365 - 10))
        self.assertEqual(IssuingCertificate.of(ISSUING, short).expires_at, NOW + 10 * DAY)

    def test_nothing_certified(self) -> None:
        self.assertRaises(TemplateError, octets, template(names=()))

    def test_end_before_start(self) -> None:
        self.assertRaises(TemplateError, octets, template(not_after=NOW))

    def test_fractions_of_a_second_are_cut(self) -> None:
        part = timedelta(microseconds=999_999)
        certificate = signed(template(not_before=NOW + part, not_after=NOW + DAY + part))
        self.assertEqual(certificate.not_valid_before_utc, NOW)
        self.assertEqual(certificate.not_valid_after_utc, NOW + DAY)
