"""``certctl ca encrypt-keys``, and what the doctor says of it."""

from __future__ import annotations

import os
from pathlib import Path

from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec

from certctl.cli.access import Given
from certctl.cli.doctor_host import look_at_host
from certctl.cli.main import cli
from certctl.cli.session import Session
from certctl.issuance import files, passphrase, rekeying
from certctl.issuance.passphrase import Passphrase
from certctl.issuance.responder import Responder
from certctl.settings import Settings
from tests.unit.issuance.cases import NOW, DirectoryCase, opened

NAMES = ("issuing-ca-key.pem", "ocsp-iss-internal-ca.pem", "root-ca-key.pem")
LONG = "0123456789abcdef"


class KeysCase(DirectoryCase):
    """A state directory with a CA whose keys are in the clear."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(passphrase, "ROUNDS", 2048)
        self.directory = self.directory.absolute()
        self.ca = opened(self.directory)
        Responder.ensure(self.directory, self.ca, NOW)
        more = self.directory / "issuers" / "iss-second"
        more.mkdir(parents=True)
        files.write(more / "key.pem", files.key_pem(ec.generate_private_key(ec.SECP384R1())), files.SECRET)
        self.environ = {"CERTCTL_STATE_DIR": str(self.directory)}
        self.name("one", LONG)

    def name(self, file: str, text: str) -> Path:
        """Write a passphrase and name it in the settings."""
        path = self.directory.parent / file
        path.write_text(f"{text}\n")
        self.environ["CERTCTL_CA_PASSPHRASE_FILE"] = str(path)
        return path

    def run_command(self, *arguments: str, status: int = 0) -> str:
        """What the command says."""
        session = Session(given=Given(environ=self.environ))
        result = CliRunner().invoke(cli, ["ca", "encrypt-keys", *arguments], obj=session)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.assertEqual(result.exit_code, status, result.output)
        return result.output

    def contents(self) -> dict[str, bytes]:
        """All key files."""
        return {
            str(each.relative_to(self.directory)): each.read_bytes()
            for each in rekeying.key_files(self.directory)
        }

    def phrase(self) -> Passphrase:
        return Passphrase.read(Path(self.environ["CERTCTL_CA_PASSPHRASE_FILE"]))


class EncryptTests(KeysCase):
    def test_all(self) -> None:
        """All keys are encrypted, in place, with their mode; what else is in a file stays."""
        before = self.contents()
        self.assertEqual(sorted(before), sorted([*NAMES, "issuers/iss-second/key.pem"]))
        (self.directory / NAMES[0]).chmod(0o640)
        said = self.run_command()
        for name, content in self.contents().items():
            self.assertIn(name, said)
            self.assertTrue(files.is_encrypted(content), name)
            old = files.open_key(files.key_of(before[name]), None)
            new = files.open_key(files.key_of(content), self.phrase())
            self.assertEqual(new.public_key(), old.public_key())
            rest = content.replace(files.key_of(content), b"")
            self.assertEqual(rest, before[name].replace(files.key_of(before[name]), b""))
        self.assertEqual((self.mode(NAMES[0]), self.mode(NAMES[2])), (0o640, 0o600))
        self.assertEqual([each for each in os.listdir(self.directory) if each.endswith(".new")], [])

    def test_again(self) -> None:
        """Twice is once; and what a crash left in the clear is done by the next run."""
        before = self.contents()
        self.run_command()
        done = self.contents()
        self.assertIn("All 4 keys are under this passphrase already", self.run_command())
        self.assertEqual(self.contents(), done)
        (self.directory / NAMES[2]).write_bytes(before[NAMES[2]])
        self.assertIn(NAMES[2], self.run_command())
        self.assertTrue(all(map(files.is_encrypted, self.contents().values())))

    def test_other_passphrase(self) -> None:
        """Another passphrase takes the place of the old one, if that is given; else nothing is touched."""
        self.run_command()
        old, done = self.environ["CERTCTL_CA_PASSPHRASE_FILE"], self.contents()
        self.name("two", "another passphrase")
        self.assertIn("does not open with the passphrase", self.run_command(status=1))
        wrong = self.name("three", "wrong")
        self.name("two", "another passphrase")
        self.assertIn("does not open", self.run_command("--old-passphrase-file", str(wrong), status=1))
        self.assertEqual(self.contents(), done)
        self.run_command("--old-passphrase-file", old)
        for content in self.contents().values():
            files.open_key(files.key_of(content), self.phrase())

    def test_one_that_cannot_be_opened(self) -> None:
        """One bad file, and no other is touched."""
        (self.directory / NAMES[2]).write_bytes(b"not a key")
        before = self.contents()
        self.assertIn("no private key in PEM", self.run_command(status=1))
        self.assertEqual(self.contents(), before)

    def test_crash(self) -> None:
        """A crash between two files, and in the middle of one, leaves keys that can all be read."""
        replace, calls = Path.replace, []

        def dying(path: Path, target: Path) -> Path:
            calls.append(target)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return replace(path, target)

        patched = self.patch(Path, "replace", dying)
        paths, phrase = rekeying.key_files(self.directory), self.phrase()
        self.assertRaises(KeyboardInterrupt, rekeying.encrypt, self.directory, paths, phrase)
        patched.restore()
        found = self.contents()
        self.assertEqual(sum(map(files.is_encrypted, found.values())), 2)
        for content in found.values():
            files.open_key(files.key_of(content), phrase)
        self.run_command()
        self.assertTrue(all(map(files.is_encrypted, self.contents().values())))

    def test_no_passphrase(self) -> None:
        """Without a passphrase, with an empty one, or without keys, there is a sentence and a remedy."""
        del self.environ["CERTCTL_CA_PASSPHRASE_FILE"]
        self.assertIn("No passphrase is set: make one", self.run_command(status=2))
        self.name("one", "")
        self.assertIn("openssl rand -base64 32", self.run_command(status=1))
        self.name("one", LONG)
        self.environ["CERTCTL_STATE_DIR"] = str(self.directory / "empty")
        self.assertIn("There are no keys", self.run_command(status=1))

    def test_credential(self) -> None:
        """Systemd's credential is the passphrase where no setting names one."""
        path = self.directory.parent / "credentials"
        path.mkdir()
        (path / "ca-passphrase").write_text(LONG)
        del self.environ["CERTCTL_CA_PASSPHRASE_FILE"]
        self.environ["CREDENTIALS_DIRECTORY"] = str(path)
        self.run_command()
        self.assertTrue(all(map(files.is_encrypted, self.contents().values())))


class DoctorTests(KeysCase):
    def found(self) -> str:
        """What the doctor says of the CA."""
        findings = look_at_host(Settings.load(self.environ))
        return "\n".join(
            f"{each.level} {each.message}; {each.remedy}" for each in findings if each.check == "CA"
        )

    def test_plain(self) -> None:
        """Keys in the clear are warned of where a passphrase is set, and only there."""
        self.assertIn("warn a passphrase is set, and not encrypted are", self.found())
        del self.environ["CERTCTL_CA_PASSPHRASE_FILE"]
        self.assertNotIn("encrypted", self.found())

    def test_encrypted(self) -> None:
        """Encrypted ones are good; the wrong passphrase is a failure; an unknown one is said."""
        self.run_command()
        self.assertIn("ok its keys are encrypted", self.found())
        self.assertNotIn("fail", self.found())
        self.name("two", "another")
        self.assertIn("fail", self.found())
        self.assertIn("put the right one there", self.found())
        del self.environ["CERTCTL_CA_PASSPHRASE_FILE"]
        self.assertIn("the passphrase is not known here", self.found())
        self.assertNotIn("fail", self.found())

    def test_short(self) -> None:
        """A passphrase that can be guessed is warned of."""
        self.name("two", "short")
        self.assertIn("is short", self.found())
