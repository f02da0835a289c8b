"""``certctl`` as an operator runs it: a process of its own, against a server of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
import threading
import time
from contextlib import closing
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SkipTest

from tests.acme_client import b64
from tests.integration import postgres
from tests.integration.acme import Session, serial_of
from tests.integration.clients import P256, Certbot
from tests.integration.server import HOST, PROGRAMS, Ran, RunningServer, ServerTestCase, free_port, run
from tests.integration.test_crash import Client
from tests.integration.test_tls import pem, signed
from tests.unit.web.tls_cases import private_pem

CERTCTL = PROGRAMS / "certctl"
NOBODY = f"{HOST}:9"  # a resolver that is none, so that nothing leaves this machine


class CommandCase(ServerTestCase):
    """Servers, and the command that is told their settings or their URL."""

    def served(self, **settings: str) -> RunningServer:
        return self.serve({"CERTCTL_ACME_SERVER_DNS01_RESOLVER": NOBODY, **settings})

    def on_host(self, server: RunningServer, *arguments: str | Path, status: int = 0, **more: str) -> str:
        """Run the command with the server's settings; it must end with that status."""
        ran = run(CERTCTL, *arguments, env={**server.settings, **more}, cwd=server.directory)
        return self.checked(ran, status)

    def from_afar(
        self, server: RunningServer, *arguments: str | Path, key: str = "", status: int = 0, url: str = ""
    ) -> str:
        """Run the command as from another machine."""
        key = key or (server.state / "api-key").read_text().strip()
        env = {
            "CERTCTL_SERVER_URL": url or server.url,
            "CERTCTL_CA_BUNDLE": str(server.trust),
            "CERTCTL_API_KEY": key,
        }
        return self.checked(run(CERTCTL, *arguments, env=env), status)

    def checked(self, ran: Ran, status: int) -> str:
        self.assertEqual(ran.status, status, ran)
        self.assertNotIn("Traceback", ran.output)
        self.assertNotIn("\x1b", ran.output, "no colours where nobody sees them")
        return ran.output


class AccessTests(CommandCase):
    def test_on_host(self) -> None:
        """On its host the server is found from its settings, be they in the environment or in a file."""
        server = self.served()
        self.assertIn("prof-default", self.on_host(server, "profile", "list"))
        file = server.directory / "settings.env"
        file.write_text("".join(f"{name}={value}\n" for name, value in server.settings.items()))
        ran = run(CERTCTL, "--settings", file, "profile", "list", "--json")
        self.assertEqual(json.loads(self.checked(ran, 0))[0]["id"], "prof-default")

    def test_from_afar(self) -> None:
        """Each way to fail has its exit status and its sentence."""
        server, other = self.served(), self.served()
        self.assertIn("prof-default", self.from_afar(server, "profile", "list"))
        worker = json.loads(self.from_afar(server, "apikey", "create", "w", "--role", "read-only", "--json"))[
            "key"
        ]
        for arguments, key, status, words in (
            (("profile", "list"), "wrong", 4, "does not know this API key"),
            (("profile", "create", "--name", "x"), worker, 4, "may not do this"),
            (("profile", "show", "nope"), "", 5, "Not found"),
            (("--server", f"https://{HOST}:{free_port()}", "profile", "list"), "", 3, "connection refused"),
            (("--ca", other.trust, "profile", "list"), "", 3, "is not trusted: give --ca"),
            (("profile", "create", "--name", "x", "--id", "wrong"), "", 1, "Refused"),
            (("profile", "frobnicate"), "", 2, "No such command"),
        ):
            self.assertIn(words, self.from_afar(server, *arguments, key=key, status=status))

    def test_another_name(self) -> None:
        """A certificate for another name is refused, and said."""
        server = self.served(CERTCTL_SERVER_HOST="0.0.0.0")
        said = self.from_afar(server, "profile", "list", url=f"https://127.0.0.2:{server.port}", status=3)
        self.assertIn("is for another name", said)

    def test_certificate_of_the_operator(self) -> None:
        """On the host it works as well where the server's certificate is for a name that leads elsewhere."""
        root = signed("corporate root")
        leaf = signed("server", root, names=("certctl.corp.invalid",))
        folder = self.path()
        (folder / "cert.pem").write_bytes(pem(leaf, root))
        (folder / "key.pem").write_bytes(private_pem(leaf[1]))
        (folder / "key.pem").chmod(0o600)
        server = RunningServer(
            self.path(),
            {
                "CERTCTL_SERVER_TLS_CERT_PATH": str(folder / "cert.pem"),
                "CERTCTL_SERVER_TLS_KEY_PATH": str(folder / "key.pem"),
                "CERTCTL_ACME_SERVER_DNS01_RESOLVER": NOBODY,
            },
        )
        self.addCleanup(server.end)
        server.launch()
        server.wait_logged("is ready", within=30)
        self.assertIn("prof-default", self.on_host(server, "profile", "list"))

    def test_followed(self) -> None:
        """Events appear as they happen."""
        server = self.served()
        until_seen = f"""
            {CERTCTL} audit follow --json >seen & follower=$!
            for number in $(seq 30); do
                {CERTCTL} apikey create x --role admin >created
                sleep 1
                grep api_key_created seen && break
            done
            kill $follower
            """
        said = run("sh", "-c", until_seen, env=server.settings, cwd=server.directory)
        self.assertIn('"action": "api_key_created"', self.checked(said, 0))
        self.assertEqual(self.on_host(server, "audit", "follow", "--until-idle", "1s"), "")

    def test_completion(self) -> None:
        """The scripts are what the shells take."""
        ran = run("bash", "-c", f'eval "$({CERTCTL} completion bash)" && complete -p certctl')
        self.assertIn("_certctl_completion", self.checked(ran, 0))
        ran = run(
            "bash", "-c", f"COMP_WORDS='certctl prof' COMP_CWORD=1 _CERTCTL_COMPLETE=bash_complete {CERTCTL}"
        )
        self.assertIn("profile", ran.output)


class BundleTests(CommandCase):
    def test_java(self) -> None:
        """The trust store is one that Java's own tool reads, and trusts."""
        if shutil.which("keytool") is None:
            raise SkipTest("there is no keytool here")
        server = self.served()
        store = server.directory / "trust.p12"
        self.on_host(server, "ca", "bundle", "--format", "pkcs12", "--output", store)
        listed = run("keytool", "-list", "-keystore", store, "-storetype", "PKCS12", "-storepass", "changeit")
        self.assertIn("trustedCertEntry", listed.must_succeed().output)

    def test_same_from_everywhere(self) -> None:
        """From the host and over the API it is the same root, and openssl trusts the server by it."""
        server = self.served()
        here, there = self.on_host(server, "ca", "bundle"), self.from_afar(server, "ca", "bundle")
        self.assertEqual(here, there)
        self.assertEqual(here, server.root.read_text())


class BackupTests(CommandCase):
    def test_there_and_back(self) -> None:
        """Backed up while it runs, destroyed, restored: the client of before renews, under the root of before."""
        server = self.served()
        client = Certbot(server, self.path())
        issued = client.issue(["www.corp.example"], P256)
        before = issued.certificate.read_bytes()
        root = server.root.read_bytes()
        file = server.directory / "backup.tar.gz"
        self.on_host(server, "backup", file)
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        with tarfile.open(file) as archive:
            self.assertNotIn("state/certctl-nonces/key", archive.getnames())
        self.assertIn("The server runs", self.on_host(server, "restore", file, "--force", status=6))
        server.stop()
        self.assertIn("--force", self.on_host(server, "restore", file, status=6))
        shutil.rmtree(server.state)
        self.on_host(server, "restore", file)
        for path in server.state.rglob("*"):
            self.assertEqual(path.stat().st_mode & 0o077 & ~0o044, 0, path)
            if "key" in path.name:
                self.assertEqual(path.stat().st_mode & 0o777, 0o600, path)
        self.assertEqual(server.state.stat().st_mode & 0o777, 0o700)
        server.start()
        self.assertEqual(server.root.read_bytes(), root)
        after = client.renew(issued).certificate.read_bytes()
        self.assertNotEqual(serial_of(before), serial_of(after))
        for number, certificate in enumerate((before, after)):
            held = server.directory / f"{number}.pem"
            held.write_bytes(certificate)
            chain_of = ("-CAfile", server.root, "-untrusted", issued.chain)
            run("openssl", "verify", *chain_of, held).must_succeed()
        self.assertNotIn("\nfail ", self.on_host(server, "doctor"))

    def test_under_load(self) -> None:
        """Backed up while clients work, with keys under a passphrase, and restored into an empty directory elsewhere.

        What was promised before the backup holds; CRLs go on; no nonce of before is good; nothing is half there.
        """
        folder = self.path()
        passphrase = folder / "passphrase"
        passphrase.write_text("correct horse battery staple\n")
        server = self.served(CERTCTL_CA_PASSPHRASE_FILE=str(passphrase))
        over = threading.Event()
        self.addCleanup(over.set)
        clients = [Client(server, number, over) for number in range(3)]
        for each in clients:
            each.start()
        session = Session(server)
        session.register()
        mine = [session.certificate(f"{number}.corp.example") for number in range(3)]
        self.revoke(session, mine[0])
        file = folder / "backup.tar.gz"
        self.on_host(server, "backup", file)
        with tarfile.open(file) as archive:
            for name in ("root-ca-key.pem", "issuing-ca-key.pem"):
                member = archive.extractfile(f"state/{name}")
                assert member is not None
                self.assertIn(b"ENCRYPTED PRIVATE KEY", member.read())
            self.assertNotIn(passphrase.read_bytes().strip(), file.read_bytes())
        self.revoke(session, mine[1])  # forgotten by the restore
        number = self.crl(server).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        nonce = session.fresh_nonce()
        over.set()
        for each in clients:
            each.join(60)
            self.assertEqual(each.told.surprises, [])
        server.stop()
        shutil.rmtree(server.state)
        self.on_host(server, "restore", file)
        server.settings["CERTCTL_CA_PASSPHRASE_FILE"] = ""
        ran = run(*server.command, cwd=server.directory, env=server.settings, within=30)
        self.assertIn("the key is encrypted; name the file", ran.output)
        server.settings["CERTCTL_CA_PASSPHRASE_FILE"] = str(passphrase)
        server.start()
        session.close()
        self.assertEqual(session.send("new-order", {"identifiers": []}, nonce=nonce).error, "badNonce")
        found = self.crl(server)
        self.assertGreater(found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number, number)
        listed = {f"{each.serial_number:x}" for each in found}
        self.assertIn(serial_of(mine[0]), listed)
        self.assertNotIn(serial_of(mine[1]), listed)
        for one in mine[1:]:
            self.revoke(session, one)
        listed = {f"{each.serial_number:x}" for each in self.crl(server)}
        self.assertGreaterEqual(listed, {serial_of(each) for each in mine})
        session.certificate("after.corp.example")
        self.whole(server)

    def whole(self, server: RunningServer) -> None:
        """The database is whole, the trail says that it was restored, and the doctor finds nothing wrong."""
        self.assertEqual(server.rows("PRAGMA integrity_check"), [("ok",)])
        self.assertEqual(server.rows("PRAGMA foreign_key_check"), [])
        orders = server.rows("SELECT id FROM acme_orders WHERE status = 'valid'")
        self.assertGreater(len(orders), 3)
        self.assertEqual(sorted(orders), sorted(server.rows("SELECT order_id FROM certificate_versions")))
        restored = server.rows("SELECT count(*) FROM audit_events WHERE action = 'backup_restored'")
        self.assertEqual(restored, [(1,)])
        self.assertFalse((server.state / "restored").exists())
        self.assertNotIn("\nfail ", self.on_host(server, "doctor"))
        self.assertIn("keys are encrypted", self.on_host(server, "doctor"))
        self.on_host(server, "audit", "verify")

    def revoke(self, session: Session, chain: bytes) -> None:
        """Revoke a certificate, and wait until a list can say so."""
        der = x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)
        session.nonce = None
        session.post("revoke-cert", {"certificate": b64(der)})
        time.sleep(1.5)

    def crl(self, server: RunningServer) -> x509.CertificateRevocationList:
        """The list of revoked certificates."""
        with closing(server.connect()) as connection:
            connection.request("GET", "/pki/iss-internal-ca/crl")
            return x509.load_der_x509_crl(connection.getresponse().read())

    def test_what_was_there(self) -> None:
        """With --force, what was there is put aside, and a damaged backup touches nothing."""
        server = self.served()
        file = server.directory / "backup.tar.gz"
        self.on_host(server, "backup", file)
        server.stop()
        broken = server.directory / "broken.tar.gz"
        broken.write_bytes(file.read_bytes()[:-200])
        (server.state / "mine").write_text("x")
        self.on_host(server, "restore", broken, "--force", status=1)
        self.assertTrue((server.state / "mine").exists())
        self.on_host(server, "restore", file, "--force")
        self.assertEqual(len([*server.state.glob("before-restore-*/mine")]), 1)
        self.assertEqual([*server.state.glob(".restore-*")], [])
        server.start()

    def test_postgres(self) -> None:
        """On PostgreSQL the commands that are printed do the other half; a backup is not for another engine."""
        first = postgres.shared().database(f"backup_{os.getpid()}", postgres.TEMPLATE)
        second = postgres.shared().database(f"restored_{os.getpid()}")
        server = self.served(CERTCTL_DATABASE_URL=first)
        Session(server).register()
        file = server.directory / "backup.tar.gz"
        self.by_hand(self.on_host(server, "backup", file))
        server.stop()
        shutil.rmtree(server.state)
        self.assertIn(
            "set it as it was", self.on_host(server, "restore", file, status=2, CERTCTL_DATABASE_URL="")
        )
        server.settings["CERTCTL_DATABASE_URL"] = second
        self.by_hand(self.on_host(server, "restore", file))
        server.start()
        self.assertEqual(len(json.loads(self.on_host(server, "account", "list", "--json"))), 1)
        self.assertNotIn("\nfail ", self.on_host(server, "doctor"))

    def by_hand(self, said: str) -> None:
        """Run the command that the command asks for."""
        command = re.search(r"run this too: (pg_.*)", said)
        assert command is not None, said
        run("sh", "-c", command[1]).must_succeed()
