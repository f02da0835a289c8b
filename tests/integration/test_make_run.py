"""`make run` as a new user meets it: what it prints, what it leaves on the disk, how it ends, and what it refuses."""

from __future__ import annotations

import re
import stat
from contextlib import closing
from pathlib import Path

from tests.acme_client import Signer
from tests.integration.acme import Session
from tests.integration.server import (
    HOST,
    MAKE_RUN,
    PROFILE,
    Ran,
    RunningServer,
    ServerTestCase,
    processes_of,
    run,
)

SECRET = ("api-key", "root-ca-key.pem", "issuing-ca-key.pem", "server.pem", "certctl.sqlite")
NOT_OURS = re.compile(r"make(\[\d+\])?: ")  # how make itself says that its command failed


class MakeRunTests(ServerTestCase):
    def test_first_certificate(self) -> None:
        """The log names directory, root and a command, once each; the command gets a certificate as it stands."""
        server = self.serve(command=MAKE_RUN)
        server.wait_logged("first certificate: ")
        command, directory, root = (
            self.told(server, what) for what in ("first certificate", "directory", "root certificate")
        )
        self.assertEqual(directory, f"https://{HOST}:{server.port}/acme/profile/{PROFILE}/directory")
        self.assertEqual(root, str(server.root))
        elsewhere = self.path()
        run("sh", "-c", command, cwd=elsewhere).must_succeed()
        self.verified(server, elsewhere)
        with closing(server.connect()) as connection:
            connection.request("GET", "/acme/directory")
            self.assertEqual(connection.getresponse().status, 200)

    def test_second_start(self) -> None:
        """Ctrl-C ends everything; another start has the same CA, API key and accounts, and an old nonce is good."""
        server = self.serve(command=MAKE_RUN)
        server.wait_logged("first certificate: ")
        elsewhere = self.path()
        run("sh", "-c", self.told(server, "first certificate"), cwd=elsewhere).must_succeed()
        self.private(server)
        kept = {name: (server.state / name).read_bytes() for name in (*SECRET[:4], "root-ca.pem")}
        session = Session(server)
        account = session.register()
        nonce, session.nonce = session.nonce, None
        session.close()

        group = server.pid
        self.assertNotEqual(server.interrupt(), 0)  # make says that it was interrupted
        self.assertEqual(list(processes_of(group)), [])
        self.assertIn("certctl has stopped", server.log)
        server.must_be_unhurt()

        server.start()
        self.assertEqual({name: (server.state / name).read_bytes() for name in kept}, kept)
        self.private(server)
        self.verified(server, elsewhere)
        again = Session(server, session.signer)
        again.nonce = nonce
        found = again.post("new-account", {"onlyReturnExisting": True})
        self.assertEqual((found.status, found.location), (200, account))
        again.close()

    def test_side_by_side(self) -> None:
        """Two from one checkout, each with its port and state directory, know nothing of each other."""
        servers = [self.serve(command=MAKE_RUN) for _ in range(2)]
        signer = Signer.generate("ES256")
        for server in servers:
            session = Session(server, signer)
            session.register()
            session.certificate("side.example.internal")
            session.close()
            self.assertEqual(server.rows("SELECT count(*) FROM certificate_versions"), [(1,)])
        self.assertNotEqual(*(server.root.read_bytes() for server in servers))

    def told(self, server: RunningServer, what: str) -> str:
        """What the log says of something, once."""
        (found,) = re.findall(rf"^\S+ info +{what}: (.+)$", server.log, re.MULTILINE)
        return str(found)

    def verified(self, server: RunningServer, elsewhere: Path) -> None:
        """The certificate of the command that was printed leads to the server's root."""
        (chain,) = elsewhere.glob("first-certificate/certificates/first.internal.crt")
        run("openssl", "verify", "-CAfile", server.root, "-untrusted", chain, chain).must_succeed()

    def private(self, server: RunningServer) -> None:
        """Nobody else may look into the state directory, or read what is secret in it."""
        self.assertEqual(stat.S_IMODE(server.state.stat().st_mode), 0o700)
        modes = {name: stat.S_IMODE((server.state / name).stat().st_mode) for name in SECRET}
        self.assertEqual(modes, dict.fromkeys(SECRET, 0o600))
        self.assertGreaterEqual(len((server.state / "api-key").read_text().strip()), 32)
        self.assertTrue(server.root.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----"))


class RefusedStartTests(ServerTestCase):
    """A start that cannot be ends with one sentence that names the setting, and an exit status that is not 0."""

    def sentence(self, ran: Ran) -> str:
        """The one line that was said."""
        said = [line for line in ran.output.splitlines() if line and not NOT_OURS.match(line)]
        self.assertEqual(len(said), 1, ran)
        self.assertIn("certctl: ", said[0])
        return said[0]

    def test_bad_value(self) -> None:
        said = self.sentence(self.refused({"CERTCTL_ACME_SERVER_NONCE_TTL": "soon"}, command=MAKE_RUN))
        for part in ("CERTCTL_ACME_SERVER_NONCE_TTL", "soon", "5m"):
            self.assertIn(part, said)

    def test_port_in_use(self) -> None:
        server = self.serve()
        said = self.sentence(self.refused({"CERTCTL_SERVER_PORT": str(server.port)}, command=MAKE_RUN))
        for part in (f"{HOST}:{server.port}", "in use", "CERTCTL_SERVER_PORT"):
            self.assertIn(part, said)

    def test_unknown_name_in_file(self) -> None:
        """A slip of the pen in the settings file stops the start, and the nearest name is told."""
        file = self.path() / "certctl.env"
        file.write_text("CERTCTL_ACME_SERVER_NONCE_TLL=5m\n")
        said = self.sentence(self.refused({"CERTCTL_SETTINGS_FILE": str(file)}, command=MAKE_RUN))
        for part in ("CERTCTL_ACME_SERVER_NONCE_TLL", str(file), "CERTCTL_ACME_SERVER_NONCE_TTL"):
            self.assertIn(part, said)

    def test_state_directory_in_use(self) -> None:
        """Two servers do not share a state directory."""
        server = self.serve()
        said = self.sentence(self.refused({"CERTCTL_STATE_DIR": str(server.state)}, command=MAKE_RUN))
        for part in (str(server.state), "CERTCTL_STATE_DIR"):
            self.assertIn(part, said)

    def test_half_a_pair(self) -> None:
        said = self.sentence(self.refused({"CERTCTL_CA_CERT_PATH": "/nowhere/ca.pem"}))
        for part in ("CERTCTL_CA_CERT_PATH", "CERTCTL_CA_KEY_PATH"):
            self.assertIn(part, said)

    def test_missing_files(self) -> None:
        """Files that a setting names and that are not there."""
        for pair in ("CERTCTL_CA_{}_PATH", "CERTCTL_SERVER_TLS_{}_PATH"):
            said = self.sentence(
                self.refused({pair.format("CERT"): "/nowhere/c.pem", pair.format("KEY"): "/nowhere/k.pem"})
            )
            self.assertIn("/nowhere/", said)

    def test_damaged_database(self) -> None:
        """A file that is no database."""
        file = self.path() / "notes.txt"
        file.write_text("this is not a database\n" * 100)
        said = self.sentence(self.refused({"CERTCTL_DATABASE_URL": f"sqlite:///{file}"}))
        self.assertIn("CERTCTL_DATABASE_URL", said)

    def test_unknown_name_in_environment(self) -> None:
        """It may be Kubernetes' doing, so it only warns."""
        server = self.serve(
            {
                "CERTCTL_ACME_SERVER_NONCE_TLL": "5m",
                "CERTCTL_TEST_PORT_8443_TCP": "tcp://10.0.0.7:8443",
            }
        )
        warned = [line for line in server.log.splitlines() if " warn " in line]
        (slip,) = (line for line in warned if "CERTCTL_ACME_SERVER_NONCE_TLL" in line)
        self.assertIn("CERTCTL_ACME_SERVER_NONCE_TTL", slip)
        (link,) = (line for line in warned if "CERTCTL_TEST_PORT_8443_TCP" in line)
        self.assertIn("service links", link)
