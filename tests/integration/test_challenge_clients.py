"""ACME clients of others in challenge mode: each answers real challenges, by every type that it knows.

What a client received is judged by openssl; how the server came to give it is read in the database.
"""

from __future__ import annotations

import json

from tests.integration.challenge_bench import TRUSTED, ChallengeServer, ChallengeTestCase, names_said
from tests.integration.clients import Issued, Lego
from tests.integration.server import run
from tests.integration.solvers import (
    ApacheHttp,
    ApacheTls,
    CaddyHttp,
    CaddyTls,
    CertbotDns,
    CertbotStandalone,
    DehydratedDns,
    DehydratedHttp,
    LegoDns,
    LegoHttp,
    LegoTls,
    NewCaddyHttp,
    NewCaddyTls,
    Solving,
    UacmeDns,
    UacmeHttp,
    UacmeTls,
)

NAMES = ["one.example.test", "two.corp.internal"]
WILDCARD = ["*.example.test", "example.test"]
SOLVED = ["acme_challenge_processing", "acme_challenge_completed"]
HTTP, DNS, TLS = "http-01", "dns-01", "tls-alpn-01"


class SolverTestCase(ChallengeTestCase):
    """A test with a server in challenge mode, and what its clients need."""

    server: ChallengeServer

    def setUp(self) -> None:
        """Start a server and its resolver."""
        self.server = self.challenging()

    def solver(self, kind: type[Solving], web: bool = False) -> Solving:
        """A client with a home of its own."""
        client = kind(self.server, self.path())
        client.zone = self.resolver.folder
        if web:
            client.web = self.web(self.server).folder
        return client

    def solved(self, client: Solving, type: str, names: list[str]) -> Issued:
        """Get a certificate, and look at it and at how it came about."""
        issued = client.issue(names, "ec256")
        self.judge(issued, names)
        self.judge_proof(type, names)
        return issued

    def judge(self, issued: Issued, names: list[str]) -> None:
        """The chain leads to the root, and the leaf has the names and the key."""
        certificate = issued.certificate
        openssl(
            "verify", "-x509_strict", "-CAfile", self.server.root, "-untrusted", issued.chain, certificate
        )
        said = openssl("x509", "-in", certificate, "-noout", "-text")
        self.assertEqual(names_said(said), sorted(names))
        self.assertEqual(
            openssl("x509", "-in", certificate, "-noout", "-pubkey"),
            openssl("pkey", "-in", issued.key, "-pubout"),
        )

    def judge_proof(self, type: str, names: list[str]) -> None:
        """Every name has an authorization that this type of challenge proved, step by step in the audit trail."""
        rows = self.server.rows(
            "SELECT CASE WHEN a.wildcard THEN '*.' ELSE '' END || a.identifier_value, a.status, a.proved, c.type,"
            " c.validated_at IS NOT NULL, c.id FROM acme_authorizations a JOIN acme_challenges c"
            " ON c.authorization_id = a.id AND c.status = 'valid' ORDER BY 1"
        )
        self.assertEqual([row[:5] for row in rows], [(name, "valid", 1, type, 1) for name in sorted(names)])
        for row in rows:
            trail = self.server.rows(
                "SELECT action, details FROM audit_events WHERE resource_id = ? ORDER BY id", row[5]
            )
            self.assertEqual([action for action, _ in trail], SOLVED)
            self.assertEqual([json.loads(text).get("type") for _, text in trail], [type, type])
        self.assertEqual(self.server.rows("SELECT status FROM acme_orders"), [("valid",)])


class LegoTests(SolverTestCase):
    """lego."""

    def test_http01(self) -> None:
        """By a listener of its own, two names."""
        self.solved(self.solver(LegoHttp), HTTP, NAMES)

    def test_tlsalpn01(self) -> None:
        """By a listener of its own, two names."""
        self.solved(self.solver(LegoTls), TLS, NAMES)

    def test_dns01(self) -> None:
        """By a program that writes records; a wildcard and its base share the record's name."""
        self.solved(self.solver(LegoDns), DNS, WILDCARD)


class CertbotTests(SolverTestCase):
    """certbot."""

    def test_http01(self) -> None:
        """Standalone, two names."""
        self.solved(self.solver(CertbotStandalone), HTTP, NAMES)

    def test_address(self) -> None:
        """Standalone, an address beside a name (RFC 8738)."""
        self.solved(self.solver(CertbotStandalone), HTTP, ["127.0.0.1", *NAMES[:1]])

    def test_dns01(self) -> None:
        """By manual hooks; a wildcard and its base share the record's name."""
        self.solved(self.solver(CertbotDns), DNS, WILDCARD)


class DehydratedTests(SolverTestCase):
    """dehydrated."""

    def test_http01(self) -> None:
        """By files for another web server."""
        self.solved(self.solver(DehydratedHttp, web=True), HTTP, NAMES)

    def test_dns01(self) -> None:
        """By a hook; a wildcard and its base share the record's name."""
        self.solved(self.solver(DehydratedDns), DNS, WILDCARD)


class UacmeTests(SolverTestCase):
    """uacme."""

    def test_http01(self) -> None:
        """By a hook that writes files for another web server."""
        self.solved(self.solver(UacmeHttp, web=True), HTTP, NAMES)

    def test_dns01(self) -> None:
        """By a hook that writes records."""
        self.solved(self.solver(UacmeDns), DNS, WILDCARD)

    def test_tlsalpn01(self) -> None:
        """By its responder, ualpn."""
        self.solved(self.solver(UacmeTls), TLS, NAMES)

    def test_address_by_http01(self) -> None:
        """An address is dialled as it is (RFC 8738 section 5)."""
        self.solved(self.solver(UacmeHttp, web=True), HTTP, ["127.0.0.1"])

    def test_address_by_tlsalpn01(self) -> None:
        """The server names an address by its reverse name (RFC 8738 section 6)."""
        self.solved(self.solver(UacmeTls), TLS, ["127.0.0.1"])


class CaddyTests(SolverTestCase):
    """Caddy, which serves the certificate as soon as it has it."""

    def test_http01(self) -> None:
        """On its port for HTTP."""
        self.solved(self.solver(CaddyHttp), HTTP, NAMES[:1])

    def test_tlsalpn01(self) -> None:
        """On its port for HTTPS."""
        self.solved(self.solver(CaddyTls), TLS, NAMES[:1])

    def test_newer_by_http01(self) -> None:
        """That of today, on its port for HTTP."""
        self.solved(self.solver(NewCaddyHttp), HTTP, NAMES[:1])

    def test_newer_by_tlsalpn01(self) -> None:
        """That of today, on its port for HTTPS."""
        self.solved(self.solver(NewCaddyTls), TLS, NAMES[:1])


class ApacheTests(SolverTestCase):
    """Apache's mod_md, which serves the certificate from the next start on."""

    def test_http01(self) -> None:
        """On its port for HTTP, two names."""
        self.solved(self.solver(ApacheHttp), HTTP, NAMES)

    def test_tlsalpn01(self) -> None:
        """On its port for HTTPS, two names."""
        self.solved(self.solver(ApacheTls), TLS, NAMES)


class ModesTests(SolverTestCase):
    """One server, both modes."""

    def test_trusting_profile_beside(self) -> None:
        """A profile that trusts, added while the server runs, issues at once; no solver is asked."""
        self.server.add_profile(TRUSTED, "trust_authenticated")
        self.server.profile = TRUSTED
        self._trusted_issue(NAMES)
        self.server.profile = "prof-default"
        self.solver(LegoHttp).issue(NAMES, "ec256")
        modes = self.server.rows("SELECT profile_id, proved, count(*) FROM acme_authorizations GROUP BY 1, 2")
        self.assertEqual(sorted(modes), [("prof-default", 1, 2), (TRUSTED, 0, 2)])

    def test_flip(self) -> None:
        """The mode in the profile's row when an order is made is that order's; no restart in between."""
        self.server.set_mode("trust_authenticated")
        self._trusted_issue(NAMES[:1])
        self.server.set_mode("challenge")
        self.solver(LegoHttp).issue(NAMES[:1], "ec256")
        self.server.set_mode("trust_authenticated")
        self._trusted_issue(NAMES[1:])
        modes = self.server.rows("SELECT proved FROM acme_authorizations ORDER BY id")
        self.assertEqual(modes, [(0,), (1,), (0,)])
        said = self.server.rows(
            "SELECT details FROM audit_events WHERE action = 'acme_order_created' ORDER BY id"
        )
        self.assertEqual(
            [json.loads(text)["mode"] for (text,) in said],
            ["trust_authenticated", "challenge", "trust_authenticated"],
        )

    def _trusted_issue(self, names: list[str]) -> None:
        client = Lego(self.server, self.path())
        self.judge(client.issue(names, "EC P-256"), names)
        self.assertFalse(client.mark.exists(), "a challenge was answered")


def openssl(*arguments: object) -> str:
    """Run openssl; return what it said."""
    return run("openssl", *map(str, arguments)).must_succeed().output
