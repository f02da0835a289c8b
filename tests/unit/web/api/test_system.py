"""The servers, the end of the trail's chain, an order's story, what is told of an issuer."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import certctl
from certctl.authority.audit_chain import Chain
from certctl.authority.witness import Witness
from tests.unit.web.api.cases import ApiCase
from tests.unit.web.bench import ISSUER


class SystemTests(ApiCase):
    def test_servers(self) -> None:
        """A server is there from its first sweep on, and until it stops or misses three."""
        self.assertEqual(self.ok("GET", "system")["servers"], [])
        presence = self.bench.parts.presence
        ends = self.bench.now + timedelta(days=90)
        presence.watch_certificate(lambda: ends)
        self.bench.result(presence.seen(swept=True))
        found = self.ok("GET", "system")
        (server,) = found["servers"]
        self.assertEqual((found["version"], found["database"]), (certctl.__version__, "SQLite"))
        self.assertEqual((server["id"], server["present"], server["answering"]), (presence.id, True, True))
        self.assertEqual(server["certificate_ends_at"][:10], f"{ends:%Y-%m-%d}")
        self.bench.pass_by(seconds=181)
        self.assertFalse(self.ok("GET", "system")["servers"][0]["present"])
        self.bench.result(presence.seen(swept=False))
        (server,) = self.ok("GET", "system")["servers"]
        self.assertTrue(server["present"])
        self.assertLess(server["swept_at"], server["seen_at"])
        self.bench.result(presence.gone())
        self.assertEqual(self.ok("GET", "system")["servers"], [])

    def test_forgotten(self) -> None:
        """A server that was killed is forgotten after two days."""
        self.bench.execute(
            "INSERT INTO servers VALUES ('srv-old', 'old', '0.1', ?, ?, NULL, NULL)",
            self.bench.now,
            self.bench.now,
        )
        presence = self.bench.parts.presence
        self.bench.result(presence.seen(swept=True))
        self.assertEqual(len(self.ok("GET", "system")["servers"]), 2)
        self.bench.pass_by(hours=49)
        self.bench.result(presence.seen(swept=True))
        self.assertEqual([each["id"] for each in self.ok("GET", "system")["servers"]], [presence.id])


class AuditStateTests(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        parts, interval = self.bench.parts, timedelta(seconds=10)
        witness = Witness.open(self.directory())
        self.chain = Chain(self.bench.database, parts.trail, witness, interval=interval, signing=interval)

    def directory(self) -> Path:
        """A directory of this test's own."""
        path = Path(self.mktemp())
        path.mkdir()
        return path

    def test_intact(self) -> None:
        """The state counts what is sealed and what is not, and has the last checkpoint."""
        empty = self.ok("GET", "audit/state")
        self.assertEqual((empty["batches"], empty["intact"], empty["checkpoint"]), (0, True, None))
        for number in range(3):
            self.ok("POST", "keys", {"name": f"k{number}", "role": "operator"}, status=201)
            self.bench.result(self.chain.beat())
            self.bench.pass_by(seconds=10)
        self.ok("POST", "keys", {"name": "late", "role": "operator"}, status=201)
        state = self.ok("GET", "audit/state")
        self.assertEqual((state["batches"], state["pending"], state["intact"]), (3, 1, True))
        self.assertGreaterEqual(state["checked_events"], 3)
        self.assertEqual(state["checkpoint"]["batch_id"], 3)

    def test_damaged(self) -> None:
        """An event that was changed, and a batch that was, are found."""
        self.ok("POST", "keys", {"name": "k", "role": "operator"}, status=201)
        self.bench.result(self.chain.beat())
        for table in ("audit_events", "audit_batches"):
            for (name,) in self.bench.rows(
                "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", table
            ):
                self.bench.execute(f"DROP TRIGGER {name}")
        self.bench.execute("UPDATE audit_events SET actor = 'nobody' WHERE id = 1")
        state = self.ok("GET", "audit/state")
        self.assertEqual((state["intact"], state["findings"]), (False, ["event 1 is not what it was"]))
        self.bench.execute("DELETE FROM audit_events WHERE id = 1")
        self.assertEqual(self.ok("GET", "audit/state")["findings"], ["event 1 is missing"])
        self.bench.execute("UPDATE audit_batches SET digests = ?", b"x")
        self.assertIn("damaged", self.ok("GET", "audit/state")["findings"][0])


class StoryTests(ApiCase):
    def test_story(self) -> None:
        """An order's story has all events about it, from the order to the revocation, and none of others."""
        client = self.bench.account()
        client.issue("other.corp.example")
        issued = client.issue("a.corp.example")
        client.revoke(issued.der)
        order_id = issued.order.location.rpartition("/")[2]
        events = self.ok("GET", f"orders/{order_id}/story")["data"]
        actions = [each["action"] for each in events]
        self.assertEqual(actions, ["acme_order_created", "acme_order_finalized", "certificate_revoked"])
        self.assertRefused(self.call("GET", "orders/absent/story"), 404, "not_found")


class IssuerStatusTests(ApiCase):
    def test_without_lists(self) -> None:
        """Where no CRL is made and no URL is set, that is said."""
        status = self.ok("GET", f"issuers/{ISSUER}/status")
        self.assertEqual((status["crl"], status["ocsp_url"], status["revocations"]), (None, None, 0))
        self.assertRefused(self.call("GET", "issuers/absent/status"), 404, "not_found")
