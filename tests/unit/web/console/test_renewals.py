from __future__ import annotations

from tests.unit.web.bench import DEFAULT
from tests.unit.web.console.cases import ConsoleCase, text


class MassRenewalTests(ConsoleCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account(contact=["mailto:ops@corp.example"])
        for name in ("a.corp.example", "b.corp.example"):
            self.client.issue(name)
        self.bench.pass_by(hours=1)

    def test_from_plan_to_end(self) -> None:
        """It is planned, looked at, started by its number, watched while a client comes, and ended by a number."""
        visitor = self.signed_in()
        plan = {
            "name": "key lost",
            "due_in": "24h",
            "profile_id": DEFAULT,
            "explanation": "The key was lost.",
        }
        foreseen = visitor.post("renewals", **plan)
        self.assertIn("2 certificates of 1 account would be renewed", text(foreseen.body.decode()))
        self.assertEqual(visitor.post("renewals", **plan, word="3").status, 400)
        self.assertEqual(self.ok("GET", "renewals")["total"], 0)
        started = visitor.post("renewals", **plan, word="2")
        self.assertEqual(started.status, 303)
        path = started.location.partition("?")[0]
        self.assertIn("0 of 2 done", self.words(visitor, path))
        self.assertIn("ops@corp.example", self.words(visitor, path))
        id = self.bench.value("SELECT max(id) FROM certificate_versions")
        self.assertIn("The key was lost.", self.words(visitor, f"certificates/{id}"))
        self.client.issue("a.corp.example")
        self.bench.pass_by(seconds=5)
        self.assertIn("1 of 2 done", self.words(visitor, path))
        asked = visitor.post(f"{path}/finish", revoke="waiting", reason="superseded")
        self.assertIn("1 certificate would be revoked", text(asked.body.decode()))
        self.assertEqual(self.ok("GET", "certificates?status=revoked")["data"], [])
        ended = visitor.post(f"{path}/finish", revoke="waiting", reason="superseded", word="1")
        self.assertEqual(ended.status, 303)
        self.assertEqual(len(self.ok("GET", "certificates?status=revoked")["data"]), 1)
        self.assertIn("finished", self.words(visitor, path))

    def test_cancel(self) -> None:
        """It is taken back, and what makes no sense is refused above the form."""
        visitor = self.signed_in()
        plan = {"name": "drill", "due_in": "24h", "profile_id": DEFAULT, "drill": "yes", "word": "2"}
        path = visitor.post("renewals", **plan).location.partition("?")[0]
        self.assertEqual(visitor.post(f"{path}/cancel").status, 303)
        self.assertIn("cancelled", self.words(visitor, path))
        for wrong, words in (({"due_in": "soon"}, "write a number and a unit"), ({"profile_id": ""}, "")):
            answer = visitor.post("renewals", **{**plan, **wrong})
            self.assertEqual(answer.status, 400)
            self.assertIn(words, text(answer.body.decode()))


class WindowTests(ConsoleCase):
    def test_window(self) -> None:
        """A certificate's page says when its client is told to renew."""
        self.bench.account().issue("a.corp.example")
        id = self.bench.value("SELECT id FROM certificate_versions")
        found = self.ok("GET", f"certificates/{id}/renewal")
        self.assertEqual(found["kind"], "usual")
        self.assertIn("To be renewed from", self.words(self.signed_in(), f"certificates/{id}"))
        self.bench = self.served(acme_server_ari_enabled="false")
        self.bench.account().issue("a.corp.example")
        id = self.bench.value("SELECT id FROM certificate_versions")
        self.assertIsNone(self.ok("GET", f"certificates/{id}/renewal")["window_start"])
