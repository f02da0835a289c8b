"""What ended long ago is deleted, on every engine: all of it, and nothing that something alive hangs on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import attrs
from twisted.internet.task import Clock

from certctl.acme import ids
from certctl.acme.identifiers import dns_name
from certctl.acme.objects import Authorization, Status
from certctl.authority import retention
from certctl.authority.retention import Retention
from certctl.authority.trail import Trail
from certctl.storage import authorizations, certificates, orders, revocations
from certctl.storage.database import Query, Statement
from tests.unit.storage.contract import NOW, PROFILE, DatabaseCase
from tests.unit.storage.contract_objects import CERTIFICATE
from tests.unit.storage.contract_orders import ERROR, authorization, order

DAY = timedelta(days=1)
OBJECTS = (
    "acme_orders",
    "acme_order_authorizations",
    "acme_authorizations",
    "acme_challenges",
    "certificate_versions",
    "managed_certificates",
    "managed_certificate_names",
)


class RetentionContract(DatabaseCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        self.retention = self.keeping(orders=90, certificates=365)
        self.made = 0

    def keeping(self, *, orders: float, certificates: float) -> Retention:
        """What deletes after so many days."""
        return Retention(
            self.database,
            Trail(self.database, self.clock),
            orders=orders * DAY,
            certificates=certificates * DAY,
        )

    def sweep(self, days: float = 0) -> int:
        """Let days pass, and sweep."""
        self.clock.advance(days * 86_400)
        return self.result(self.retention.sweep())

    def counts(self) -> list[int]:
        """How many rows there are of each of OBJECTS."""
        return [self.count(table) for table in OBJECTS]

    def authorized(self, at: datetime = NOW, status: Status = Status.INVALID) -> Authorization:
        """Store an authorization that nothing hangs on, with two challenges."""
        self.made += 1
        id = ids.new(ids.AUTHORIZATION, at)
        held = authorization(self.made, status=status, created_at=at)
        owned = tuple(attrs.evolve(each, authorization_id=id) for each in held.challenges)
        held = attrs.evolve(held, id=id, challenges=owned)
        self.write(*authorizations.insert(held))
        return held

    def ordered(self, *held: Authorization, at: datetime = NOW, status: Status = Status.INVALID) -> str:
        """Store an order, on an authorization of its own if none is given, and return its id."""
        made = order(
            *(held or (self.authorized(at),)), id=ids.new(ids.ORDER, at), created_at=at, status=status
        )
        self.write(*orders.insert(made))
        return made.id

    def issued(self, name: str = "a.example", *, at: datetime = NOW, life: timedelta = 90 * DAY) -> str:
        """Store a certificate with its order, and return its id."""
        id = ids.new(ids.CERTIFICATE, at)
        made = attrs.evolve(
            CERTIFICATE,
            id=id,
            order_id=self.ordered(at=at, status=Status.VALID),
            serial=f"{self.made:x}",
            names=(dns_name(name), dns_name(f"www.{name}")),
            not_after=at + life,
            created_at=at,
        )
        self.write(*certificates.insert(made))
        return id

    def test_invalid_orders(self) -> None:
        """Orders without a certificate go with their authorizations and challenges when their time is over."""
        for _ in range(3):
            self.ordered()
        self.assertEqual(self.sweep(89), 0)
        self.assertEqual(self.counts(), [3, 3, 3, 6, 0, 0, 0])
        self.assertEqual(self.sweep(2), 3)
        self.assertEqual(self.counts(), [0] * 7)

    def test_end_counts(self) -> None:
        """It is the end from which is counted, not the beginning."""
        held = self.authorized(status=Status.PENDING)
        late = self.ordered(held, status=Status.PENDING)
        self.write(orders.make_invalid(late, ERROR, NOW + 80 * DAY))
        self.assertEqual(self.sweep(100), 0)
        self.assertEqual(self.sweep(71), 1)

    def test_alive(self) -> None:
        """What is not over stays, however old, and so does the authorization that another order hangs on."""
        shared = self.authorized()
        self.ordered(shared)
        for status in (Status.PENDING, Status.READY, Status.PROCESSING, Status.VALID):
            self.ordered(shared, status=status)
        alone = [self.authorized(status=each) for each in (Status.PENDING, Status.VALID)]
        self.assertEqual(self.sweep(1000), 1)
        self.assertEqual(self.counts(), [4, 4, 3, 6, 0, 0, 0])
        self.assertEqual(self.read(authorizations.by_id(alone[0].id)), alone[0])

    def test_issuer_at_work(self) -> None:
        """An order that ended under the hands of its issuer stays until that is done, and then with its certificate."""
        late = self.ordered()
        self.write(
            Statement(
                "INSERT INTO issuance_jobs VALUES (?, 'cv-late', ?, '{}', 1, ?, ?, '', ?)",
                (late, PROFILE.issuer_id, NOW, NOW, NOW),
            )
        )
        self.assertEqual(self.sweep(200), 0)
        at = NOW + 200 * DAY
        made = attrs.evolve(CERTIFICATE, id="cv-late", order_id=late, not_after=at + DAY, created_at=at)
        self.write(Statement("DELETE FROM issuance_jobs", ()), *certificates.insert(made))
        self.assertEqual(self.sweep(), 0)
        self.assertEqual(self.sweep(400), 1)
        self.assertEqual(self.counts(), [0] * 7)

    def test_loose_authorizations(self) -> None:
        """Authorizations that no order was ever made for go as orders do."""
        for status in (Status.INVALID, Status.EXPIRED, Status.DEACTIVATED):
            self.authorized(status=status)
        self.assertEqual(self.sweep(89), 0)
        self.assertEqual(self.sweep(2), 3)
        self.assertEqual(self.counts(), [0] * 7)

    def test_certificates(self) -> None:
        """A certificate goes when its end is long ago, with its order and all that hung on that."""
        self.issued()
        self.issued("long.example", life=1000 * DAY)
        self.assertEqual(self.sweep(90 + 364), 0)
        self.assertEqual(self.sweep(2), 1)
        self.assertEqual(self.counts(), [1, 1, 1, 2, 1, 1, 2])

    def test_renewed(self) -> None:
        """Names stay for as long as there is a certificate for them."""
        self.issued()
        kept = self.issued(at=NOW + 60 * DAY)
        self.assertEqual(self.sweep(456), 1)
        self.assertEqual(self.rows("SELECT newest_version_id FROM managed_certificates"), [(kept,)])
        self.assertEqual(self.counts(), [1, 1, 1, 2, 1, 1, 2])
        self.assertEqual(self.sweep(60), 1)
        self.assertEqual(self.counts(), [0] * 7)

    def test_newest_revocation_stays(self) -> None:
        """The newest of an issuer's revocations stays: its number is that from which the next one is counted."""
        first, second = (self.issued(f"{number}.example") for number in range(2))
        for each in (first, second):
            self.write(certificates.revoke(each, 1, NOW))
        self.assertEqual(self.sweep(1000), 1)
        third = self.issued(at=NOW + 1000 * DAY)
        self.write(certificates.revoke(third, 1, NOW + 1000 * DAY))
        self.assertEqual(self.read(revocations.newest(PROFILE.issuer_id)), 3)
        self.assertEqual(self.sweep(), 1)
        self.assertEqual(self.rows("SELECT id, revocation_number FROM certificate_versions"), [(third, 3)])

    def test_audit(self) -> None:
        """What was deleted is an event of the sweeper for each batch, with ids and serials, in the same change."""
        gone = self.issued()
        self.ordered()
        self.sweep(1000)
        found = self.rows(
            "SELECT actor, action, resource_type, resource_id, details FROM audit_events ORDER BY id"
        )
        self.assertEqual([each[:2] for each in found], [("acme-system:gc", each[1]) for each in found])
        self.assertEqual(
            [each[1:4] for each in found],
            [
                ("acme_orders_deleted", "acme_order", "1 together"),
                ("certificates_deleted", "certificate", "1 together"),
            ],
        )
        self.assertEqual(found[1][4]["ids"], [gone])
        self.assertEqual(len(found[1][4]["serials"]), 1)

    def test_for_ever(self) -> None:
        """Zero keeps everything."""
        self.retention = self.keeping(orders=0, certificates=0)
        self.issued()
        self.ordered()
        self.authorized()
        self.assertEqual(self.sweep(10_000), 0)
        self.assertEqual(self.counts(), [2, 2, 3, 6, 1, 1, 2])

    def test_batches(self) -> None:
        """However much there is goes in the end, each batch in a change of its own, and each page is bounded."""
        self.patch(retention, "BATCH", 2)
        self.patch(retention, "PAGE", 3)
        self.patch(retention, "IDLE", 1)
        for number in range(7):
            at = NOW + number * timedelta(seconds=1)
            self.ordered(at=at)
            self.authorized(at)
            self.issued(f"{number}.example", at=at, life=(2000 if number < 4 else 1) * DAY)
        # Of the certificates the first page has nothing that is over, and the next sweep goes on behind it.
        self.assertEqual([self.sweep(1000), self.sweep(), self.sweep()], [7 + 7, 3, 0])
        self.assertEqual(self.counts()[0], 4)
        sizes = self.rows(
            "SELECT DISTINCT resource_id FROM audit_events WHERE action <> 'acme_authorizations_deleted'"
        )
        self.assertLessEqual({each for (each,) in sizes}, {"1 together", "2 together"})

    def test_all_that_refers(self) -> None:
        """Every table that refers to what is deleted is one of which rows are deleted as well, or keeps its orders."""
        referring = {table for table, target in self.references() if target in OBJECTS}
        self.assertEqual(referring - set(OBJECTS), {"issuance_jobs"})

    def references(self) -> list[Any]:
        """The schema's tables that refer to another, and which; differs with the engine."""
        return self.read(
            Query(
                'SELECT m.name, f."table" FROM sqlite_master m, pragma_foreign_key_list(m.name) f'
                " WHERE m.type = 'table'",
                (),
                list,
            )
        )
