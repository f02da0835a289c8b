"""The failures of docs/acme-server.md, each provoked: what the page shows is what is said."""

from __future__ import annotations

import re

from tests.integration.acme import Session
from tests.integration.challenge_bench import ChallengeTestCase, pending, until
from tests.integration.clients import Certbot, Lego
from tests.integration.server import CHECKOUT

PAGE = CHECKOUT / "docs/acme-server.md"
POLICY = '{"names": {"allow": ["*.corp.example"]}}'


def promised(heading: str) -> list[str]:
    """The lines of the block below a heading."""
    _, _, section = PAGE.read_text(encoding="utf-8").partition(f"\n### {heading}\n")
    found = re.search(r"^```text\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1].splitlines()


class FailureTests(ChallengeTestCase):
    def setUp(self) -> None:
        """A server in challenge mode."""
        self.server = self.challenging()

    def says(self, heading: str, said: str) -> None:
        """What the page shows was said, line by line."""
        for line in promised(heading):
            self.assertIn(line, said)

    def failed(self, type: str, name: str) -> str:
        """What becomes of a challenge that nobody answers, as the client reads it."""
        session = Session(self.server)
        session.register()
        one = pending(session, name, type)
        session.post(one.challenge, {})
        until("failed", lambda: session.post(one.challenge, None).json["status"] == "invalid")
        return session.post(one.challenge, None).body.decode()

    def test_nonce(self) -> None:
        """A request that is sent twice."""
        session = Session(self.server)
        session.register()
        nonce = session.fresh_nonce()
        order = {"identifiers": [{"type": "dns", "value": "www.corp.example"}]}
        session.send("new-order", order, nonce=nonce)
        self.says("`badNonce`", session.send("new-order", order, nonce=nonce).body.decode())

    def test_unknown_authority(self) -> None:
        """Clients that were given another server's root."""
        other = self.serve()
        self.server.trust = other.root
        said = ""
        for kind in (Lego, Certbot):
            with self.assertRaises(AssertionError) as caught:
                kind(self.server, self.path()).issue(["www.corp.example"], "EC P-256")
            said += str(caught.exception)
        self.says("Unknown authority", said)

    def test_connection_refused(self) -> None:
        """Nobody listens where the name leads."""
        self.says("http-01: connection refused", self.failed("http-01", "www.example.test"))

    def test_nxdomain(self) -> None:
        """The record was not written."""
        self.says("dns-01: NXDOMAIN", self.failed("dns-01", "www.corp.example"))

    def test_resolver(self) -> None:
        """Nobody answers where the resolver is said to be."""
        self.server = self.challenging({"CERTCTL_ACME_SERVER_DNS01_RESOLVER": "127.0.0.1:9"})
        self.says("The resolver does not answer", self.failed("http-01", "www.example.test"))

    def test_account_elsewhere(self) -> None:
        """An account of a profile, used under another."""
        session = Session(self.server)
        session.register()
        assert session.kid is not None
        session.kid = session.kid.replace("/profile/prof-default/", "/profile/prof-trusted/")
        said = session.send("new-order", {"identifiers": [{"type": "dns", "value": "www.corp.example"}]})
        self.says("An account of another profile", said.body.decode())

    def test_rejected(self) -> None:
        """A name that the profile does not allow."""
        self.server.set_policy(POLICY)
        session = Session(self.server)
        session.register()
        order = {"identifiers": [{"type": "dns", "value": "www.elsewhere.example"}]}
        self.says("`rejectedIdentifier`", session.send("new-order", order).body.decode())
