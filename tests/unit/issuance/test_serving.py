"""The server's own certificate: made, found again, made anew."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import dns_name, ip_address
from certctl.issuance.issuer import IssuerError
from certctl.issuance.local import LocalCA
from certctl.issuance.serving import ServingCertificate, renew_at

NOW = datetime(2026, 5, 17, 12, 0, 0, 5, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = (dns_name("localhost"), ip_address("127.0.0.1"), ip_address("::1"), dns_name("ca.example.org"))


class ServingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.ca = self.authority(self.directory)

    def authority(self, directory: Path) -> LocalCA:
        return LocalCA.open(directory, common_name="issuing", root_common_name="root", now=NOW)

    def ensure(self, now: datetime = NOW) -> ServingCertificate:
        return ServingCertificate.ensure(self.directory, self.ca, NAMES, now)

    def test_made(self) -> None:
        """Leaf, issuing CA and key in one file that nobody else may read."""
        made = self.ensure()
        content = (self.directory / "server.pem").read_bytes()
        leaf, issuing = x509.load_pem_x509_certificates(content)
        self.assertEqual(content, made.chain_pem + made.key_pem)
        self.assertEqual(made.path, self.directory / "server.pem")
        self.assertEqual(made.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual((issuing.public_bytes(Encoding.DER),), self.ca.chain)
        leaf.verify_directly_issued_by(issuing)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual([str(name.value) for name in names], [name.value for name in NAMES])
        key = load_pem_private_key(made.key_pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.assertEqual(key.public_key(), leaf.public_key())
        self.assertEqual(made.not_after - made.not_before, 90 * DAY - timedelta(seconds=1))

    def test_found_again(self) -> None:
        """The same for two thirds of its life, in whatever order and however often the names come."""
        made = self.ensure()
        self.assertEqual(self.ensure(made.renew_at - timedelta(seconds=1)), made)
        other_order = (*reversed(NAMES), NAMES[0])
        self.assertEqual(ServingCertificate.ensure(self.directory, self.ca, other_order, NOW), made)

    def test_name_said_twice(self) -> None:
        made = ServingCertificate.ensure(self.directory, self.ca, (NAMES[0], NAMES[0]), NOW)
        leaf = x509.load_pem_x509_certificate(made.chain_pem)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(list(names), [x509.DNSName("localhost")])

    def test_renewed(self) -> None:
        """With a third of its life left it is made anew, with another key."""
        made = self.ensure()
        renewed = self.ensure(made.renew_at)
        self.assertNotEqual(renewed.key_pem, made.key_pem)
        self.assertGreater(renewed.not_after, made.not_after)
        self.assertEqual(self.ensure(made.renew_at), renewed)

    def test_other_names(self) -> None:
        made = self.ensure()
        for names in (NAMES[1:], (*NAMES, dns_name("more.example.org"))):
            found = ServingCertificate.ensure(self.directory, self.ca, names, NOW)
            self.assertNotEqual(found.key_pem, made.key_pem)

    def test_other_issuer(self) -> None:
        """Another CA, even one of the same name, makes another certificate."""
        made = self.ensure()
        self.ca = self.authority(Path(self.mktemp()))
        self.assertNotEqual(self.ensure().key_pem, made.key_pem)

    def test_clock_set_back(self) -> None:
        made = self.ensure(NOW + DAY)
        self.assertLess(self.ensure().not_before, made.not_before)

    def test_open_to_others(self) -> None:
        """A key that others could read is not served again."""
        made = self.ensure()
        made.path.chmod(0o644)
        self.assertNotEqual(self.ensure().key_pem, made.key_pem)
        self.assertEqual(made.path.stat().st_mode & 0o777, 0o600)

    def test_rubbish(self) -> None:
        made = self.ensure()
        foreign = self.authority(Path(self.mktemp()))
        strange = ServingCertificate.ensure(Path(self.mktemp()), foreign, NAMES, NOW)
        for content in (
            b"",
            b"rubbish",
            made.chain_pem,
            made.key_pem,
            (made.chain_pem + made.key_pem)[:-80],
            made.chain_pem + strange.key_pem,
            strange.chain_pem + strange.key_pem,
        ):
            made.path.write_bytes(content)
            self.assertNotEqual(self.ensure().key_pem, made.key_pem)
            self.assertEqual(len(x509.load_pem_x509_certificates(made.path.read_bytes())), 2)

    def test_ends_with_the_ca(self) -> None:
        """Near the CA's end it is shorter, and renewed by its own measure."""
        late = self.ca.expires_at - 9 * DAY
        made = self.ensure(late)
        self.assertEqual(made.not_after, self.ca.expires_at)
        self.assertEqual(self.ensure(late + 5 * DAY), made)

    def test_ca_expired(self) -> None:
        error = self.assertRaises(IssuerError, self.ensure, self.ca.expires_at + DAY)
        self.assertIn("server.pem: 'issuing' expired on 2031-05-16; give the server a new CA", str(error))

    def test_crash_leaves_a_pair(self) -> None:
        """A file that was being written is thrown away; what is served is always whole."""
        made = self.ensure()
        (self.directory / ".server.pem.new").write_bytes(b"half")
        self.assertEqual(self.ensure(), made)
        self.ensure(made.renew_at)
        self.assertNotIn(".server.pem.new", os.listdir(self.directory))

    def test_directory_that_cannot_be(self) -> None:
        file = Path(self.mktemp())
        file.write_text("")
        self.assertRaises(IssuerError, ServingCertificate.ensure, file / "state", self.ca, NAMES, NOW)

    def test_key_not_shown(self) -> None:
        self.assertNotIn("PRIVATE", repr(self.ensure()))


class RenewAtTests(SynchronousTestCase):
    def test_two_thirds(self) -> None:
        self.assertEqual(renew_at(NOW, NOW + 90 * DAY), NOW + 60 * DAY)
        self.assertEqual(renew_at(NOW, NOW + timedelta(seconds=3)), NOW + timedelta(seconds=2))
