"""The CA's keys under a passphrase."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from twisted.internet.defer import Deferred

from certctl.issuance import files, passphrase
from certctl.issuance.files import SigningKey
from certctl.issuance.issuer import IssuerError
from certctl.issuance.local import LocalCA
from certctl.issuance.passphrase import Passphrase
from certctl.issuance.responder import Responder
from certctl.issuance.status import LocalStatusSigner
from tests.unit.issuance.cases import NOW, DirectoryCase, openssl

PHRASE = Passphrase(b"a b\xc3\xbcc", Path("/etc/certctl/ca-passphrase"))
OTHER = Passphrase(b"another", Path("/etc/other"))
KEYS = ("root-ca-key.pem", "issuing-ca-key.pem")


class PassphraseCase(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory.mkdir(parents=True)
        self.patch(passphrase, "ROUNDS", 2048)

    def opened(self, phrase: Passphrase | None) -> LocalCA:
        """The CA of the directory."""
        return LocalCA.open(
            self.directory, common_name="issuing", root_common_name="root", now=NOW, passphrase=phrase
        )


class FileTests(PassphraseCase):
    """Where the passphrase comes from."""

    def read(self, content: bytes) -> bytes:
        path = self.directory / "p"
        path.write_bytes(content)
        return Passphrase.read(path).octets

    def test_one_line(self) -> None:
        """A line's end is none of it; other white space is."""
        for content, octets in ((b"x", b"x"), (b" x \n", b" x "), (b"x\r\n", b"x"), (b"\xff\n", b"\xff")):
            self.assertEqual(self.read(content), octets)

    def test_no_line(self) -> None:
        """Nothing, several lines, and more than any reader takes."""
        for content in (b"", b"\n", b"a\nb\n", b"a\n\n", b"x" * 1025):
            self.assertIn("one line of 1 to 1024 octets", self.refused(partial(self.read, content)))

    def test_missing(self) -> None:
        """The sentence names the file and the setting."""
        said = self.refused(lambda: Passphrase.read(self.directory / "p"))
        self.assertIn("p: the passphrase of the CA's keys cannot be read (No such file", said)
        self.assertIn("CERTCTL_CA_PASSPHRASE_FILE", said)

    def test_not_shown(self) -> None:
        """What is logged by mistake does not have it."""
        self.assertNotIn("another", repr(OTHER))


class FormatTests(PassphraseCase):
    """PKCS #8 with PBES2."""

    def test_openssl(self) -> None:
        """Openssl reads what we write, and we what openssl writes, in its old form too."""
        path = self.directory / "k.pem"
        keys: tuple[SigningKey, ...] = (
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP384R1()),
            rsa.generate_private_key(65537, 2048),
        )
        for key in keys:
            path.write_bytes(files.key_pem(key, OTHER))
            path.chmod(0o600)
            plain = openssl("pkey", "-in", path, "-passin", "pass:another")
            self.assertEqual(plain.encode(), files.key_pem(key))
            for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
                path.write_bytes(key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"another")))
                self.assertTrue(files.is_encrypted(path.read_bytes()))
                self.assertEqual(files.read_key(path, OTHER).private_numbers(), key.private_numbers())

    def test_parameters(self) -> None:
        """AES-256 in CBC mode, PBKDF2 with SHA-256, 600,000 rounds, and salt and vector of its own for each key."""
        self.patch(passphrase, "ROUNDS", 600_000)
        path, key = self.directory / "k.pem", ec.generate_private_key(ec.SECP256R1())
        path.write_bytes(files.key_pem(key, OTHER))
        shown = openssl("asn1parse", "-in", path)
        for words in ("PBES2", "PBKDF2", "hmacWithSHA256", "aes-256-cbc", f":{600_000:X}"):
            self.assertIn(words, shown.replace("INTEGER           :0", "INTEGER           :"))
        self.assertNotEqual(files.key_pem(key, OTHER), path.read_bytes())

    def test_wrong(self) -> None:
        """No passphrase, and another one: a sentence with the remedy, and no word of either."""
        path, key = self.directory / "k.pem", ec.generate_private_key(ec.SECP256R1())
        files.write(path, files.key_pem(key, PHRASE), files.SECRET)
        self.assertEqual(
            self.refused(lambda: files.read_key(path)),
            "k.pem: the key is encrypted; name the file with its passphrase in CERTCTL_CA_PASSPHRASE_FILE",
        )
        self.assertEqual(
            self.refused(lambda: files.read_key(path, OTHER)),
            "k.pem: the key does not open with the passphrase in /etc/other; put the right one there",
        )

    def test_damaged(self) -> None:
        """Whatever octet is damaged, it is one sentence, and no key that is another."""
        path, key = self.directory / "k.pem", ec.generate_private_key(ec.SECP256R1())
        pem = files.key_pem(key, PHRASE)
        for at in range(40, len(pem) - 40, 7):
            damaged = pem[:at] + (b"A" if pem[at : at + 1] != b"A" else b"B") + pem[at + 1 :]
            files.write(path, damaged, files.SECRET)
            try:
                found = files.read_key(path, PHRASE)
            except IssuerError:
                continue
            self.assertEqual(found.public_key(), key.public_key())


class HierarchyTests(PassphraseCase):
    def test_made_encrypted(self) -> None:
        """With a passphrase no key is ever written in the clear."""
        ca = self.opened(PHRASE)
        for name in KEYS:
            self.assertTrue(files.is_encrypted((self.directory / name).read_bytes()), name)
            self.assertEqual(self.mode(name), 0o600)
        self.assertEqual(self.opened(PHRASE).chain, ca.chain)

    def test_start_refused(self) -> None:
        """Without it, or with another, the CA is not opened, and nothing is made anew."""
        self.opened(PHRASE)
        before = {each.name: each.read_bytes() for each in self.directory.iterdir()}
        for phrase, words in ((None, "the key is encrypted"), (OTHER, "does not open with")):
            self.assertIn(words, self.refused(partial(self.opened, phrase)))
        self.assertEqual({each.name: each.read_bytes() for each in self.directory.iterdir()}, before)

    def test_plain_keys(self) -> None:
        """Keys in the clear are read with a passphrase too, so that it can be set before they are encrypted."""
        plain = self.opened(None)
        self.assertEqual(self.opened(PHRASE).chain, plain.chain)

    def test_operators_key(self) -> None:
        """A key of the operator's own is opened in the same way."""
        ca = self.opened(None)
        key, chain = self.directory / "mine-key.pem", self.directory / "mine.pem"
        files.write(
            key, files.key_pem(files.read_key(self.directory / "issuing-ca-key.pem"), PHRASE), files.SECRET
        )
        chain.write_bytes((self.directory / "issuing-ca.pem").read_bytes())

        def opened(phrase: Passphrase | None) -> LocalCA:
            return LocalCA.from_files(chain, key, directory=self.directory, now=NOW, passphrase=phrase)

        self.assertEqual(opened(PHRASE).chain, ca.chain[:1])
        self.assertIn("the key is encrypted", self.refused(lambda: opened(None)))

    def test_responder(self) -> None:
        """The OCSP responder's key is as the CA's keys are; one that is kept otherwise is made anew."""
        ca = self.opened(PHRASE)
        path = self.directory / f"ocsp-{ca.id}.pem"
        seen = []
        for phrase in (PHRASE, PHRASE, None, None, OTHER, PHRASE):
            Responder.ensure(self.directory, ca, NOW, phrase)
            seen.append(path.read_bytes())
            self.assertEqual(files.is_encrypted(seen[-1]), phrase is not None)
        first, again, plain, plain_again, other, last = seen
        self.assertEqual((first, plain), (again, plain_again))
        self.assertEqual(len({first, plain, other, last}), 4)
        signer = LocalStatusSigner(ca, self.directory, PHRASE)
        self.successResultOf(Deferred.fromCoroutine(signer.sign_ocsp([], NOW, None)))
        self.assertEqual(path.read_bytes(), last)
