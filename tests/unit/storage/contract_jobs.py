"""What issuance jobs are in every engine."""

from __future__ import annotations

import attrs

from certctl.acme.objects import Status
from certctl.storage import authorizations, jobs, orders
from certctl.storage.jobs import Job
from tests.unit.storage.contract import HOUR, NOW, PROFILE, DatabaseCase
from tests.unit.storage.contract_orders import ERROR, authorization, order

JOB = Job(
    order_id="acme-ord-1",
    certificate_id="cv-1",
    issuer_id=PROFILE.issuer_id,
    template={"names": [{"type": "dns", "value": "1.example"}], "common_name": None},
    due_at=NOW,
    deadline=NOW + 2 * HOUR,
    created_at=NOW,
)
TAKEN = attrs.evolve(JOB, attempts=1, due_at=NOW + HOUR)


class JobContract(DatabaseCase):
    def setUp(self) -> None:
        super().setUp()
        held = authorization(status=Status.VALID)
        self.write(*authorizations.insert(held), *orders.insert(order(held, status=Status.READY)))
        self.write(orders.make_processing("acme-ord-1", JOB.deadline, NOW), jobs.insert(JOB))

    def order_state(self) -> tuple[object, ...]:
        """What became of the order."""
        found = self.read(orders.by_id("acme-ord-1"))
        assert found is not None
        return found.status.value, found.expires_at, found.certificate_id, found.error

    def test_round_trip(self) -> None:
        """A job is found as it was written; its order is processing, and lives as long at least."""
        self.assertEqual(self.read(jobs.of_order("acme-ord-1")), JOB)
        self.assertIsNone(self.read(jobs.of_order("acme-ord-2")))
        self.assertEqual(self.order_state(), ("processing", JOB.deadline, None, None))

    def test_oldest(self) -> None:
        """What waits longest is seen, due or not."""
        self.assertEqual(self.read(jobs.oldest(5)), [JOB])
        self.write(jobs.take(JOB, NOW + HOUR, NOW))
        self.assertEqual(self.read(jobs.oldest(5)), [TAKEN])
        self.assertEqual(self.read(jobs.oldest(0)), [])

    def test_ready_once(self) -> None:
        """An order that is not ready any more does not begin again; one that lives longer keeps its end."""
        self.conflict(orders.make_processing("acme-ord-1", JOB.deadline, NOW))
        held = authorization(2, status=Status.VALID)
        late = order(held, id="acme-ord-2", status=Status.READY, expires_at=NOW + 9 * HOUR)
        self.write(*authorizations.insert(held), *orders.insert(late))
        self.conflict(orders.make_processing("acme-ord-2", JOB.deadline, NOW + 10 * HOUR))
        self.write(orders.make_processing("acme-ord-2", JOB.deadline, NOW))
        found = self.read(orders.by_id("acme-ord-2"))
        assert found is not None
        self.assertEqual(found.expires_at, NOW + 9 * HOUR)

    def test_taken_once(self) -> None:
        """A job is taken by one of two who saw it due, and is due again when its time is over."""
        self.assertEqual(self.read(jobs.due(NOW, 5)), [JOB])
        self.write(jobs.take(JOB, NOW + HOUR, NOW))
        self.conflict(jobs.take(JOB, NOW + HOUR, NOW))
        self.assertEqual(self.read(jobs.due(NOW, 5)), [])
        self.conflict(jobs.take(TAKEN, NOW + 2 * HOUR, NOW))
        self.assertEqual(self.read(jobs.due(NOW + HOUR, 5)), [TAKEN])
        self.write(jobs.take(TAKEN, NOW + 2 * HOUR, NOW + HOUR))

    def test_put_off(self) -> None:
        """Who lost a job to somebody else does not decide any more when it is due, or that it ends."""
        self.write(jobs.take(JOB, NOW + HOUR, NOW))
        self.write(jobs.put_off(TAKEN, NOW, "away"))
        self.assertEqual(self.read(jobs.due(NOW, 5)), [attrs.evolve(TAKEN, due_at=NOW, last_error="away")])
        self.conflict(jobs.put_off(JOB, NOW, "late"))
        self.conflict(jobs.drop(JOB))
        self.write(jobs.drop(TAKEN))
        self.conflict(jobs.end(TAKEN))

    def test_made_due(self) -> None:
        """Who is alone takes up everything at once."""
        self.write(jobs.take(JOB, NOW + HOUR, NOW), jobs.make_due(NOW))
        self.assertEqual([each.order_id for each in self.read(jobs.due(NOW, 5))], ["acme-ord-1"])

    def test_ends(self) -> None:
        """A processing order ends once: valid, or with an error."""
        self.write(orders.finish("acme-ord-1", "cv-1", NOW), jobs.end(JOB))
        self.assertEqual(self.order_state(), ("valid", JOB.deadline, "cv-1", None))
        self.conflict(orders.fail("acme-ord-1", ERROR, NOW))
        self.conflict(orders.finish("acme-ord-1", "cv-2", NOW))

    def test_fails(self) -> None:
        """The error is the order's."""
        self.write(orders.fail("acme-ord-1", ERROR, NOW))
        self.assertEqual(self.order_state(), ("invalid", JOB.deadline, None, ERROR))

    def test_no_sweep_under_a_job(self) -> None:
        """An order with a job is not swept away; without one, whoever removed it, it is."""
        late = NOW + 99 * HOUR
        self.assertEqual(self.read(orders.expired(late, 5)), [])
        self.conflict(orders.expire(["acme-ord-1"], ERROR, late))
        self.write(jobs.end(JOB))
        self.assertEqual(self.read(orders.expired(late, 5)), ["acme-ord-1"])
        self.write(orders.expire(["acme-ord-1"], ERROR, late))
