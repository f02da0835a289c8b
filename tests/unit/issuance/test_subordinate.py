"""A CA under an organisation's root."""

from __future__ import annotations

import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from certctl.issuance import hierarchy
from certctl.issuance.files import SigningKey, key_pem
from certctl.issuance.local import LocalCA
from tests.unit.issuance.cases import DAY, NOW, DirectoryCase, opened, template


class SubordinateTests(DirectoryCase):
    """The CA under an organisation's root."""

    def setUp(self) -> None:
        super().setUp()
        self.root_key: SigningKey = ec.generate_private_key(ec.SECP384R1())
        self.root = hierarchy.root_certificate(self.root_key, "Org root", NOW)
        self.directory.mkdir(parents=True)
        self.chain = self.directory / "chain.pem"
        self.key = self.directory / "key.pem"

    def organisation(self, key: SigningKey, *above: x509.Certificate) -> x509.Certificate:
        """Write an issuing CA with the certificates above it, and its key; return it."""
        issuing = hierarchy.issuing_certificate(key, "Org issuing", self.root_key, self.root, NOW)
        self.write([issuing, *above], key)
        return issuing

    def write(self, certificates: list[x509.Certificate], key: SigningKey) -> None:
        self.chain.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
        self.key.touch(0o600)
        self.key.write_bytes(key_pem(key))

    def opened(self) -> LocalCA:
        return LocalCA.from_files(self.chain, self.key, directory=self.directory / "state", now=NOW)

    def test_every_kind_of_key(self) -> None:
        """EC and RSA; the hash is as strong as the curve."""
        for key, algorithm in (
            (ec.generate_private_key(ec.SECP256R1()), hashes.SHA256),
            (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384),
            (ec.generate_private_key(ec.SECP521R1()), hashes.SHA512),
            (rsa.generate_private_key(65537, 2048), hashes.SHA256),
        ):
            issuing = self.organisation(key, self.root)
            ca = self.opened()
            leaf = x509.load_der_x509_certificate(ca.issue(template()).der)
            leaf.verify_directly_issued_by(issuing)
            self.assertIsInstance(leaf.signature_hash_algorithm, algorithm)
            self.assertEqual(ca.chain, (issuing.public_bytes(Encoding.DER),))
            self.assertEqual(ca.root, self.root.public_bytes(Encoding.DER))
            self.assertEqual(ca.common_name, "Org issuing")

    def test_root_shown(self) -> None:
        """The root at the end of the chain is put where clients' administrators look for it."""
        self.organisation(ec.generate_private_key(ec.SECP256R1()), self.root)
        self.opened()
        shown = self.directory / "state" / "root-ca.pem"
        self.assertEqual(shown.read_bytes(), self.root.public_bytes(Encoding.PEM))
        self.opened()
        self.assertEqual(sorted(os.listdir(shown.parent)), ["ca.lock", "root-ca.pem"])

    def test_earlier_root_kept(self) -> None:
        """The root of the CA that was there before is set aside, not lost."""
        state = self.directory / "state"
        opened(state)
        before = (state / "root-ca.pem").read_bytes()
        self.organisation(ec.generate_private_key(ec.SECP256R1()), self.root)
        self.opened()
        fingerprint = x509.load_pem_x509_certificate(before).fingerprint(hashes.SHA256()).hex()
        self.assertEqual((state / f"root-ca-{fingerprint[:16]}.pem").read_bytes(), before)

    def test_without_root(self) -> None:
        issuing = self.organisation(ec.generate_private_key(ec.SECP256R1()))
        ca = self.opened()
        self.assertEqual((ca.chain, ca.root), ((issuing.public_bytes(Encoding.DER),), None))
        self.assertFalse((self.directory / "state").exists())

    def test_root_that_issues(self) -> None:
        """A root that signs by itself is the whole chain: clients expect a certificate after the leaf."""
        key = ec.generate_private_key(ec.SECP256R1())
        root = hierarchy.root_certificate(key, "Lonely root", NOW)
        self.write([root], key)
        ca = self.opened()
        self.assertEqual((ca.chain, ca.root), ((root.public_bytes(Encoding.DER),), None))
        self.assertTrue((self.directory / "state" / "root-ca.pem").exists())

    def test_earliest_end_of_the_chain(self) -> None:
        """What is above the issuing CA bounds its certificates too."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuing = hierarchy.issuing_certificate(key, "Org issuing", self.root_key, self.root, NOW)
        short = hierarchy.root_certificate(self.root_key, "Org root", NOW - (20 * 365 - 10) * DAY)
        self.write([issuing, short], key)
        self.assertEqual(self.opened().expires_at, NOW.replace(microsecond=0) + 10 * DAY)

    def test_wrong_order(self) -> None:
        issuing = self.organisation(ec.generate_private_key(ec.SECP256R1()), self.root)
        stranger = hierarchy.root_certificate(ec.generate_private_key(ec.SECP256R1()), "Stranger", NOW)
        self.chain.write_bytes(issuing.public_bytes(Encoding.PEM) + stranger.public_bytes(Encoding.PEM))
        self.assertIn("'Org issuing' is not signed by 'Stranger'", self.refused(self.opened))
        self.chain.write_bytes(self.root.public_bytes(Encoding.PEM) + issuing.public_bytes(Encoding.PEM))
        self.assertIn(
            "key.pem: the key is not that of the certificate in chain.pem", self.refused(self.opened)
        )

    def test_path_too_short(self) -> None:
        """A CA of path length zero with another CA below it."""
        key, below = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        above = self.organisation(key, self.root)
        self.write([hierarchy.issuing_certificate(below, "Below", key, above, NOW), above, self.root], below)
        self.assertEqual(
            self.refused(self.opened),
            "chain.pem: 'Org issuing' allows no CA so far below it; have its path made longer",
        )

    def test_no_ca(self) -> None:
        """A certificate that may not sign others."""
        key = ec.generate_private_key(ec.SECP256R1())
        for ca, signs in ((False, True), (True, False)):
            self.write([self.odd(key, ca, signs)], key)
            self.assertIn("may not sign certificates", self.refused(self.opened))
        self.write([self.odd(key, True, None)], key)
        self.assertIn("lacks basic constraints or key usage", self.refused(self.opened))

    def odd(self, key: ec.EllipticCurvePrivateKey, ca: bool, signs: bool | None) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Odd")])
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if signs is not None:
            usage = x509.KeyUsage(True, False, False, False, False, signs, False, False, False)
            builder = builder.add_extension(usage, critical=True)
        return builder.sign(key, hashes.SHA256())

    def test_keys_that_do_not_serve(self) -> None:
        self.organisation(ec.generate_private_key(ec.SECP256R1()), self.root)
        ed = ed25519.Ed25519PrivateKey.generate()
        weak = rsa.generate_private_key(65537, 1024)
        for content, words in (
            (ed.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "a CA key is EC or RSA"),
            (key_pem(weak), "2048 bits or more"),
            (
                ed.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
                "the key is encrypted",
            ),
        ):
            self.key.write_bytes(content)
            message = self.refused(self.opened)
            self.assertTrue(message.startswith("key.pem: "), message)
            self.assertIn(words, message)

    def test_files_missing(self) -> None:
        self.organisation(ec.generate_private_key(ec.SECP256R1()))
        self.key.unlink()
        self.assertIn("key.pem: the file is missing", self.refused(self.opened))
        self.chain.unlink()
        self.assertIn("chain.pem: the file is missing", self.refused(self.opened))
