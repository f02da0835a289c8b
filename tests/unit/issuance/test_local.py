"""The CA in files: its first start, its later starts, crashes between, and what must stop it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
)

from certctl.issuance.files import key_pem
from certctl.issuance.issuer import Issuer, IssuerError, TemplateError
from certctl.issuance.local import LocalCA
from tests.unit.issuance.cases import DAY, NOW, DirectoryCase, completed, opened, openssl, template

SEQUENCE = ("root-ca-key.pem", "root-ca.pem", "issuing-ca-key.pem", "issuing-ca.pem")


class FirstStartTests(DirectoryCase):
    def test_files_and_modes(self) -> None:
        previous = os.umask(0)
        try:
            opened(self.directory)
        finally:
            os.umask(previous)
        self.assertEqual(sorted(os.listdir(self.directory)), ["ca.lock", *sorted(SEQUENCE)])
        self.assertEqual(self.mode("."), 0o700)
        self.assertEqual([self.mode(name) for name in SEQUENCE], [0o600, 0o644, 0o600, 0o644])

    def test_root(self) -> None:
        """P-256, twenty years, one level of CAs below it, for certificates and CRLs alone."""
        opened(self.directory)
        text = openssl("x509", "-in", self.directory / "root-ca.pem", "-noout", "-text")
        for line in (
            "Subject: CN = example root CA",
            "Issuer: CN = example root CA",
            "ASN1 OID: prime256v1",
            "Not Before: May 17 11:00:00 2026 GMT",
            "Not After : May 12 12:00:00 2046 GMT",
            "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:1\n",
            "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n",
        ):
            self.assertIn(line, text)

    def test_issuing_ca(self) -> None:
        opened(self.directory)
        text = openssl("x509", "-in", self.directory / "issuing-ca.pem", "-noout", "-text")
        for line in (
            "Subject: CN = example issuing CA",
            "Issuer: CN = example root CA",
            "ASN1 OID: prime256v1",
            "Not After : May 16 12:00:00 2031 GMT",
            "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0\n",
            "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n",
        ):
            self.assertIn(line, text)

    def test_facts(self) -> None:
        ca: Issuer = opened(self.directory)
        files = [
            x509.load_pem_x509_certificate((self.directory / name).read_bytes()).public_bytes(Encoding.DER)
            for name in ("issuing-ca.pem", "root-ca.pem")
        ]
        self.assertEqual(ca.id, "iss-internal-ca")
        self.assertEqual(ca.chain, (files[0],))
        self.assertEqual(ca.root, files[1])
        self.assertEqual(ca.expires_at, datetime(2031, 5, 16, 12, 0, tzinfo=UTC))

    def test_names_that_cannot_be(self) -> None:
        for issuing, root in (("same", "same"), ("", "root"), ("a" * 65, "root"), ("issuing", "")):
            self.assertRaises(
                IssuerError, LocalCA.open, self.directory, common_name=issuing, root_common_name=root, now=NOW
            )
        self.assertEqual(os.listdir(self.directory), ["ca.lock"])

    def test_directory_that_cannot_be(self) -> None:
        file = Path(self.mktemp())
        file.write_text("")
        error = self.assertRaises(IssuerError, opened, file / "state")
        self.assertIn("Not a directory; the server's user must be able to", str(error))


class LaterStartTests(DirectoryCase):
    def test_all_found_again(self) -> None:
        first = opened(self.directory)
        contents = [(self.directory / name).read_bytes() for name in SEQUENCE]
        second = LocalCA.open(self.directory, common_name="new", root_common_name="names", now=NOW + DAY)
        self.assertEqual((second.chain, second.root), (first.chain, first.root))
        self.assertEqual(second.common_name, "example issuing CA")
        self.assertEqual([(self.directory / name).read_bytes() for name in SEQUENCE], contents)

    def test_root_key_taken_away(self) -> None:
        """The root key may be kept elsewhere once the issuing CA stands."""
        first = opened(self.directory)
        (self.directory / "root-ca-key.pem").unlink()
        self.assertEqual(opened(self.directory).chain, first.chain)

    def test_missing(self) -> None:
        """A gap that no crash leaves is not filled: clients trust what was there."""
        for name, rest in (
            ("root-ca.pem", SEQUENCE),
            ("issuing-ca-key.pem", SEQUENCE),
            ("root-ca-key.pem", SEQUENCE[:2]),
            ("root-ca-key.pem", SEQUENCE[:3]),
            ("root-ca.pem", SEQUENCE[:3]),
        ):
            self.directory = Path(self.mktemp())
            opened(self.directory)
            for other in {*SEQUENCE} - {*rest} | {name}:
                (self.directory / other).unlink()
            before = sorted(os.listdir(self.directory))
            self.assertIn(f"{name}: the file is missing", self.refused(lambda: opened(self.directory)))
            self.assertEqual(sorted(os.listdir(self.directory)), before)

    def test_key_of_another(self) -> None:
        opened(self.directory)
        other = key_pem(ec.generate_private_key(ec.SECP256R1()))
        for name, certificate in (
            ("issuing-ca-key.pem", "issuing-ca.pem"),
            ("root-ca-key.pem", "root-ca.pem"),
        ):
            right = (self.directory / name).read_bytes()
            (self.directory / name).write_bytes(other)
            self.assertEqual(
                self.refused(lambda: opened(self.directory)),
                f"{name}: the key is not that of the certificate in {certificate}; put back its own",
            )
            (self.directory / name).write_bytes(right)

    def test_root_of_another(self) -> None:
        opened(self.directory)
        other = Path(self.mktemp())
        opened(other)
        for name in ("root-ca.pem", "root-ca-key.pem"):
            (self.directory / name).write_bytes((other / name).read_bytes())
        self.assertIn(
            "issuing-ca.pem: 'example issuing CA' is not signed by 'example root CA'; put back",
            self.refused(lambda: opened(self.directory)),
        )

    def test_expired(self) -> None:
        opened(self.directory)
        self.assertEqual(
            self.refused(lambda: opened(self.directory, NOW + 5 * 365 * DAY)),
            "issuing-ca.pem: 'example issuing CA' expired on 2031-05-16; have a new one certified",
        )

    def test_clock_behind(self) -> None:
        opened(self.directory)
        self.assertEqual(
            self.refused(lambda: opened(self.directory, NOW - DAY)),
            "issuing-ca.pem: 'example issuing CA' is not valid before 2026-05-17 11:00Z; set the clock right",
        )

    def test_key_open_to_others(self) -> None:
        """A group may be given the key (Kubernetes' fsGroup does so by itself), others may not."""
        opened(self.directory)
        for name in ("issuing-ca-key.pem", "root-ca-key.pem"):
            path = self.directory / name
            path.chmod(0o640)
            opened(self.directory)
            for mode in (0o604, 0o602, 0o644):
                path.chmod(mode)
                error = self.assertRaises(IssuerError, opened, self.directory)
                self.assertEqual(
                    str(error),
                    f"{path}: this key is open to other users of the machine; run: chmod 600 {path}",
                )
            path.chmod(0o600)

    def test_rubbish(self) -> None:
        opened(self.directory)
        for name, what in (("issuing-ca-key.pem", "private key"), ("issuing-ca.pem", "certificate")):
            right = (self.directory / name).read_bytes()
            for content in (b"", b"rubbish", right[:-60], right.replace(b"M", b"A", 20)):
                (self.directory / name).write_bytes(content)
                message = self.refused(lambda: opened(self.directory))
                self.assertTrue(message.startswith(name), message)
                self.assertIn(what, message)
            (self.directory / name).write_bytes(right)


class CrashTests(DirectoryCase):
    """A first start that is killed before any of its steps in the file system."""

    def child(self, work: Callable[[], object]) -> int:
        """Run work in a process of its own; return the process id."""
        child = os.fork()
        if child:
            return child
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)

    def killed_before(self, step: int) -> bool:
        """Whether a first start was killed before its step of that number, or had ended by then."""

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal step
            if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(self.directory) in str(
                arguments
            ):
                step -= 1
                if step < 0:
                    os._exit(9)

        def work() -> None:
            os.umask(0)
            sys.addaudithook(hook)
            opened(self.directory)

        status = os.waitstatus_to_exitcode(os.waitpid(self.child(work), 0)[1])
        self.assertIn(status, (0, 9))
        return status == 9

    def test_every_step(self) -> None:
        """Whatever a crash leaves, no key is open to others, and the next start carries on from there."""
        seen = set()
        step = 0
        while True:
            self.directory = Path(self.mktemp())
            if not self.killed_before(step):
                break
            left = os.listdir(self.directory) if self.directory.exists() else []
            self.assertEqual([name for name in left if "key" in name and self.mode(name) != 0o600], [])
            finished = {name: (self.directory / name).read_bytes() for name in SEQUENCE if name in left}
            self.assertEqual(tuple(finished), SEQUENCE[: len(finished)])
            seen.add(len(finished))
            issued = opened(self.directory).issue(template())
            self.assertEqual({name: (self.directory / name).read_bytes() for name in finished}, finished)
            self.assertEqual(opened(self.directory).issue(template()).not_after, issued.not_after)
            self.assertEqual(sorted(os.listdir(self.directory)), ["ca.lock", *sorted(SEQUENCE)])
            step += 1
        self.assertEqual(seen, {0, 1, 2, 3, 4})
        self.assertGreater(step, 15)

    def test_torn_file_beside(self) -> None:
        """A file that was being written when the machine stopped is thrown away."""
        self.directory.mkdir(parents=True)
        (self.directory / ".root-ca-key.pem.new").write_bytes(b"half a k")
        opened(self.directory)
        self.assertEqual(sorted(os.listdir(self.directory)), ["ca.lock", *sorted(SEQUENCE)])

    def test_many_first_starts_at_once(self) -> None:
        """Eight processes that start together make one CA."""
        reader, writer = os.pipe()

        def work() -> None:
            os.write(writer, opened(self.directory).chain[0].hex().encode() + b"\n")

        children = [self.child(work) for _ in range(8)]
        self.assertEqual([os.waitpid(child, 0)[1] for child in children], [0] * 8)
        os.close(writer)
        with os.fdopen(reader, "rb") as results:
            lines = results.read().splitlines()
        self.assertEqual(len(lines), 8)
        self.assertEqual(set(lines), {opened(self.directory).chain[0].hex().encode()})


class SigningTests(DirectoryCase):
    def test_issued(self) -> None:
        ca = opened(self.directory)
        issued = completed(ca.sign(template(), "r"))
        certificate = x509.load_der_x509_certificate(issued.der)
        self.assertEqual(issued.serial, f"{certificate.serial_number:x}")
        self.assertEqual(issued.not_before, NOW.replace(microsecond=0))
        self.assertEqual(issued.not_after, (NOW + 90 * DAY).replace(microsecond=0))
        self.assertEqual(certificate.not_valid_after_utc, issued.not_after)

    def test_verified_by_openssl(self) -> None:
        ca = opened(self.directory)
        leaf = self.directory / "leaf.pem"
        certificate = x509.load_der_x509_certificate(ca.issue(template()).der)
        leaf.write_bytes(certificate.public_bytes(Encoding.PEM))
        verdict = openssl(
            *("verify", "-x509_strict", "-check_ss_sig", "-purpose", "sslserver"),
            *("-attime", str(int(NOW.timestamp()) + 60), "-verify_hostname", "www.example.org"),
            *(
                "-CAfile",
                self.directory / "root-ca.pem",
                "-untrusted",
                self.directory / "issuing-ca.pem",
                leaf,
            ),
        )
        self.assertEqual(verdict, f"{leaf}: OK\n")

    def test_serials(self) -> None:
        """Positive, 20 octets at most, never twice, and random from the top bit to the bottom one."""
        ca = opened(self.directory)
        serials = [int(ca.issue(template()).serial, 16) for _ in range(200)]
        self.assertEqual(len(set(serials)), 200)
        self.assertTrue(all(0 < serial < 2**159 for serial in serials))
        self.assertTrue(any(serial >> 158 for serial in serials))
        for bit in range(159):
            self.assertIn(sum(serial >> bit & 1 for serial in serials), range(50, 151))

    def test_outliving_the_ca(self) -> None:
        ca = opened(self.directory)
        ca.issue(template(ca.expires_at))
        self.assertRaises(TemplateError, ca.issue, template(ca.expires_at + timedelta(seconds=1)))

    def test_key_not_shown(self) -> None:
        self.assertNotIn("key", repr(opened(self.directory)).lower())
