"""``certctl doctor`` on a healthy installation and on broken ones, each with a real server."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SkipTest

from certctl.issuance import files, hierarchy
from tests.integration import postgres
from tests.integration.server import HOST, RunningServer, free_port
from tests.integration.test_cli import CommandCase
from tests.integration.test_tls import pem, signed
from tests.unit.web.tls_cases import private_pem


class DoctorCase(CommandCase):
    def found(
        self, server: RunningServer, *arguments: str, status: int, **settings: str
    ) -> list[dict[str, Any]]:
        """What the doctor finds; it must end with that status."""
        said = self.on_host(server, "doctor", *arguments, "--json", status=status, **settings)
        document = json.loads(said[said.index("{") :])
        self.assertEqual(document["ok"], status == 0)
        findings: list[dict[str, Any]] = document["findings"]
        for each in findings:
            self.assertEqual(bool(each["remedy"]), each["level"] != "ok", each)
        return findings

    def failed(self, server: RunningServer, *arguments: str, **settings: str) -> str:
        """What fails, a line each."""
        found = self.found(server, *arguments, status=1, **settings)
        return "\n".join(f"{each['check']}: {each['message']}" for each in found if each["level"] == "fail")


class HealthyTests(DoctorCase):
    def test_nothing_served(self) -> None:
        """That ACME is off, or that its short URLs lead nowhere, is said: nothing is broken."""
        off = self.served(CERTCTL_ACME_SERVER_ENABLED="false")
        self.assertIn("warn ACME: it is off", self.on_host(off, "doctor"))
        server = self.served()
        said = self.on_host(server, "doctor", CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID="prof-gone")
        self.assertIn("warn profile: prof-gone", said)

    def test_server_asked(self) -> None:
        """Whether ACME is on is what the server does, and not what the command's own settings say."""
        said = self.on_host(self.served(), "doctor", CERTCTL_ACME_SERVER_ENABLED="false")
        self.assertNotIn("ACME: ", said)

    def test_healthy(self) -> None:
        """All is well but for the profile that lets everybody have everything, and the resolver that is none."""
        server = self.served()
        found = self.found(server, status=0)
        warned = {each["check"] for each in found if each["level"] == "warn"}
        self.assertEqual(warned, {"profile", "resolver"})
        self.assertLessEqual(
            {"settings", "state directory", "CA", "database", "clock", "audit", "TLS", "server", "API"},
            {each["check"] for each in found},
        )

    def test_order(self) -> None:
        """It orders a certificate, revokes it, and leaves an account that can do nothing; bound where that is asked."""
        server = self.served()
        self.on_host(server, "profile", "edit", "prof-default", "--set", "policy.eab=required",
                     "--set", 'policy.names.allow=["*.corp.example"]')  # fmt: skip
        said = self.on_host(server, "doctor", "--order", "prof-default")
        self.assertRegex(
            said, r"ok   order: certctl-doctor-\w+\.corp\.example under prof-default: a certificate"
        )
        self.assertEqual(server.rows("SELECT status FROM acme_accounts"), [("deactivated",)])
        ((revoked,),) = server.rows("SELECT revoked_at FROM certificate_versions")
        self.assertTrue(revoked)

    def test_order_refused(self) -> None:
        """A name that the profile refuses is a failure with the server's words, and the account goes all the same."""
        server = self.served()
        self.on_host(
            server, "profile", "edit", "prof-default", "--set", 'policy.names.allow=["a.corp.example"]'
        )
        words = self.failed(server, "--order", "prof-default", "--name", "b.corp.example")
        self.assertIn("rejectedIdentifier", words)
        self.assertEqual(server.rows("SELECT status FROM acme_accounts"), [("deactivated",)])

    def test_order_in_challenge_mode(self) -> None:
        """Where challenges are to be answered, the order is given up."""
        server = self.served(CERTCTL_ACME_SERVER_DEFAULT_AUTH_MODE="challenge")
        self.assertIn("given up", self.on_host(server, "doctor", "--order", "prof-default"))
        self.assertEqual(server.rows("SELECT DISTINCT status FROM acme_authorizations"), [("deactivated",)])

    def test_reach(self) -> None:
        """It says by which rule an address is not dialled, and what answers if it is allowed."""
        server = self.served()
        self.assertIn("127.0.0.0/8, loopback", self.failed(server, "--reach", HOST))
        allowed = {
            "CERTCTL_ACME_SERVER_EGRESS_ALLOW": "127.0.0.0/8",
            "CERTCTL_ACME_SERVER_HTTP01_PORT": str(server.port),
            "CERTCTL_ACME_SERVER_TLSALPN01_PORT": str(free_port()),
        }
        found = self.found(server, "--reach", HOST, status=1, **allowed)
        reached = {
            each["message"].partition(" ")[0]: each["level"] for each in found if each["check"] == "reach"
        }
        self.assertEqual(reached, {"http-01": "ok", "tls-alpn-01": "fail"})

    def test_from_afar(self) -> None:
        """From elsewhere it looks at what can be seen from there."""
        server = self.served()
        said = self.from_afar(server, "doctor")
        self.assertIn("ok   clock: the server's agrees", said)
        self.assertNotIn("state directory", said)


class BrokenTests(DoctorCase):
    def test_never_started(self) -> None:
        """Where no server ever was, that is said once, and not of each file that is lacking."""
        empty = self.path()
        found = self.failed(self.served(), CERTCTL_STATE_DIR=str(empty))
        self.assertEqual(
            found, f"state directory: nothing is in {empty} yet: no server was started with these settings"
        )

    def test_root_elsewhere(self) -> None:
        """Between request and certificate of the CA it says what is waited for."""
        server = self.served()
        state = str(self.path())
        self.on_host(server, "ca", "request", "--output", "request.pem", CERTCTL_STATE_DIR=state)
        found = self.found(server, status=1, CERTCTL_STATE_DIR=state)
        (ca,) = [each for each in found if each["check"] == "CA"]
        self.assertIn("the CA's key waits for its certificate", ca["message"])
        self.assertIn("certctl ca install", ca["remedy"])

    def test_files_of_another_user(self) -> None:
        """Each file that the server must write is looked at, those that are no secrets too."""
        if os.getuid() != 0:
            raise SkipTest("only root can give files away")
        server = self.served()
        server.stop()
        os.chown(server.state, 65534, 65534)
        self.assertIn("certctl.sqlite.lock", self.failed(server))

    def test_open_key(self) -> None:
        """The CA's key is open to everybody."""
        server = self.served()
        (server.state / "issuing-ca-key.pem").chmod(0o644)
        words = self.failed(server)
        self.assertIn("issuing-ca-key.pem is open to other users", words)
        found = self.found(server, status=1)
        self.assertIn("chmod 600", "".join(each["remedy"] for each in found))

    def test_expired_authority(self) -> None:
        """The issuing CA's certificate has expired."""
        server = self.served()
        paths = hierarchy.Files.under(server.state)
        then = datetime(2015, 1, 1, tzinfo=UTC)
        root_key, key = files.read_key(paths.root_key), files.read_key(paths.issuing_key)
        root = hierarchy.root_certificate(root_key, "certctl root CA", then)
        old = hierarchy.issuing_certificate(key, "certctl issuing CA", root_key, root, then)
        paths.issuing.write_bytes(old.public_bytes(Encoding.PEM))
        words = self.failed(server)
        self.assertIn("CA: CN=certctl issuing CA expired on 2019-12-31", words)
        self.assertIn("database: it records another CA than this server's", words)

    def test_key_of_another(self) -> None:
        """The issuing CA's key is not that of its certificate."""
        server = self.served()
        paths = hierarchy.Files.under(server.state)
        paths.issuing_key.write_bytes(paths.root_key.read_bytes())
        self.assertIn("is not the key of", self.failed(server))

    def test_foreign_database(self) -> None:
        """The file is another program's."""
        server = self.served()
        server.stop()
        other = server.directory / "other.sqlite"
        with closing(sqlite3.connect(other)) as connection:
            connection.execute("CREATE TABLE notes (text)")
        words = self.failed(server, CERTCTL_DATABASE_URL=f"sqlite:///{other}")
        self.assertIn("database: it is not certctl's", words)
        self.assertIn("server: No server answers", words)

    def test_database_away(self) -> None:
        """PostgreSQL does not answer."""
        server = self.served()
        server.stop()
        words = self.failed(server, CERTCTL_DATABASE_URL=f"postgresql://certctl@{HOST}:{free_port()}/certctl")
        self.assertIn("database: it cannot be read", words)
        self.assertIn("refused", words)

    def test_postgres(self) -> None:
        """On PostgreSQL the clock is held against the database's; a database of another certctl is seen."""
        database = postgres.shared().database(f"doctor_{os.getpid()}", postgres.TEMPLATE)
        server = self.served(CERTCTL_DATABASE_URL=database)
        self.assertIn("clock: it agrees with the database's", self.on_host(server, "doctor"))
        said = self.on_host(server, "backup", server.directory / "b.tar.gz")
        self.assertIn("pg_dump --format=custom", said)
        (server.state / "secret-key").write_text("00" * 32 + "\n")
        self.assertIn("is not the secret that sealed its keys", self.failed(server))

    def test_another_name(self) -> None:
        """Clients know the server by a name that its certificate does not have."""
        leaf = signed("server", root := signed("corporate root"), names=("old.corp.example",))
        folder = self.path()
        (folder / "cert.pem").write_bytes(pem(leaf, root))
        (folder / "key.pem").write_bytes(private_pem(leaf[1]))
        (folder / "key.pem").chmod(0o600)
        server = RunningServer(
            self.path(),
            {
                "CERTCTL_SERVER_EXTERNAL_URL": "https://new.corp.example:8443",
                "CERTCTL_SERVER_TLS_CERT_PATH": str(folder / "cert.pem"),
                "CERTCTL_SERVER_TLS_KEY_PATH": str(folder / "key.pem"),
                "CERTCTL_ACME_SERVER_DNS01_RESOLVER": f"{HOST}:9",
            },
        )
        self.addCleanup(server.end)
        server.launch()
        server.wait_logged("is ready", within=30)
        words = self.failed(server)
        self.assertIn("TLS: clients know the server as new.corp.example", words)

    def test_another_authority(self) -> None:
        """On the port is a server with a certificate of another CA."""
        server, other = self.served(), self.served()
        words = self.failed(server, CERTCTL_SERVER_PORT=str(other.port))
        self.assertIn("server: The certificate of", words)
        self.assertIn("is not trusted", words)

    def test_wrong_settings(self) -> None:
        """Settings with which no server would start."""
        server = self.served()
        self.assertIn("settings: CERTCTL_SERVER_PORT", self.failed(server, CERTCTL_SERVER_PORT="many"))
