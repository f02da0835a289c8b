"""The trail: one audit row for each change, in its transaction, and one log line."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from twisted.logger import LogEvent, globalLogPublisher

from certctl.acme.problems import Problem, ProblemType
from tests.acme_client import Signer, b64, make_csr
from tests.unit.web.bench import DEFAULT, BenchCase, Client

Row = tuple[str, str, str, str]


class TrailCase(BenchCase):
    """A server whose log is read along."""

    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()
        self.logged: list[LogEvent] = []
        observer: Any = self.logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self._seen = self.bench.value("SELECT max(id) FROM audit_events")

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return actor, action and resource of the rows that are new."""
        found = self.bench.rows(
            "SELECT actor, action, resource_type, resource_id, id FROM audit_events WHERE id > ? ORDER BY id",
            self._seen,
        )
        self._seen = found[-1][4] if found else self._seen
        return [(row[0], row[1], row[2], row[3]) for row in found]

    def lines(self) -> list[str]:
        """Return the state changes that were logged since the last look."""
        told = [str(event["log_format"]) for event in self.logged if "actor" in event]
        self.logged.clear()
        return told

    def recorded(self, *expected: Row) -> None:
        """Check that exactly these rows are new, and that each has its line in the log."""
        self.assertEqual(self.rows(), list(expected))
        self.assertEqual(self.lines(), [row[1] for row in expected])

    @property
    def actor(self) -> str:
        """How the trail names the client."""
        return f"acme:{self.client.id}"


def last(url: str) -> str:
    """Return the id at the end of a URL."""
    return url.rpartition("/")[2]


class ActionTests(TrailCase):
    def test_account(self) -> None:
        """Making an account, its contacts, its key and its end are one row each, by the account."""
        client = self.bench.client()
        client.register()
        actor = f"acme:{client.id}"
        self.recorded((actor, "acme_account_created", "acme_account", client.id))
        assert client.kid is not None
        client.post(client.kid, {"contact": ["mailto:a@example.org"]})
        self.recorded((actor, "acme_account_contact_updated", "acme_account", client.id))
        new = Signer.generate("ES256")
        url = client.url("key-change")
        payload = {"account": client.kid, "oldKey": client.signer.jwk}
        client.post("key-change", new.sign_value(new.header(url, None), payload))
        client.signer = new
        self.recorded((actor, "acme_account_key_rolled", "acme_account", client.id))
        client.post(client.kid, {"status": "deactivated"})
        self.recorded((actor, "acme_account_deactivated", "acme_account", client.id))

    def test_certificate(self) -> None:
        """An order, its certificate and its revocation are one row each."""
        order = self.client.order("www.example.org")
        self.recorded((self.actor, "acme_order_created", "acme_order", last(order.location)))
        holder = Signer.generate("ES256")
        assert isinstance(holder.key, ec.EllipticCurvePrivateKey)
        _, csr = make_csr(["www.example.org"], key=holder.key)
        done = self.client.finalize(order, csr)
        self.recorded((self.actor, "acme_order_finalized", "acme_order", last(order.location)))
        id = last(done.json["certificate"])
        der, serial = self.bench.rows("SELECT certificate, serial_number FROM certificate_versions")[0]
        self.bench.client(signer=holder).revoke(der, reason=1)
        self.recorded((f"acme-cert-key:{serial}", "certificate_revoked", "certificate", id))
        details = self.bench.value("SELECT details FROM audit_events ORDER BY id DESC LIMIT 1")
        self.assertEqual(details, {"profile": DEFAULT, "serial": serial, "reason": "keyCompromise"})

    def test_authorization(self) -> None:
        """Making an authorization ahead, and giving it up, are one row each."""
        made = self.client.post("new-authz", {"identifier": {"type": "dns", "value": "a.example"}})
        row = ("acme_authorization", last(made.location))
        self.recorded((self.actor, "acme_authorization_created", *row))
        self.client.post(made.location, {"status": "deactivated"})
        self.recorded((self.actor, "acme_authorization_deactivated", *row))

    def test_challenge(self) -> None:
        """A response and what came of it are one row each, by the account; the evidence is in the details."""
        self.bench.execute("UPDATE certificate_profiles SET acme_auth_mode = 'challenge'")
        for failure in (None, Problem(ProblemType.DNS, "NXDOMAIN")):
            order = self.client.order("www.example.org")
            self.rows(), self.lines()
            challenge = self.client.challenges(order.json["authorizations"][0])["http-01"]
            row = ("acme_challenge", last(challenge["url"]))
            self.client.respond(challenge)
            self.recorded((self.actor, "acme_challenge_processing", *row))
            self.client.respond(challenge)
            self.recorded()
            if failure is None:
                self.bench.validators.http01.succeed()
            else:
                self.bench.validators.http01.fail(failure)
            self.recorded((self.actor, "acme_challenge_completed", *row))
            details = self.bench.value("SELECT details FROM audit_events ORDER BY id DESC LIMIT 1")
            self.assertEqual(details["status"], "invalid" if failure else "valid")
            self.assertIn("error" if failure else "seen", details)
            self.bench.execute("DELETE FROM acme_order_authorizations")
            self.bench.execute("UPDATE acme_authorizations SET status = 'invalid'")

    def test_sweeper(self) -> None:
        """What the sweeper moves is recorded as the sweeper's."""
        order = self.client.order("www.example.org")
        self.bench.pass_by(hours=25)
        self.rows(), self.lines()
        self.bench.sweep()
        self.recorded(
            ("acme-system:gc", "acme_order_expired", "acme_order", last(order.location)),
            ("acme-system:gc", "acme_authorizations_expired", "acme_authorization", "1 together"),
        )
        self.bench.sweep()
        self.recorded()

    def test_start(self) -> None:
        """What the first start makes is recorded as the start's."""
        found = self.served().rows("SELECT actor, action, resource_id FROM audit_events ORDER BY id")
        self.assertEqual(
            found,
            [
                ("acme-system:start", "issuer_recorded", "iss-internal-ca"),
                ("acme-system:start", "profile_created", "prof-default"),
            ],
        )


class SilenceTests(TrailCase):
    def test_reading_and_refusals(self) -> None:
        """What changes nothing leaves no row: reading, finding an account, refusals, repetitions."""
        issued = self.client.issue("www.example.org")
        self.client.revoke(issued.der)
        self.rows(), self.lines()
        client = self.client
        assert client.kid is not None
        for url in (client.kid, f"{client.kid}/orders", issued.order.location, issued.url):
            client.read(url)
        client.register()
        client.register(onlyReturnExisting=True)
        client.post(client.kid, {})
        client.finalize(issued.order, issued.csr)
        client.revoke(issued.der)
        client.try_order()
        client.post("key-change", {})
        self.bench.client().register(contact=["tel:1"])
        client.post(issued.order.json["finalize"], {"csr": b64(b"x")})
        self.bench.get(client.url("directory"))
        self.recorded()


class TransactionTests(TrailCase):
    """When the audit row cannot be written, the change is not made, and nobody is told that it was."""

    def setUp(self) -> None:
        super().setUp()
        self.issued = self.client.issue("www.example.org")
        self.order = self.client.order("www.example.org")
        self.rows(), self.lines()
        self.bench.execute(
            "CREATE TRIGGER full BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'no audit'); END"
        )
        self.before = self._everything()

    def _everything(self) -> dict[str, Any]:
        tables = [row[0] for row in self.bench.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: sorted(self.bench.rows(f"SELECT * FROM {table}"), key=repr) for table in tables}

    def test_change_and_row_are_one(self) -> None:
        """Each change is in one transaction with its audit row."""
        client: Client = self.client
        assert client.kid is not None
        _, csr = make_csr(["www.example.org"])
        attempts: list[tuple[str, object]] = [
            (client.kid, {"contact": ["mailto:a@example.org"]}),
            (client.kid, {"status": "deactivated"}),
            ("new-order", {"identifiers": [{"type": "dns", "value": "a.example"}]}),
            ("new-authz", {"identifier": {"type": "dns", "value": "a.example"}}),
            (self.order.json["authorizations"][0], {"status": "deactivated"}),
            (self.order.json["finalize"], {"csr": b64(csr)}),
            ("revoke-cert", {"certificate": b64(self.issued.der)}),
        ]
        for url, payload in attempts:
            refused = client.post(url, payload)
            self.assertIn(refused.status, (500, 503), (url, refused.body))
            self.assertNotIn(b"audit", refused.body)
            self.assertEqual(self._everything(), self.before, url)
        self.assertProblem(self.bench.client().register(), "serverInternal", 500)
        self.assertEqual(self.lines(), [])
        self.flushLoggedErrors()


class SecretTests(TrailCase):
    def test_no_secrets(self) -> None:
        """Neither the log nor the audit has tokens, nonces, signatures or key authorizations."""
        self.bench.execute("UPDATE certificate_profiles SET acme_auth_mode = 'challenge'")
        nonce = self.client.nonce
        order = self.client.post(
            "new-order", {"identifiers": [{"type": "dns", "value": "a.example"}]}, nonce=nonce
        )
        challenge = self.client.challenges(order.json["authorizations"][0])["http-01"]
        self.client.respond(challenge)
        self.bench.validators.http01.succeed()
        told = json.dumps([repr(sorted(event.items(), key=str)) for event in self.logged])
        told += repr(self.bench.rows("SELECT details FROM audit_events"))
        for secret in (nonce, challenge["token"], order.nonce):
            self.assertNotIn(secret, told)
