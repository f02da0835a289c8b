"""Whatever clients do, in whatever order and at whatever time: no state follows another that it may not."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme import lifecycle
from certctl.acme.objects import Order, Status
from certctl.acme.problems import Problem, ProblemType
from certctl.storage import authorizations, orders
from certctl.validation.attempt import Transient
from tests.acme_client import make_csr
from tests.unit.web.bench import Bench, Client

PENDING, READY, PROCESSING, VALID, INVALID = (
    Status.PENDING,
    Status.READY,
    Status.PROCESSING,
    Status.VALID,
    Status.INVALID,
)
NONE: frozenset[Status] = frozenset()
GONE = {Status.DEACTIVATED, Status.EXPIRED, Status.REVOKED}
# RFC 8555 section 7.1.6: what may follow in any number of steps; a state may follow itself.
ORDER = {
    PENDING: {READY, PROCESSING, VALID, INVALID},
    READY: {PROCESSING, VALID, INVALID},
    PROCESSING: {VALID, INVALID},
    VALID: NONE,
    INVALID: NONE,
}
AUTHORIZATION = {PENDING: {VALID, INVALID, *GONE}, VALID: GONE, INVALID: NONE, **dict.fromkeys(GONE, NONE)}
CHALLENGE = {PENDING: {PROCESSING, VALID, INVALID}, PROCESSING: {VALID, INVALID}, VALID: NONE, INVALID: NONE}

# What makes an order go on is drawn more often, or few would get anywhere.
WORDS = (
    *("order", "respond", "respond", "succeed", "succeed", "finalize"),
    *("fail", "fail a while", "deactivate", "pass", "sweep", "mode"),
)
OPERATIONS = st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 5)), min_size=12, max_size=30)


class Machine:
    """A client that does what it is told, and what can be seen of its objects."""

    def __init__(self, case: SynchronousTestCase) -> None:
        times = {"acme_server_order_ttl": "3h", "acme_server_authz_ttl": "2h"}
        self.bench = Bench(case, {"acme_server_default_auth_mode": "challenge", **times})
        self.client: Client = self.bench.account()
        self.orders: list[Any] = []
        self.seen: dict[str, Status] = {}
        self.do("order", 1)
        self.do("respond", 0)

    def do(self, operation: str, number: int) -> None:
        """Carry an operation out on one of the orders."""
        getattr(self, "_" + operation.replace(" ", "_"))(number)

    def _order(self, number: int) -> None:
        names = [f"{each}.example" for each in range(number % 2 + 1)]
        self.orders.append(self.client.order(*names))

    def _pick(self, number: int) -> Any:
        return self.orders[number % len(self.orders)] if self.orders else None

    def _respond(self, number: int) -> None:
        if order := self._pick(number):
            urls = order.json["authorizations"]
            challenges = self.client.see(urls[number % len(urls)])["challenges"]
            self.client.respond(challenges[number % len(challenges)])

    def _told(self, number: int) -> Any:
        told = self.bench.validators
        waiting = [each for each in (told.http01, told.dns01, told.tlsalpn01) if each.waiting]
        return waiting[number % len(waiting)] if waiting else None

    def _succeed(self, number: int) -> None:
        if told := self._told(number):
            told.succeed()

    def _fail(self, number: int) -> None:
        if told := self._told(number):
            told.fail(Problem(ProblemType.INCORRECT_RESPONSE, "another"))

    def _fail_a_while(self, number: int) -> None:
        if told := self._told(number):
            told.fail(Transient(ProblemType.CONNECTION, "refused"))

    def _deactivate(self, number: int) -> None:
        if order := self._pick(number):
            self.client.post(order.json["authorizations"][-1], {"status": "deactivated"})

    def _finalize(self, number: int) -> None:
        if order := self._pick(number):
            names = [each["value"] for each in order.json["identifiers"]]
            self.client.finalize(order, make_csr(names)[1])

    def _pass(self, number: int) -> None:
        self.bench.pass_by(minutes=(0.1, 1, 20, 59, 61, 130)[number])

    def _sweep(self, number: int) -> None:
        self.bench.sweep()

    def _mode(self, number: int) -> None:
        mode = "challenge" if number % 2 else "trust_authenticated"
        self.bench.execute("UPDATE certificate_profiles SET acme_auth_mode = ?", mode)

    def states(self) -> dict[str, Status]:
        """Return the state of every object, as a client would see it now."""
        bench, found = self.bench, dict[str, Status]()
        for (id,) in bench.rows("SELECT id FROM acme_orders"):
            order = bench.result(bench.database.read(orders.by_id(id)))
            assert isinstance(order, Order)
            found[id] = lifecycle.settled(order, bench.now).status
        for (id,) in bench.rows("SELECT id FROM acme_authorizations"):
            held = bench.result(bench.database.read(authorizations.by_id(id)))
            assert held is not None
            found[id] = lifecycle.settled_authorization(held, bench.now).status
            found |= {each.id: each.status for each in held.challenges}
        return found


class LifecycleTests(SynchronousTestCase):
    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(OPERATIONS)
    def test_no_state_that_may_not_follow(self, operations: list[tuple[str, int]]) -> None:
        """Section 7.1.6 holds for orders, authorizations and challenges, with the clock and the sweeper at work.

        Besides: an order that is ready or valid has authorizations that are or were valid, only a valid order has a
        certificate, and it has one.
        """
        machine = Machine(self)
        for operation, number in operations:
            machine.do(operation, number)
            states = machine.states()
            for id, status in states.items():
                before = machine.seen.get(id, status)
                table = ORDER if "-ord-" in id else AUTHORIZATION if "-authz-" in id else CHALLENGE
                allowed = {before, *table[before]}
                self.assertIn(status, allowed, f"{id}: {before} to {status} by {operation}")
            machine.seen = states
        self._check_certificates(machine.bench)

    def _check_certificates(self, bench: Bench) -> None:
        found = bench.rows(
            "SELECT o.status, o.certificate_id, v.id FROM acme_orders o"
            " LEFT JOIN certificate_versions v ON v.order_id = o.id"
        )
        for status, named, issued in found:
            self.assertEqual(named, issued)
            self.assertEqual(status == "valid", issued is not None)
        proofless = bench.value(
            "SELECT count(*) FROM acme_orders o JOIN acme_order_authorizations l ON l.order_id = o.id"
            " JOIN acme_authorizations a ON a.id = l.authorization_id"
            " WHERE o.status = 'valid' AND NOT EXISTS"
            " (SELECT 1 FROM acme_challenges c WHERE c.authorization_id = a.id AND c.status = 'valid')"
        )
        self.assertEqual(proofless, 0)
