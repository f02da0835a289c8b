"""What a profile's policy says of challenges, changed by SQL while the server runs, and seen by a client."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.acme import Session, csr
from tests.integration.challenge_bench import (
    ChallengeServer,
    ChallengeTestCase,
    Pending,
    addresses,
    pending,
    until,
)

HELD = "held.example.test"


class PolicyTests(ChallengeTestCase):
    def setUp(self) -> None:
        """Start a server that knows its own URL and its name in CAA records, and an honest peer."""
        self.caa: dict[str, list[str]] = {}
        self.resolver = self.resolve(self.records)
        settings = {"CERTCTL_ACME_SERVER_CAA_IDENTITIES": "ca.example"}
        self.server = ChallengeServer(self.path(), self.resolver.address, settings)
        self.server.settings["CERTCTL_SERVER_EXTERNAL_URL"] = self.server.url
        self.addCleanup(self.server.end)
        self.server.start()
        self.session = Session(self.server)
        self.addCleanup(self.session.close)
        self.session.register()
        self.respond(self.server, self.session.signer.thumbprint)

    def records(self, name: str, kind: str) -> list[str] | None:
        """Addresses, and CAA records."""
        return self.caa.get(name, []) if kind == "CAA" else addresses(name, kind)

    def policy(self, **challenge: Any) -> None:
        """Give the profile these rules."""
        self.server.set_policy(json.dumps({"challenge": challenge}))

    def validated(self, name: str) -> tuple[Pending, dict[str, Any]]:
        """An order whose challenge was validated, and the challenge."""
        order = pending(self.session, name)
        self.session.post(order.challenge, {})

        def seen() -> dict[str, Any]:
            return dict(self.session.post(order.challenge, None).json)

        until("settled", lambda: seen()["status"] in ("valid", "invalid"))
        return order, seen()

    def forbidden(self, name: str, words: str) -> None:
        """A validation that CAA ends."""
        _, challenge = self.validated(name)
        self.assertEqual(challenge["status"], "invalid")
        self.assertTrue(challenge["error"]["type"].endswith(":caa"), challenge)
        self.assertIn(words, challenge["error"]["detail"])

    def test_caa(self) -> None:
        """Obeyed where the policy says so: no record, this CA, this account, this method; up the tree."""
        grant = f'0 issue "ca.example; accounturi={self.session.kid}; validationmethods=http-01"'
        self.caa = {
            "mine.example.test": [grant],
            "closed.example.test": ['0 issue ";"'],
            "another.example.test": ['0 issue "other.example"'],
            "method.example.test": ['0 issue "ca.example; validationmethods=dns-01"'],
            "account.example.test": [f'0 issue "ca.example; accounturi={self.session.kid}x"'],
            "corp.internal": ['0 issue "other.example"'],
        }
        self.assertEqual(self.validated("closed.example.test")[1]["status"], "valid")  # not asked yet
        self.policy(caa=True, reuse=False)
        self.assertEqual(self.validated("open.example.test")[1]["status"], "valid")
        self.assertEqual(self.validated("mine.example.test")[1]["status"], "valid")
        self.forbidden("closed.example.test", "CAA at closed.example.test forbids closed.example.test")
        self.forbidden("another.example.test", "forbids")
        self.forbidden("method.example.test", "forbids")
        self.forbidden("account.example.test", "forbids")
        self.forbidden("a.b.corp.internal", "CAA at corp.internal forbids a.b.corp.internal")

    def test_caa_in_trust_mode(self) -> None:
        """Asked before issuing; trust is no method that a record could list."""
        self.caa = {
            "closed.example.test": ['0 issue ";"'],
            "method.example.test": ['0 issue "ca.example; validationmethods=http-01"'],
            "open.example.test": ['0 issue "ca.example"'],
        }
        self.policy(caa=True)
        self.server.set_mode("trust_authenticated")
        for name in ("closed.example.test", "method.example.test"):
            made = self.session.order(name)
            refused = self.session.send(made.json["finalize"], {"csr": csr(name)})
            self.assertEqual((refused.error, refused.status), ("caa", 403))
            self.assertEqual(self.session.post(made.location, None).json["status"], "ready")
        self.assertIn(b"BEGIN CERTIFICATE", self.session.certificate("open.example.test"))

    def test_egress(self) -> None:
        """A profile may close what the server opens; the next validation knows."""
        self.assertEqual(self.validated("open.example.test")[1]["status"], "valid")
        self.policy(egress={"deny": ["127.0.0.0/8", "127.0.0.1/32"]})
        _, challenge = self.validated("closed.example.test")
        self.assertIn("127.0.0.1 is not dialled", challenge["error"]["detail"])
        self.assertIn("denied by the operator", challenge["error"]["detail"])

    def test_split_horizon(self) -> None:
        """A zone has resolvers of its own, and everything else the server's."""
        inner = self.resolve()
        self.policy(resolver_zones={"corp.internal": [inner.address]})
        for name in ("a.corp.internal", "b.example.test"):
            self.assertEqual(self.validated(name)[1]["status"], "valid")
        self.assertEqual({name for name, _ in inner.asked}, {"a.corp.internal"})
        self.assertEqual({name for name, _ in self.resolver.asked}, {"b.example.test"})

    def test_reuse(self) -> None:
        """A fresh authorization serves the next order too, unless the policy wants proof each time."""
        self.validated(HELD)
        self.assertEqual(self.session.order(HELD).json["status"], "ready")
        self.policy(reuse=False)
        self.assertEqual(self.session.order(HELD).json["status"], "pending")
