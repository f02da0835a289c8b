"""Renewal information (RFC 9773), as a client that knows it acts on it."""

from __future__ import annotations

from tests.integration.clients import P256, Certbot
from tests.integration.server import ServerTestCase

COUNT = "SELECT count(*) FROM certificate_versions"


class CertbotTests(ServerTestCase):
    def test_renews_when_told(self) -> None:
        """Certbot leaves alone what is young, and renews at once what was revoked."""
        server = self.serve()
        client = Certbot(server, self.path())
        issued = client.issue(["a.internal.example"], P256)
        young = client.certbot("renew", "--no-random-sleep-on-renew")
        self.assertIn("not due", young.output)
        self.assertEqual(server.rows(COUNT), [(1,)])

        second = Certbot(server, self.path())
        issued = second.issue(["b.internal.example"], P256)
        second.revoke(issued)
        second.certbot("renew", "--no-random-sleep-on-renew")
        self.assertEqual(server.rows(COUNT), [(3,)])
        server.must_be_unhurt()
