"""``kill -9`` in the middle of validations: after a restart each of them comes to its end, and the orders with it."""

from __future__ import annotations

from collections import Counter

from tests.integration.acme import Session
from tests.integration.challenge_bench import ChallengeTestCase, Pending, pending, until

NUMBER = 120
WRONG = 6  # every sixth name is answered wrongly
LONG = 30.0  # seconds for an answer: none comes before the kill, as tries that had none are made again
USUAL = 1.0


class CrashTests(ChallengeTestCase):
    def setUp(self) -> None:
        """Start a server that validates all of them at once, and an account."""
        self.server = self.challenging({"CERTCTL_ACME_SERVER_HTTP01_CONCURRENCY": str(2 * NUMBER)})
        self.session = Session(self.server)
        self.addCleanup(self.session.close)
        self.session.register()
        self.responder = self.respond(self.server, self.session.signer.thumbprint, LONG)

    def counts(self, table: str) -> dict[str, int]:
        """How many rows of a table are in each status."""
        return dict(self.server.rows(f"SELECT status, count(*) FROM {table} GROUP BY 1"))

    def processing(self) -> int:
        """How many challenges are processing."""
        sql = "SELECT count(*) FROM acme_challenges WHERE status = 'processing'"
        return int(self.server.rows(sql)[0][0])

    def test_kill(self) -> None:
        """No challenge stays in processing; every authorization and order is settled as the answers say."""
        kinds = ["wrong" if number % WRONG == 0 else "right" for number in range(NUMBER)]
        orders = [pending(self.session, f"{kind}-{n}.example.test") for n, kind in enumerate(kinds)]
        for each in orders:
            self.session.post(each.challenge, {})
        interrupted = self.processing()
        self.session.close()
        self.server.kill()
        self.assertGreaterEqual(interrupted, 100)
        self.responder.delay = USUAL
        self.server.start()
        resumed = self.processing()
        until("all settled", lambda: self.processing() == 0)

        expected = Counter(kinds)
        for table in ("acme_authorizations", "acme_orders"):
            good = "valid" if table == "acme_authorizations" else "ready"
            self.assertEqual(self.counts(table), {good: expected["right"], "invalid": expected["wrong"]})
        self._judge_trail()
        self._finalize(orders)
        print(
            f"\n{NUMBER} validations: {interrupted} interrupted by kill -9, {resumed} resumed, 0 left in processing;"
            f" authorizations {expected['right']} valid, {expected['wrong']} invalid;"
            f" orders {expected['right']} finalized, {expected['wrong']} invalid"
        )

    def _judge_trail(self) -> None:
        """One beginning and one end for each challenge, crash or not."""
        rows = self.server.rows(
            "SELECT resource_id, action FROM audit_events WHERE resource_type = 'acme_challenge' ORDER BY id"
        )
        told: dict[str, list[str]] = {}
        for id, action in rows:
            told.setdefault(id, []).append(action)
        self.assertEqual(len(told), NUMBER)
        self.assertEqual(
            {tuple(actions) for actions in told.values()},
            {("acme_challenge_processing", "acme_challenge_completed")},
        )

    def _finalize(self, orders: list[Pending]) -> None:
        for each in orders:
            if each.name.startswith("right"):
                self.assertEqual(self.session.post(each.order, None).json["status"], "ready")
                self.assertEqual(self.session.finalize(each.finalize, each.name).json["status"], "valid")
            else:
                refused = self.session.send(each.finalize, {"csr": ""})
                self.assertEqual(refused.error, "orderNotReady")
