"""What pkilint says of everything that the CA signs: nothing of severity WARNING or above, but for one check.

The check of DNS names in pkilint's RFC 5280 linter takes a name for one with a dot and without an asterisk, and
reports every other with severity ERROR. A wildcard is left to applications by RFC 5280 section 4.2.1.6 and
described by RFC 9525 section 6.3; a single label such as ``localhost`` is a name in RFC 1034 section 3.5. (pkilint's
own linter for TLS servers drops the finding too.) It is expected here for exactly these names, once for each, and
for no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from pkilint import loader
from pkilint.bin import lint_pkix_signer_signee_cert_chain as pairs
from pkilint.pkix import certificate, extension, name
from pkilint.validation import ValidationFindingSeverity
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import Identifier, IdentifierType, dns_name, ip_address
from certctl.acme.name_constraints import Subtrees
from certctl.issuance import hierarchy, offline
from certctl.issuance.files import SigningKey, key_pem
from certctl.issuance.issuer import StatusUrls, Template
from certctl.issuance.local import LocalCA
from certctl.issuance.offline import Bounds
from certctl.issuance.profile import validity
from certctl.issuance.serving import ServingCertificate

NOW = datetime.now(UTC)
# Every kind that a profile's key_algorithms may name.
KEYS: dict[str, CertificatePublicKeyTypes] = {
    "P-256": ec.generate_private_key(ec.SECP256R1()).public_key(),
    "P-384": ec.generate_private_key(ec.SECP384R1()).public_key(),
    "P-521": ec.generate_private_key(ec.SECP521R1()).public_key(),
    "RSA-2048": rsa.generate_private_key(65537, 2048).public_key(),
    "RSA-3072": rsa.generate_private_key(65537, 3072).public_key(),
    "RSA-4096": rsa.generate_private_key(65537, 4096).public_key(),
    "Ed25519": ed25519.Ed25519PrivateKey.generate().public_key(),
}
URLS = StatusUrls("http://pki.example.org/pki/iss-internal-ca", 4)
NAME_SYNTAX = "pkix.invalid_domain_name_syntax"


def names() -> Iterator[tuple[str, tuple[Identifier, ...], str | None]]:
    """Every kind of name that an order can ask for, with the common name that its CSR asks for."""
    one: tuple[Identifier, ...] = (dns_name("www.example.org"),)
    yield "DNS", one, None
    yield "CN", one, "www.example.org"
    yield "CN that does not fit", (dns_name(f"{'a' * 60}.example.org"),), f"{'a' * 60}.example.org"
    yield "wildcard with CN", (dns_name("*.example.org"),), "*.example.org"
    yield "IPv4", (ip_address("192.0.2.1"),), None
    yield "IPv6", (ip_address("2001:db8::1"),), None
    yield "name and address", (*one, ip_address("192.0.2.1")), "www.example.org"
    yield "100 names", tuple(dns_name(f"n{i}.example.org") for i in range(100)), None
    yield "single label", (dns_name("localhost"),), None
    yield "IDN", (dns_name("xn--bcher-kva.example"),), None


def policies() -> Iterator[tuple[str, dict[str, Any]]]:
    """What profiles add to a certificate, or leave out of it."""
    yield "plain", {}
    yield "must-staple", {"must_staple": True}
    yield "noRevAvail", {"no_rev_avail": True}
    yield "both ends", {"extended_key_usages": ("serverAuth", "clientAuth")}
    yield "client", {"extended_key_usages": ("clientAuth",)}
    yield "other purposes", {"extended_key_usages": ("emailProtection", "1.3.6.1.5.5.7.3.17")}
    yield "any purpose", {"extended_key_usages": ()}
    yield "not in the database", {"revocable": False}


def templates(key: CertificatePublicKeyTypes, ca: LocalCA) -> Iterator[tuple[str, Template]]:
    """Every kind of certificate: each kind of name plain, and each kind of policy with two kinds of name."""
    starts, ends = validity(NOW, timedelta(days=90), ca.expires_at)
    for named, found, common_name in names():
        plain = Template(
            names=found, common_name=common_name, public_key=key, not_before=starts, not_after=ends
        )
        for said, policy in policies():
            if said == "plain" or named in ("CN", "IPv4"):
                yield f"{named}, {said}", attrs.evolve(plain, **policy)


def findings(results: Any) -> list[tuple[ValidationFindingSeverity, str, str]]:
    """Severity, code and words of each finding."""
    return [
        (found.finding.severity, found.finding.code, found.message or "")
        for result in results
        for found in result.finding_descriptions
    ]


def alone(der: bytes) -> list[tuple[ValidationFindingSeverity, str, str]]:
    """What is found in one certificate (pkilint's lint_pkix_cert)."""
    validator = certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )
    return findings(validator.validate(loader.load_certificate(der, "certificate").root))


def together(issuer: bytes, subject: bytes) -> list[tuple[ValidationFindingSeverity, str, str]]:
    """What is found in a certificate and its issuer's (pkilint's lint_pkix_signer_signee_cert_chain)."""
    load = loader.RFC5280CertificateDocumentLoader()
    documents: dict[str, Any] = {}
    for role, der in (("issuer", issuer), ("subject", subject)):
        documents[role] = load.load_der_document(der, role, role, documents)
    decode = pairs.create_decoder_validation_container()
    results = decode.validate(documents["issuer"].root) + decode.validate(documents["subject"].root)
    results += pairs.create_issuer_validation_container().validate(documents["issuer"].root)
    results += pairs.create_subject_validation_container().validate(documents["subject"].root)
    return findings(results)


class LintTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.ca = LocalCA.open(
            self.directory, common_name="certctl issuing CA", root_common_name="certctl root CA", now=NOW
        ).publishing(URLS)

    def assert_clean(self, what: str, issuer: bytes, subject: bytes, odd: Iterable[str] = ()) -> None:
        """Assert that nothing is found but the syntax of the odd names."""
        found = sorted({*alone(subject), *together(issuer, subject)})
        expected = [
            (ValidationFindingSeverity.ERROR, NAME_SYNTAX, f'Invalid domain name syntax: "{name}"')
            for name in sorted(odd)
        ]
        for severity, code, words in found:
            if severity <= ValidationFindingSeverity.NOTICE:
                print(f"{what}: {severity.name} {code} {words}")
        self.assertEqual(
            [each for each in found if each[0] <= ValidationFindingSeverity.WARNING], expected, what
        )

    def assert_leaf_clean(self, what: str, ca: LocalCA, template: Template) -> None:
        names = (each.value for each in template.names if each.type is IdentifierType.DNS)
        odd = [name for name in names if name.startswith("*.") or "." not in name]
        self.assert_clean(what, ca.chain[0], ca.issue(template).der, odd)

    def test_linter_finds(self) -> None:
        """The harness sees what is wrong: a certificate under an issuer that did not sign it."""
        other = hierarchy.root_certificate(ec.generate_private_key(ec.SECP256R1()), "another", NOW)
        found = together(other.public_bytes(Encoding.DER), self.ca.chain[0])
        self.assertIn(ValidationFindingSeverity.ERROR, {severity for severity, _, _ in found})

    def test_leaves(self) -> None:
        """Each kind of key with each kind of name and of policy."""
        for kind, key in KEYS.items():
            for what, template in templates(key, self.ca):
                self.assert_leaf_clean(f"{kind}, {what}", self.ca, template)

    def test_under_other_issuers(self) -> None:
        """The same leaf from issuing CAs of other algorithms."""
        root_key = ec.generate_private_key(ec.SECP384R1())
        root = hierarchy.root_certificate(root_key, "Org root", NOW)
        keys: tuple[SigningKey, ...] = (
            ec.generate_private_key(ec.SECP384R1()),
            ec.generate_private_key(ec.SECP521R1()),
            rsa.generate_private_key(65537, 2048),
            rsa.generate_private_key(65537, 4096),
        )
        for key in keys:
            issuing = hierarchy.issuing_certificate(key, "Org issuing", root_key, root, NOW)
            paths = self.directory / "chain.pem", self.directory / "key.pem"
            paths[0].write_bytes(issuing.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM))
            paths[1].touch(0o600)
            paths[1].write_bytes(key_pem(key))
            ca = LocalCA.from_files(*paths, directory=self.directory / "org", now=NOW).publishing(URLS)
            what = f"{type(key).__name__} {key.key_size}"
            self.assert_clean(f"{what} issuing CA", ca.root or b"", ca.chain[0])
            for kind, template in templates(KEYS["P-256"], ca):
                self.assert_leaf_clean(f"{what}, {kind}", ca, template)

    def test_hierarchy(self) -> None:
        assert self.ca.root is not None
        self.assert_clean("root", self.ca.root, self.ca.root)
        self.assert_clean("issuing CA", self.ca.root, self.ca.chain[0])

    def test_roots_elsewhere(self) -> None:
        """Roots and issuing CAs of `certctl ca`, of each key, with and without name constraints; cross-certificates."""
        names = Subtrees.parse(["corp.example", "10.0.0.0/8"]), Subtrees.parse(["no.corp.example"])
        desks: list[tuple[Path, bytes, x509.Certificate]] = []
        for algorithm in offline.KEYS:
            for permitted, excluded in ((Subtrees(), Subtrees()), names, (names[0], Subtrees())):
                if algorithm == "rsa-4096" and permitted.names:  # seconds for a key
                    continue
                desk = self.directory / f"{algorithm}-{len(desks)}"
                bounds = Bounds(
                    lifetime=timedelta(days=3650), path_length=1, permitted=permitted, excluded=excluded
                )
                name = f"Root {len(desks)}"
                root = x509.load_pem_x509_certificate(
                    offline.found_root(desk, name, algorithm, bounds, NOW).root.read_bytes()
                )
                der = root.public_bytes(Encoding.DER)
                self.assert_clean(f"{algorithm} root", der, der)
                below = attrs.evolve(bounds, path_length=0)
                request = offline.request(ec.generate_private_key(ec.SECP384R1()), "Corp issuing CA")
                issuing = offline.sign_request(desk, request.public_bytes(Encoding.PEM), below, NOW)[0]
                self.assert_clean(f"under {algorithm}", der, issuing.public_bytes(Encoding.DER))
                desks.append((desk, der, issuing))
        pem = desks[0][2].public_bytes(Encoding.PEM)
        for desk, der, _ in desks[1:]:
            cross = offline.sign_across(desk, pem, timedelta(days=100), NOW)[0]
            self.assert_clean("cross-certificate", der, cross.public_bytes(Encoding.DER))

    def test_server(self) -> None:
        names = (
            dns_name("localhost"),
            ip_address("127.0.0.1"),
            ip_address("::1"),
            dns_name("ca.example.org"),
        )
        server = ServingCertificate.ensure(self.directory, self.ca, names, NOW)
        leaf = x509.load_pem_x509_certificate(server.chain_pem).public_bytes(Encoding.DER)
        self.assert_clean("server", self.ca.chain[0], leaf, odd=["localhost"])
