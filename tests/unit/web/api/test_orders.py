from __future__ import annotations

from certctl.acme.problems import Problem, ProblemType
from tests.unit.web.api.cases import ApiCase


class OrderTests(ApiCase):
    def test_list(self) -> None:
        """Orders come newest first, are filtered, and go on behind a cursor."""
        client = self.bench.account()
        for name in ("a.example", "*.b.example", "192.0.2.1"):
            client.order(name)
            self.bench.pass_by(hours=1)
        first = self.ok("GET", "orders?per_page=2")
        self.assertEqual(
            [each["identifiers"][0]["value"] for each in first["data"]], ["192.0.2.1", "*.b.example"]
        )
        second = self.ok("GET", f"orders?per_page=2&cursor={first['next_cursor']}")
        self.assertEqual([each["identifiers"][0]["value"] for each in second["data"]], ["a.example"])
        self.assertIsNone(second["next_cursor"])
        for query, count in (
            ("identifier=*.b.example", 1),
            ("identifier=b.example", 0),
            ("identifier=A.Example.", 1),
            ("identifier=192.0.2.1", 1),
            ("status=ready", 3),
            ("status=invalid", 0),
            (f"account_id={client.id}&profile_id=prof-default", 3),
            ("account_id=acme-acc-none", 0),
            ("created_after=2026-05-17T13:00:00Z", 2),
            ("created_before=2026-05-17T15:00:00%2B02:00", 1),
        ):
            self.assertEqual(len(self.ok("GET", f"orders?{query}")["data"]), count, query)

    def test_refused(self) -> None:
        """What is no name, no time and no status is refused with the member's name."""
        for query, words in (
            ("identifier=%2A", "identifier"),
            ("status=good", "status"),
            ("created_after=yesterday", "created_after"),
            ("created_after=5", "created_after"),
            ("created_after=2026-05-17T13:00:00", "created_after"),
            ("created_after=0001-01-01T00:00:00%2B14:00", "range"),
            ("per_page=501", "per_page"),
            ("cursor=%27%20OR%201", "cursor"),
        ):
            self.assertRefused(self.call("GET", f"orders?{query}"), 400, "invalid_request", words)
        self.assertRefused(self.call("GET", "orders/acme-ord-x"), 404, "not_found")

    def test_one(self) -> None:
        """An order shows its authorizations and its certificate."""
        client = self.bench.account()
        issued = client.issue("a.example")
        shown = self.ok("GET", f"orders/{issued.order.location.rpartition('/')[2]}")
        self.assertEqual(shown["status"], "valid")
        self.assertEqual(shown["certificate_id"], issued.url.rpartition("/")[2])
        (authorization,) = shown["authorizations"]
        self.assertEqual(
            (authorization["identifier"]["value"], authorization["proved"]), ("a.example", False)
        )


class AuthorizationTests(ApiCase):
    def setUp(self) -> None:
        self.bench = self.served(acme_server_default_auth_mode="challenge")
        self.client = self.bench.account()

    def one(self, name: str) -> dict[str, object]:
        """Return the challenge of a name that was tried."""
        (listed,) = self.ok("GET", f"authorizations?identifier={name}")["data"]
        self.assertEqual(listed["challenges"], [])
        whole = self.ok("GET", f"authorizations/{listed['id']}")
        (tried,) = (each for each in whole["challenges"] if each["status"] in ("valid", "invalid"))
        return dict(tried)

    def test_evidence(self) -> None:
        """What was dialled and seen stands beside the challenge that it proved."""
        self.client.prove("a.example")
        tried = self.one("a.example")
        self.assertEqual(tried["evidence"], {"address": "192.0.2.7", "url": None, "seen": '"what was seen"'})
        self.assertNotIn("token", tried)

    def test_problem(self) -> None:
        """What failed is told by its problem document."""
        order = self.client.order("a.example")
        (url,) = order.json["authorizations"]
        self.client.respond(self.client.challenges(url)["dns-01"])
        self.bench.validators.dns01.fail(Problem(ProblemType.DNS, "no such name"))
        tried = self.one("a.example")
        self.assertEqual((tried["status"], tried["evidence"]), ("invalid", None))
        self.assertIn("no such name", str(tried["error"]))
        self.assertEqual(self.ok("GET", "statistics")["failures"], {"urn:ietf:params:acme:error:dns": 1})

    def test_list(self) -> None:
        """Authorizations are filtered."""
        self.client.order("a.example", "*.b.example")
        for query, count in (
            ("", 2),
            ("identifier=*.b.example", 1),
            ("status=pending&profile_id=prof-default", 2),
            (f"account_id={self.client.id}&status=valid", 0),
        ):
            self.assertEqual(len(self.ok("GET", f"authorizations?{query}")["data"]), count, query)
        self.assertRefused(self.call("GET", "authorizations/x"), 404, "not_found")
