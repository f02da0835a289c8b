"""Of all servers on a PostgreSQL one looks after it at a time, and another when that one is gone."""

from __future__ import annotations

import itertools
import shutil
import time
from contextlib import closing
from datetime import timedelta

import attrs
import psycopg2
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from certctl.acme import ids
from certctl.acme.identifiers import dns_name
from certctl.acme.objects import Certificate, Status
from certctl.authority.retention import Retention
from certctl.authority.trail import Trail
from certctl.storage import authorizations, certificates, orders
from certctl.storage.database import Unavailable
from certctl.storage.postgres import PostgresDatabase
from certctl.storage.postgres_leading import LEADING
from certctl.storage.postgres_sql import plain
from tests.integration.acme import Session
from tests.integration.postgres import shared
from tests.integration.server import RunningServer, ServerTestCase
from tests.integration.solvers import wait_for
from tests.integration.test_postgres_fleet import FleetCase
from tests.unit.storage.contract import NOW
from tests.unit.storage.contract_objects import CERTIFICATE
from tests.unit.storage.contract_orders import authorization, order

_numbers = itertools.count(1)
_HOLDERS = (
    "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE l.locktype = 'advisory'"
    f" AND l.granted AND d.datname = '{{}}' AND l.objid = {LEADING & 0xFFFFFFFF} AND l.classid = {LEADING >> 32}"
)


class LeadingTests(FleetCase):
    def lead(self, database: PostgresDatabase) -> bool:
        """Whether a process is told that it leads."""
        return self.loop.result(database.lead())

    def holders(self) -> list[int]:
        """The sessions that have the lock."""
        return [pid for (pid,) in self.server.sql(_HOLDERS.format(self.name))]

    def test_one_of_ten(self) -> None:
        """Of processes that ask at once one leads, and goes on to."""
        processes = [self.another() for _ in range(10)]
        answers = self.together(*(each.lead() for each in processes))
        self.assertEqual(answers.count(True), 1, answers)
        for _ in range(3):
            self.assertEqual(self.together(*(each.lead() for each in processes)), answers)
        self.assertEqual(len(self.holders()), 1)

    def test_session_that_died(self) -> None:
        """A process that loses its session leads no more if another was told meanwhile that it does."""
        one, other = self.another(), self.another()
        self.assertEqual([self.lead(each) for each in (one, other)], [True, False])
        self.server.sql(f"SELECT pg_terminate_backend({self.holders()[0]})")
        self.loop.turn(0.3)
        self.assertEqual([self.lead(each) for each in (other, one)], [True, False])

    def test_session_that_died_unnoticed(self) -> None:
        """A process whose session is over in the moment that it asks is told what is so on a new one."""
        one = self.another()
        self.assertTrue(self.lead(one))
        self.server.sql(f"SELECT pg_terminate_backend({self.holders()[0]})")
        time.sleep(0.3)  # the reactor does not turn meanwhile
        self.assertTrue(self.lead(one))
        self.assertEqual(len(self.holders()), 1)

    def test_host_that_vanishes(self) -> None:
        """The server itself asks, within seconds, whether a host that says nothing is still there."""
        self.url = self.server.tcp_url(self.name)
        one = self.another()
        self.assertTrue(self.lead(one))
        wire = one._leading._wire
        assert wire is not None
        for name, value in (("idle", "10"), ("interval", "5"), ("count", "3")):
            (found,) = self.loop.result(wire.query(f"SHOW tcp_keepalives_{name}")).fetchall()
            self.assertEqual(found, (value,))

    def test_end(self) -> None:
        """Who stops hands over at once."""
        one, other = self.another(), self.another()
        self.assertTrue(self.lead(one))
        self.close(one)
        self.loop.turn(0.3)
        self.assertTrue(self.lead(other))

    def test_no_connection(self) -> None:
        """Who cannot ask is not told that it leads."""
        one = self.another()
        self.server.sql(f"ALTER DATABASE {self.name} WITH ALLOW_CONNECTIONS false")
        self.assertRaises(Unavailable, self.lead, one)
        self.server.sql(f"ALTER DATABASE {self.name} WITH ALLOW_CONNECTIONS true")
        self.assertTrue(self.lead(one))

    def test_whatever_the_pool_does(self) -> None:
        """The lock needs none of the pool's connections, so that a pool of one is enough."""
        self.connections = 1
        one = self.another()
        self.assertTrue(self.lead(one))
        self.assertEqual(self.loop.result(one.read(self.sleep(0))), 1)


class RenewalTests(FleetCase):
    def certificate(self, number: int, age: timedelta) -> Certificate:
        """A certificate of one day, with its order stored, and not stored itself."""
        at = NOW - age
        held = authorization(number, status=Status.EXPIRED, created_at=at)
        made = order(held, id=ids.new(ids.ORDER, at), created_at=at, status=Status.VALID)
        self.write(*authorizations.insert(held), *orders.insert(made))
        return attrs.evolve(
            CERTIFICATE,
            id=ids.new(ids.CERTIFICATE, at),
            order_id=made.id,
            serial=f"{number:x}",
            names=(dns_name("a.example"),),
            not_after=at + timedelta(days=1),
            created_at=at,
        )

    def test_renewal_during_deletion(self) -> None:
        """Names whose last certificate is deleted while a new one is being stored stay, with the new one."""
        old, new = self.certificate(1, timedelta(days=500)), self.certificate(2, timedelta(0))
        self.write(*certificates.insert(old))
        clock = Clock()
        clock.advance(NOW.timestamp())
        kept = Retention(
            self.database, Trail(self.database, clock), orders=timedelta(0), certificates=timedelta(days=90)
        )
        with closing(psycopg2.connect(self.url)) as renewing, renewing.cursor() as cursor:
            for each in certificates.insert(new):
                cursor.execute(plain(each.sql), each.parameters)
            sweeping = Deferred.fromCoroutine(kept.sweep())
            self.loop.turn(0.3)
            self.assertFalse(sweeping.called)
            renewing.commit()
        self.assertEqual(self.loop.result(sweeping), 1)
        self.assertEqual(self.rows("SELECT id FROM certificate_versions"), [(new.id,)])
        self.assertEqual(self.rows("SELECT newest_version_id FROM managed_certificates"), [(new.id,)])
        self.assertEqual(self.count("managed_certificate_names"), 1)


class ServersTests(ServerTestCase):
    def test_handed_over(self) -> None:
        """When the server that sweeps is killed the other one sweeps; each order expires once."""
        postgres, name = shared(), f"sweeping_{next(_numbers)}"
        settings = {
            "CERTCTL_DATABASE_URL": postgres.database(name),
            "CERTCTL_ACME_SERVER_GC_INTERVAL": "200ms",
            "CERTCTL_ACME_SERVER_ORDER_TTL": "1s",
        }
        first, second = (RunningServer(self.path(), settings) for _ in range(2))
        first.start()
        shutil.copytree(first.state, second.state)
        second.start()
        for each in (first, second):
            self.addCleanup(each.end)
        session = Session(second)
        self.addCleanup(session.close)
        session.register()
        holders = [self.expire(session, 1, name)]
        first.kill()
        holders.append(self.expire(session, 2, name))
        self.assertNotEqual(*holders)
        self.assertNotIn("failed", second.log)

    def expire(self, session: Session, count: int, name: str) -> tuple[object, ...]:
        """Make an order and see it expire, as so many have by then; return whose session leads."""
        sql, expired = shared().sql, "SELECT count(*) FROM audit_events WHERE action = 'acme_order_expired'"
        session.order(f"{count}.example")
        log = session.server.directory / "server.log"
        wait_for("expiry", lambda: sql(f"{expired} AND actor = 'acme-system:gc'", name) == [(count,)], log)
        (holder,) = sql(_HOLDERS.format(name))
        return holder
