"""Renewal information (RFC 9773), as clients that know it act on it."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.integration.clients import EMAIL, P256, Certbot
from tests.integration.server import HOST, PROGRAMS, RunningServer, ServerTestCase, free_port, run
from tests.integration.solvers import running, wait_for

COUNT = "SELECT count(*) FROM certificate_versions"
NAME = "a.internal.example"
PAGE = "https://intranet.example/weak-keys"


class CertbotTests(ServerTestCase):
    def test_renews_when_told(self) -> None:
        """Certbot leaves alone what is young, and renews at once what was revoked."""
        server = self.serve()
        client = Certbot(server, self.path())
        issued = client.issue([NAME], P256)
        young = client.certbot("renew", "--no-random-sleep-on-renew")
        self.assertIn("not due", young.output)
        self.assertEqual(server.rows(COUNT), [(1,)])

        second = Certbot(server, self.path())
        issued = second.issue(["b.internal.example"], P256)
        second.revoke(issued)
        second.certbot("renew", "--no-random-sleep-on-renew")
        self.assertEqual(server.rows(COUNT), [(3,)])
        server.must_be_unhurt()


class MassRenewalTests(ServerTestCase):
    """An operator moves the windows of certificates that are hours old at most."""

    def certctl(self, server: RunningServer, *arguments: str) -> str:
        """Run the operator's command on the server's host."""
        command: list[str | Path] = [PROGRAMS / "certctl", "renewals", *arguments]
        return run(*command, env=server.settings, cwd=server.directory).must_succeed().output

    def start(self, server: RunningServer, due: str, *more: str) -> str:
        """Have all certificates renewed within so long; return the renewal's id."""
        chosen = ("--profile", "prof-default", "--name", "weak keys", "--due", due, "--url", PAGE, *more)
        said = self.certctl(server, "start", *chosen, "--yes", "--json")
        return str(json.loads(said[said.index("{") :])["id"])

    def shown(self, server: RunningServer, id: str) -> dict[str, object]:
        """How far it has come."""
        found: dict[str, object] = json.loads(self.certctl(server, "show", id, "--json"))
        return found

    def test_certbot(self) -> None:
        """Certbot renews a young certificate because its window moved; who does not come is revoked at the end."""
        server = self.serve()
        comes, stays = Certbot(server, self.path()), Certbot(server, self.path())
        comes.issue([NAME], P256)
        left = stays.issue(["b.internal.example"], P256)
        id = self.start(server, "2s")
        time.sleep(3)  # until all windows are over
        comes.certbot("renew", "--no-random-sleep-on-renew")
        found = self.shown(server, id)
        self.assertEqual((found["come"], found["waiting"], found["accounts_waiting"]), (1, 1, 1))
        self.assertIn(f"mailto:{EMAIL}", self.certctl(server, "waiting", id))
        self.certctl(server, "finish", id, "--revoke", "waiting", "--yes")
        self.assertEqual(
            server.rows("SELECT count(*) FROM certificate_versions WHERE revoked_at IS NOT NULL"), [(1,)]
        )
        self.assertEqual(self.shown(server, id)["revoked"], 1)
        self.assertTrue(left.certificate.exists())
        server.must_be_unhurt()

    def test_caddy(self) -> None:
        """Caddy, which runs on, asks again when Retry-After says so, and replaces a certificate that is seconds old."""
        server = self.serve({"CERTCTL_ACME_SERVER_ARI_POLL_INTERVAL": "10s"})
        home = self.path()
        log, config, folder = home / "caddy.log", home / "Caddyfile", home / "certificates"
        config.write_text(self.caddyfile(server, home))
        with running((str(PROGRAMS / "caddy"), "run", "--config", str(config)), home, log):
            wait_for("certificate", lambda: list(folder.glob(f"*/{NAME}/{NAME}.crt")), log)
            id = self.start(server, "5s")
            wait_for("renewal", lambda: server.rows(COUNT) == [(2,)], log)
        self.assertIn(PAGE, log.read_text())
        self.assertEqual(self.shown(server, id)["come"], 1)
        server.must_be_unhurt()

    def caddyfile(self, server: RunningServer, home: Path) -> str:
        """Caddy with its certificates looked after every second, and not every ten minutes."""
        return (
            "{\n"
            f"admin off\nstorage file_system {home}\nskip_install_trust\nauto_https disable_redirects\n"
            f"renew_interval 1s\ndefault_bind {HOST}\nhttp_port {free_port()}\nhttps_port {free_port()}\n"
            "log {\nlevel DEBUG\n}\n"
            "}\n"
            f"{NAME} {{\n"
            f"tls {{\nissuer acme {server.directory_url} {{\n"
            f"email {EMAIL}\ntrusted_roots {server.trust}\n}}\n}}\n"
            'respond "caddy is here"\n}\n'
        )
