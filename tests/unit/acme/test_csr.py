"""Tests for certctl.acme.csr."""

from __future__ import annotations

import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, padding
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme import csr
from certctl.acme.identifiers import Identifier, dns_name, ip_address
from certctl.acme.problems import Problem, ProblemType
from tests.acme_client import b64, make_csr
from tests.unit.acme.jwk_corpus import rsa_key
from tests.unit.acme.jws_builder import signer

SAN = bytes.fromhex("0603551d11")
UNKNOWN = bytes.fromhex("0603551d37")  # an extension that nobody knows, as long as the SAN's
ATTRIBUTE = bytes.fromhex("2a864886f70d010902")  # unstructuredName, as long as
EXTENSION_REQUEST = bytes.fromhex("2a864886f70d01090e")
SHA256_WITH_RSA = bytes.fromhex("2a864886f70d01010b")


def parse(der: bytes) -> csr.CertificateRequest:
    """Read a CSR as it stands in a finalize request."""
    return csr.parse(b64(der))


def names(*texts: str) -> frozenset[Identifier]:
    """Return identifiers, those with a colon or a digit in front being addresses."""
    return frozenset(
        ip_address(each) if each[0].isdigit() or ":" in each else dns_name(each) for each in texts
    )


def builder(*attributes: tuple[ObjectIdentifier, str]) -> x509.CertificateSigningRequestBuilder:
    """Return a builder with a subject, to which a test adds what a good CSR has not."""
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    return x509.CertificateSigningRequestBuilder().subject_name(subject)


def signed(
    building: x509.CertificateSigningRequestBuilder,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    hashed: hashes.SHA256 | hashes.SHA224 | None = None,
) -> bytes:
    """Return the DER of a CSR."""
    signing = building.sign(key or signer("ES256").key, hashed or hashes.SHA256())
    return signing.public_bytes(serialization.Encoding.DER)


class Refusals(SynchronousTestCase):
    """How a refusal is shown."""

    def refused(self, der: bytes, words: str) -> None:
        """Show that a CSR is refused as badCSR in these words."""
        self.refused_text(b64(der), words)

    def refused_text(self, text: str, words: str) -> None:
        """Show that the text of a CSR is refused as badCSR in these words."""
        problem = self.assertRaises(Problem, csr.parse, text)
        self.assertIs(problem.type, ProblemType.BAD_CSR)
        self.assertIn(words, problem.detail)


class GoodTests(Refusals):
    """CSRs as clients send them."""

    def test_every_key(self) -> None:
        """A CSR for any good key is read: the key and the names."""
        for algorithm in ("ES256", "ES384", "ES512", "RS256", "EdDSA"):
            with self.subTest(algorithm):
                key, der = make_csr(["a.example.org", "b.example.org"], signer(algorithm).key)
                request = parse(der)
                public = key.public_key()
                self.assertEqual(request.public_key, public)
                self.assertEqual(request.names, names("a.example.org", "b.example.org"))
                self.assertIsNone(request.common_name)
                self.assertFalse(request.must_staple)

    def test_common_name(self) -> None:
        """A common name is one of the names, in the SAN too (cert-manager) or alone."""
        _, both = make_csr(["test.example.com"], cn="test.example.com")
        _, alone = make_csr([], cn="test.example.com")
        for der in (both, alone):
            request = parse(der)
            self.assertEqual(request.names, names("test.example.com"))
            self.assertEqual(request.common_name, "test.example.com")

    def test_addresses(self) -> None:
        """Addresses stand in the SAN as such (RFC 8738 section 3), and may be the common name too."""
        request = parse(make_csr(["192.0.2.1", "2001:db8::1"], cn="192.0.2.1")[1])
        self.assertEqual(request.names, names("192.0.2.1", "2001:db8::1"))
        self.assertEqual(request.common_name, "192.0.2.1")
        self.assertEqual(parse(make_csr([], cn="2001:DB8:0::1")[1]).common_name, "2001:db8::1")

    def test_case(self) -> None:
        """Names are the same in upper case."""
        request = parse(make_csr(["A.Example.ORG", "a.example.org"], cn="a.EXAMPLE.org")[1])
        self.assertEqual(request.names, names("a.example.org"))
        self.assertEqual(request.common_name, "a.example.org")

    def test_wildcard(self) -> None:
        """A wildcard is a name like others."""
        self.assertEqual(parse(make_csr(["*.example.org"])[1]).names, names("*.example.org"))

    def test_empty_common_name(self) -> None:
        """An empty common name is none."""
        self.assertIsNone(parse(make_csr(["a.example.org"], cn="")[1]).common_name)
        self.flushWarnings()

    def test_long_common_name(self) -> None:
        """A common name of more than 64 characters is read; if it fits a certificate is asked elsewhere."""
        name = "a" * 60 + ".example.org"
        self.assertEqual(parse(make_csr([name], cn=name)[1]).common_name, name)
        self.flushWarnings()

    def test_common_name_that_is_no_name(self) -> None:
        """A common name that names nothing is kept as it came, for the judge to refuse."""
        for text in ("My Web Server", "a_b.example.org", "\N{KELVIN SIGN}.example.org", "::ffff:192.0.2.1"):
            request = parse(make_csr(["a.example.org"], cn=text)[1])
            self.assertEqual((request.common_name, request.names), (text, names("a.example.org")))

    def test_subject_ignored(self) -> None:
        """What else the subject says is not read."""
        der = signed(builder((NameOID.ORGANIZATION_NAME, "Evil"), (NameOID.COMMON_NAME, "a.example.org")))
        self.assertEqual(parse(der).common_name, "a.example.org")

    def test_must_staple(self) -> None:
        """Must-staple is the TLS feature status_request, and no other (RFC 7633)."""
        for feature, expected in (
            (x509.TLSFeatureType.status_request, True),
            (x509.TLSFeatureType.status_request_v2, False),
        ):
            der = make_csr(["a.example.org"], extensions=[x509.TLSFeature([feature])])[1]
            self.assertIs(parse(der).must_staple, expected)

    def test_extensions_ignored(self) -> None:
        """Extensions that do not change what is asked for are no reason to refuse, unknown ones neither."""
        extensions = (
            x509.BasicConstraints(ca=False, path_length=None),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
            x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
        )
        self.assertEqual(
            parse(make_csr(["a.example.org"], extensions=extensions)[1]).names, names("a.example.org")
        )

    def test_other_attributes(self) -> None:
        """A challenge password, which some tools put in, is not read."""
        der = signed(builder().add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"secret"))
        self.assertEqual(parse(der).names, frozenset())

    def test_pss(self) -> None:
        """A CSR may be signed with RSASSA-PSS."""
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        signing = builder((NameOID.COMMON_NAME, "a.example.org")).sign(
            rsa_key(2048), hashes.SHA256(), rsa_padding=pss
        )
        self.assertEqual(parse(signing.public_bytes(serialization.Encoding.DER)).common_name, "a.example.org")

    def test_a_hundred_long_names(self) -> None:
        """The largest order that is accepted can be finalized with the largest key."""
        tail = ".".join(["x" * 62] * 3)
        long = [f"{number:03}{'y' * 54}.{tail}.org" for number in range(100)]
        self.assertEqual({len(each) for each in long}, {250})
        request = parse(make_csr(long, rsa_key(8192), cn=None)[1])
        self.assertEqual(len(request.names), 100)


class EncodingTests(Refusals):
    """RFC 8555 section 7.4: base64url of DER."""

    def test_base64(self) -> None:
        """Other encodings, PEM and padding among them, are refused."""
        der = make_csr(["a.example.org"])[1]
        pem = x509.load_der_x509_csr(der).public_bytes(serialization.Encoding.PEM).decode()
        for text in (pem, b64(der) + "=", b64(der) + "\n", "+" + b64(der), "\xe9"):
            self.refused_text(text, "not base64url without padding")

    def test_der(self) -> None:
        """What is not one CSR in DER is refused."""
        der = make_csr(["a.example.org"])[1]
        for octets in (b"", b"\0", der[:-1], der + b"\0", der * 2, b"\x30\x80" + der[2:], b"\x30" * 1000):
            self.refused(octets, "not well-formed")

    def test_certificate(self) -> None:
        """A certificate is no CSR."""
        self.refused(bytes.fromhex("3003020101"), "not well-formed")

    def test_too_large(self) -> None:
        """More than 32 KiB are not looked at."""
        self.refused(bytes(csr.MAX_CSR + 1), "more than 32768 octets")

    def test_signature(self) -> None:
        """A CSR that its key's owner did not sign is refused."""
        der = bytearray(make_csr(["a.example.org"], signer("EdDSA").key)[1])
        der[-1] ^= 1
        self.refused(bytes(der), "its signature does not verify")

    def test_changed(self) -> None:
        """A name cannot be changed under the signature."""
        der = make_csr(["a.example.org"])[1]
        self.refused(der.replace(b"a.example", b"b.example"), "its signature does not verify")

    def test_weak_hash(self) -> None:
        """SHA-1, MD5 and the hashes that nobody uses are refused (RFC 6151, RFC 6194, RFC 9155)."""
        der = make_csr(["a.example.org"], rsa_key(2048))[1]
        for last, name in ((b"\x05", "sha1"), (b"\x04", "md5")):
            self.refused(der.replace(SHA256_WITH_RSA, SHA256_WITH_RSA[:-1] + last), f"signed with {name}")
        self.refused(signed(builder(), hashed=hashes.SHA224()), "signed with sha224")

    def test_unknown_algorithm(self) -> None:
        """A signature algorithm that does not exist is refused."""
        der = make_csr(["a.example.org"], rsa_key(2048))[1]
        self.refused(der.replace(SHA256_WITH_RSA, SHA256_WITH_RSA[:-1] + b"\x7f"), "of a known kind")


class KeyTests(Refusals):
    """The key that a certificate is asked for (RFC 8555 section 6.7: badCSR, "e.g., due to a short key")."""

    def test_refused(self) -> None:
        """Weak keys and those of other kinds are refused."""
        for key, words in (
            (rsa_key(1024), "this one 1024"),
            (ec.generate_private_key(ec.SECP256K1()), "the curve is none of"),
            (dsa.generate_private_key(2048), "no supported type"),
        ):
            self.refused(signed(builder(), key), words)

    def test_ed448(self) -> None:
        """Ed448 is refused."""
        signing = builder().sign(ed448.Ed448PrivateKey.generate(), None)
        self.refused(signing.public_bytes(serialization.Encoding.DER), "no supported type")


class NameTests(Refusals):
    """The names that a certificate is asked for."""

    def general_names(self, *general_names: x509.GeneralName) -> bytes:
        """Return a CSR for names of any kind."""
        return signed(builder().add_extension(x509.SubjectAlternativeName(general_names), critical=False))

    def test_other_kinds(self) -> None:
        """Names that are neither DNS names nor addresses are refused."""
        for name in (
            x509.RFC822Name("a@example.org"),
            x509.UniformResourceIdentifier("https://example.org/"),
            x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])),
            x509.RegisteredID(ObjectIdentifier("1.2.3")),
            x509.OtherName(ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a"),
        ):
            self.refused(self.general_names(x509.DNSName("a.example.org"), name), "neither DNS names nor IP")

    def test_bad_names(self) -> None:
        """DNS names that are none are refused, addresses written as DNS names among them."""
        for text in (
            "",
            "a..b",
            "-a.example.org",
            "a b",
            "a\0.example.org",
            "10.0.0.1",
            "x.*.org",
            "a_b.example.org",
        ):
            self.refused(self.general_names(x509.DNSName(text)), "a name in it is refused")

    def test_networks(self) -> None:
        """An address with a mask is refused."""
        network = x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))
        self.refused(self.general_names(network), "a name in it is refused")

    def test_mapped(self) -> None:
        """An IPv4 address in IPv6's clothes is refused."""
        mapped = x509.IPAddress(ipaddress.ip_address("::ffff:192.0.2.1"))
        self.refused(self.general_names(mapped), "a name in it is refused")

    def test_several_common_names(self) -> None:
        """Two common names are refused."""
        two = builder((NameOID.COMMON_NAME, "a.example.org"), (NameOID.COMMON_NAME, "a.example.org"))
        self.refused(signed(two), "several common names")

    def test_extension_twice(self) -> None:
        """A SAN that stands twice is refused, whichever of them would be read."""
        extension = x509.UnrecognizedExtension(ObjectIdentifier("2.5.29.55"), b"\x30\x03\x82\x01b")
        der = make_csr(["a.example.org"], extensions=[extension])[1]
        self.refused(der.replace(UNKNOWN, SAN), "not well-formed")

    def test_extension_request_twice(self) -> None:
        """Two requests for extensions are refused, whichever of them would be read."""
        general_names = x509.SubjectAlternativeName([x509.DNSName("a.example.org")])
        der = signed(
            builder()
            .add_extension(general_names, critical=False)
            .add_attribute(ObjectIdentifier("1.2.840.113549.1.9.2"), b"x")
        )
        self.refused(der.replace(ATTRIBUTE, EXTENSION_REQUEST), "requests extensions twice")

    def test_ca(self) -> None:
        """A request for a CA certificate is refused, instead of answered with another (section 7.4)."""
        extension = x509.BasicConstraints(ca=True, path_length=0)
        self.refused(make_csr(["a.example.org"], extensions=[extension])[1], "requests a CA certificate")
