from __future__ import annotations

import csv
import io

from tests.unit.web.api.cases import ApiCase


class AuditTests(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account(contact=["mailto:a@corp.example"])
        self.bench.pass_by(hours=1)
        self.order = self.client.order("a.example")

    def test_list(self) -> None:
        """Events come newest first, are filtered, and go on behind a cursor."""
        actor = f"acme:{self.client.id}"
        (newest, oldest) = self.ok("GET", f"audit?actor={actor}")["data"]
        self.assertEqual((newest["action"], oldest["action"]), ("acme_order_created", "acme_account_created"))
        self.assertEqual(newest["details"]["identifiers"], ["a.example"])
        for query, count in (
            (f"actor={actor}&action=acme_order_created", 1),
            (f"resource_id={self.client.id}&resource_type=acme_account", 1),
            (f"actor={actor}&since=2026-05-17T13:00:00Z", 1),
            (f"actor={actor}&until=2026-05-17T13:00:00Z", 1),
            ("since=2126-05-17T13:00:00Z", 0),
            ("until=0001-01-01T00:00:00Z&since=9999-12-31T00:00:00Z", 0),
            ("actor=%27--", 0),
        ):
            self.assertEqual(len(self.ok("GET", f"audit?{query}")["data"]), count, query)
        part = self.ok("GET", "audit?per_page=1")
        rest = self.ok("GET", f"audit?cursor={part['next_cursor']}")
        whole = self.ok("GET", "audit")["data"]
        self.assertEqual(part["data"] + rest["data"], whole)
        for query in ("cursor=x", "per_page=1001", "format=xml", "since=now"):
            self.assertRefused(self.call("GET", f"audit?{query}"), 400, "invalid_request")

    def test_csv(self) -> None:
        """As CSV it has a heading, the same events, and says where the next part begins."""
        response = self.call("GET", "audit?format=csv&per_page=2")
        self.assertEqual(response.one("Content-Type"), "text/csv; charset=utf-8")
        rows = list(csv.DictReader(io.StringIO(response.body.decode())))
        self.assertEqual([row["action"] for row in rows], ["acme_order_created", "acme_account_created"])
        rest = self.call("GET", f"audit?format=csv&cursor={response.one('Next-Cursor')}")
        self.assertFalse(rest.has("Next-Cursor"))
        self.assertIn("profile_created", rest.body.decode())

    def test_no_formula(self) -> None:
        """No cell of a spreadsheet begins a formula, whatever somebody called themselves."""
        for text in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"):
            self.bench.execute(
                "INSERT INTO audit_events (created_at, actor, action, resource_type, resource_id, details)"
                " VALUES (?, ?, 'x', 'y', 'z', '{}')",
                self.bench.now,
                text,
            )
        response = self.call("GET", "audit?format=csv")
        rows = list(csv.reader(io.StringIO(response.body.decode(), newline="")))
        cells = [cell for row in rows for cell in row]
        self.assertEqual([each for each in cells if each.startswith(("=", "+", "-", "@", "\t", "\r"))], [])
        self.assertIn("'=1+1", cells)


class StatisticsTests(ApiCase):
    def test_counts(self) -> None:
        """What was issued, renewed, revoked and refused is counted by the day it was."""
        client = self.bench.account()
        first = client.issue("a.example")
        self.bench.pass_by(days=1)
        client.issue("a.example")
        self.bench.pass_by(seconds=1)
        client.issue("b.example")
        self.ok("POST", f"certificates/{first.url.rpartition('/')[2]}/revoke", {})
        found = self.ok("GET", "statistics?since=2026-05-16T00:00:00Z")
        days = {each["date"]: (each["issued"], each["renewed"], each["revoked"]) for each in found["days"]}
        self.assertEqual(days, {"2026-05-16": (0, 0, 0), "2026-05-17": (1, 0, 0), "2026-05-18": (2, 1, 1)})
        self.assertEqual((found["issued"], found["renewed"], found["revoked"]), (3, 1, 1))
        self.assertEqual(found["top_accounts"], [{"account_id": client.id, "orders": 3}])
        self.assertEqual((found["expiring_total"], found["expiring"]), (0, []))
        soon = self.ok("GET", "statistics?expiring_within_days=3660")
        self.assertEqual(soon["expiring_total"], 2)
        self.assertEqual([each["names"][0]["value"] for each in soon["expiring"]], ["a.example", "b.example"])

    def test_days_that_are_over(self) -> None:
        """A day that is over is counted once; today, and what ended a moment ago, are counted anew."""
        client = self.bench.account()
        client.issue("a.example")
        self.bench.pass_by(hours=12)

        def counted() -> int:
            since = "2026-05-17T00:00:00Z"
            return int(self.ok("GET", f"statistics?since={since}&top=0")["days"][0]["issued"])

        forget = "UPDATE certificate_versions SET id = 'cv-' || id"
        self.assertEqual(counted(), 1)
        self.bench.execute(forget)
        self.assertEqual(counted(), 0)
        self.bench.execute("UPDATE certificate_versions SET id = substr(id, 4)")
        self.bench.pass_by(minutes=11)
        self.assertEqual(counted(), 1)
        self.bench.execute(forget)
        self.assertEqual(counted(), 1)

    def test_refusals(self) -> None:
        """What policy refused is counted, that which was not recorded singly too."""
        self.ok("PATCH", "profiles/prof-default", {"policy": {"names": {"allow": ["*.corp.example"]}}})
        client = self.bench.account()
        client.try_order("a.example")
        client.try_order("b.example")
        self.bench.pass_by(minutes=2)
        client.try_order("c.example")
        found = self.ok("GET", "statistics")
        self.assertEqual((found["refusals"], found["refused"]), ({"acme_order_refused": 3}, 3))

    def test_since(self) -> None:
        """The time lies behind, and not too far."""
        for since in ("2024-05-16T00:00:00Z", "2027-05-16T00:00:00Z", "0001-01-01T00:00:00Z"):
            self.assertRefused(self.call("GET", f"statistics?since={since}"), 400, "invalid_request", "since")
        self.assertLessEqual(len(self.ok("GET", "statistics?since=2025-06-01T00:00:00Z")["days"]), 367)


class CheckpointTests(ApiCase):
    def keep(self, batch: int, key: int) -> None:
        """Keep a checkpoint of nothing in particular."""
        now = self.bench.now
        self.bench.execute(
            "INSERT INTO audit_batches VALUES (?, ?, '[]', 0, ?, ?, ?) ON CONFLICT DO NOTHING",
            *(batch, now, b"", bytes(32), bytes(32)),
        )
        self.bench.execute(
            "INSERT INTO audit_checkpoints VALUES (?, ?, 7, ?, ?, ?)",
            *(batch, bytes(32), now, bytes([key]) * 32, b"\x01" * 64),
        )

    def test_list(self) -> None:
        """Checkpoints come oldest first, and no part lacks one of two keys."""
        self.assertEqual(self.ok("GET", "audit/checkpoints")["data"], [])
        for batch, key in ((1, 1), (2, 1), (2, 2), (3, 1)):
            self.keep(batch, key)
        seen, query = [], ""
        while True:
            part = self.ok("GET", f"audit/checkpoints?per_page=2{query}")
            seen += [(each["batch_id"], each["public_key"][:2]) for each in part["data"]]
            if part["next_cursor"] is None:
                break
            query = f"&cursor={part['next_cursor']}"
        self.assertEqual(seen, [(1, "01"), (2, "01"), (2, "02"), (3, "01")])
