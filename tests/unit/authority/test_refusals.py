"""Refusals that matter leave a trail, and nobody fills the disk by being refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from certctl.authority import refusals
from certctl.authority.refusals import PERIOD, Seldom
from tests.acme_client import Signer
from tests.unit.web.bench import BenchCase

NOW = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class SeldomTests(SynchronousTestCase):
    def test_once_in_a_period(self) -> None:
        """The first passes; the next that passes is told how many did not."""
        seldom = Seldom()
        self.assertEqual(seldom.admit("a", NOW), 0)
        self.assertEqual([seldom.admit("a", NOW + n * SECOND) for n in range(3)], [None] * 3)
        self.assertEqual(seldom.admit("b", NOW), 0)
        self.assertEqual(seldom.admit("a", NOW + PERIOD), 3)
        self.assertEqual(seldom.admit("a", NOW + 2 * PERIOD), 0)

    def test_all_together(self) -> None:
        """There is a bound for all, in rows and in memory, and it ends."""
        self.patch(refusals, "MOST", 3)
        seldom = Seldom()
        self.assertEqual([seldom.admit(n, NOW) for n in range(5)], [0, 0, 0, None, None])
        self.assertEqual([seldom.admit(n, NOW + PERIOD) for n in range(5, 10)], [0, 0, 0, None, None])
        self.assertEqual(len(seldom._recorded), 3)


class RecordedTests(BenchCase):
    def recorded(self, action: str) -> list[tuple[Any, ...]]:
        """The rows of an action."""
        return self.bench.rows(
            "SELECT actor, resource_type, resource_id, details FROM audit_events WHERE action = ? ORDER BY id",
            action,
        )

    def test_rate_limits(self) -> None:
        """An account that goes on after its limit leaves one row in a minute, with a count of the others."""
        self.bench = self.served(acme_server_rate_limit_orders_per_hour="1")
        client = self.bench.account()
        client.order("a.example")
        for _ in range(5):
            self.assertEqual(client.try_order("a.example").status, 429)
        self.bench.pass_by(minutes=1)
        self.assertEqual(client.try_order("a.example").status, 429)
        first, second = self.recorded("acme_rate_limited")
        self.assertEqual(first[:3], (f"acme:{client.id}", "acme_account", client.id))
        said = {"profile": "prof-default", "limit": 1, "of": "orders of an account in an hour"}
        self.assertEqual((first[3], second[3]), (said, {**said, "unrecorded": 4}))

    def test_revocation(self) -> None:
        """Who tries to revoke what is another's is recorded, with an account or with a key that is nobody's."""
        issued = self.bench.account().issue("a.example")
        other = self.bench.account()
        self.assertEqual(other.revoke(issued.der).status, 403)
        self.assertEqual(self.bench.client(signer=Signer.generate("ES256")).revoke(issued.der).status, 403)
        rows = self.recorded("certificate_revocation_refused")
        self.assertEqual([row[0] for row in rows], [f"acme:{other.id}", "acme-stranger:prof-default"])
        self.assertEqual({row[2] for row in rows}, {issued.url.rpartition("/")[2]})
        self.assertIn("another account's", rows[0][3]["why"])
        self.assertEqual(
            self.bench.value("SELECT count(*) FROM certificate_versions WHERE revoked_at IS NULL"), 1
        )

    def test_trail_full(self) -> None:
        """Where the refusal cannot be recorded it is a refusal all the same."""
        issued, other = self.bench.account().issue("a.example"), self.bench.account()
        self.bench.execute(
            "CREATE TRIGGER full BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'no audit'); END"
        )
        self.assertProblem(other.revoke(issued.der), "unauthorized", 403)
