"""The sweeper, over what requests have left behind."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from certctl.authority import sweeper
from tests.unit.web.bench import BenchCase


class SweeperTests(BenchCase):
    def setUp(self) -> None:
        self.bench = self.served(acme_server_order_ttl="1h", acme_server_authz_ttl="2h")
        self.client = self.bench.account()

    def statuses(self, table: str) -> list[str]:
        """Return the states in a table."""
        return [row[0] for row in self.bench.rows(f"SELECT status FROM {table} ORDER BY id")]

    def test_nothing_to_do(self) -> None:
        """What has time left is left alone."""
        self.client.order("a.example")
        self.bench.pass_by(minutes=30)
        self.bench.sweep()
        self.assertEqual(self.statuses("acme_orders"), ["ready"])
        self.assertEqual(self.statuses("acme_authorizations"), ["valid"])

    def test_each_at_its_time(self) -> None:
        """Orders and authorizations are moved when their own time is over, and counted."""
        self.client.order("a.example", "b.example")
        self.bench.pass_by(hours=1, seconds=1)
        self.bench.sweep()
        self.assertEqual(self.statuses("acme_orders"), ["invalid"])
        self.assertEqual(self.statuses("acme_authorizations"), ["valid", "valid"])
        error = self.bench.value("SELECT error FROM acme_orders")
        self.assertIn("expired", error["detail"])
        self.bench.pass_by(hours=1)
        self.assertGreaterEqual(self.bench.sweep(), 2)
        self.assertEqual(self.statuses("acme_authorizations"), ["expired", "expired"])
        self.assertEqual(self.bench.sweep(), 0)

    def test_more_than_a_batch(self) -> None:
        """What is more than a batch is swept batch by batch, and all of it."""
        self.patch(sweeper, "BATCH", 3)
        for _ in range(10):
            self.client.order("a.example")
        self.bench.pass_by(hours=3)
        self.assertGreaterEqual(self.bench.sweep(), 20)
        self.assertEqual(set(self.statuses("acme_orders")), {"invalid"})
        self.assertEqual(set(self.statuses("acme_authorizations")), {"expired"})

    def test_two_sweepers(self) -> None:
        """Two that sweep at once move each row once."""
        for _ in range(5):
            self.client.order("a.example")
        self.bench.pass_by(hours=3)
        for _ in range(2):
            self.successResultOf(Deferred.fromCoroutine(self.bench.parts.sweeper.sweep()))
        actions = "SELECT count(*) FROM audit_events WHERE action = 'acme_order_expired'"
        self.assertEqual(self.bench.value(actions), 5)

    def test_retention(self) -> None:
        """Settings say how long orders and certificates are kept; then they are gone for their client as well."""
        bench = self.bench = self.served(
            acme_server_order_ttl="1h",
            acme_server_authz_ttl="2h",
            acme_server_order_retention="48h",
            acme_server_certificate_retention="240h",
        )
        client = bench.account()
        nothing, issued = client.order("a.example"), client.issue("b.example")
        bench.pass_by(hours=3)
        bench.sweep()
        bench.pass_by(hours=47)
        bench.sweep()
        self.assertEqual(client.read(nothing.location).status, 200)
        bench.pass_by(hours=3)
        bench.sweep()
        self.assertProblem(client.read(nothing.location), "malformed", 404)
        self.assertEqual(client.read(issued.url).status, 200)
        bench.pass_by(days=97)
        bench.sweep()
        self.assertEqual(client.read(issued.order.location).status, 200)
        bench.pass_by(days=2)
        bench.sweep()
        self.assertProblem(client.read(issued.url), "malformed", 404)
        self.assertEqual(self.statuses("acme_orders") + self.statuses("acme_authorizations"), [])
        self.assertEqual(client.issue("b.example").order.status, 201)

    def test_another_leads(self) -> None:
        """A server that does not lead sweeps nothing, and knows the nonces' keys of the coming days all the same."""
        self.client.order("a.example")
        self.bench.pass_by(hours=2)

        async def led_by_another() -> bool:
            return False

        lead = self.bench.database.lead
        self.patch(self.bench.database, "lead", led_by_another)
        self.assertIsNone(self.bench.result(self.bench.parts.sweeper.take_turn()))
        self.assertEqual(self.statuses("acme_orders"), ["ready"])
        self.assertEqual(len(self.bench.database.nonce_keys), 2)
        self.patch(self.bench.database, "lead", lead)
        self.assertIsNotNone(self.bench.result(self.bench.parts.sweeper.take_turn()))
        self.assertEqual(self.statuses("acme_orders"), ["invalid"])

    def test_finalized_orders_stay(self) -> None:
        """What has its certificate is never swept."""
        self.client.issue("a.example")
        self.bench.pass_by(days=400)
        self.bench.sweep()
        self.assertEqual(self.statuses("acme_orders"), ["valid"])
