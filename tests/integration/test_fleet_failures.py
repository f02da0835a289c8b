"""What is killed under load, and what became of all that was promised: the failure table of docs/several-servers.md.

Each row is printed. CERTCTL_TEST_SEED repeats a run's moments (not its races), CERTCTL_TEST_KILLS changes how many
there are.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from functools import partial

from tests.integration.fleet import Balancer, FleetCase, Patient, Row, locked
from tests.integration.postgres import PostgresServer
from tests.integration.server import HOST, RunningServer
from tests.integration.test_crash import SEED, id_of

KILLS = int(os.environ.get("CERTCTL_TEST_KILLS") or 4)
COLUMNS = "created_at, actor, action, resource_type, resource_id, details"
DATABASE_KILLS = max(1, KILLS // 2)


class FailureCase(FleetCase):
    """Two servers behind HAProxy, on a PostgreSQL of their own."""

    def make_postgres(self) -> PostgresServer:
        server = PostgresServer()
        self.addCleanup(server.remove)
        return server.start()

    def fleet(self, *, in_turn: bool = True) -> Balancer:
        """Two servers, and what stands before them."""
        self.another().start()
        self.another().start()
        balancer = Balancer(self.path(), self.servers, in_turn=in_turn)
        self.addCleanup(balancer.end)
        return balancer


class JudgeTests(FleetCase):
    def test_finds_what_is_wrong(self) -> None:
        """The judge sees a certificate that is gone, one too many, an order that hangs, an event too many."""
        server = self.another().start()
        client = Patient(server, 0, threading.Event())
        for _ in range(6):
            client.step()
        client.finish_all()
        fine = self.compared(client)
        self.assertEqual((fine.lost, fine.doubled, fine.stuck, fine.unaudited), (0, 0, 0, 0))
        self.sql("UPDATE acme_orders SET status = 'processing' WHERE id = (SELECT max(id) FROM acme_orders)")
        self.assertGreater(self.compared(client).stuck, 0)
        for change in (
            f"INSERT INTO audit_events ({COLUMNS}) SELECT {COLUMNS} FROM audit_events"
            " WHERE action = 'acme_order_finalized' LIMIT 1",
            "ALTER TABLE certificate_versions DROP CONSTRAINT certificate_versions_order_id_key;"
            " UPDATE certificate_versions SET order_id = (SELECT min(order_id) FROM certificate_versions)",
        ):
            self.sql(f"SET session_replication_role = replica; {change}")
        found = self.compared(client)
        self.assertGreater(min(found.doubled, found.unaudited), 0)
        self.sql("SET session_replication_role = replica; DELETE FROM certificate_versions")
        self.assertGreater(self.compared(client).lost, 0)

    def compared(self, client: Patient) -> Row:
        """What the judge finds."""
        row = Row("", 0)
        self.compare(row, [client.told])
        return row


class ServerKilledTests(FailureCase):
    def test_at_any_moment(self) -> None:
        """A server that is killed with -9, and started again, loses nothing that was answered."""
        balancer, chance = self.fleet(), random.Random(SEED)
        row = Row("one of two servers killed with -9, and started again", KILLS)

        def kill_again_and_again(clients: list[Patient]) -> None:
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.1, 1.0))
                victim = chance.choice(self.servers)
                self.strike(row, clients, victim.kill)
                self.progress(clients, 3)  # by the other one
                victim.start()

        self.under_load(balancer, row, kill_again_and_again)


class FinalizeTests(FailureCase):
    """A finalize stopped at each of its steps: the database is the brake, so that the step is known."""

    def test_at_each_step(self) -> None:
        """Wherever the server is killed, the client asks again and has one certificate, by the other server."""
        balancer = self.fleet(in_turn=False)
        first = self.servers[0]
        client = Patient(balancer, 0, threading.Event())
        client.told.accounts.add(id_of(client.session.register()))
        steps: tuple[tuple[str, str, Callable[[RunningServer], None], bool], ...] = (
            ("while its nonce is redeemed", "acme_nonces", self.killed, False),
            ("when its nonce is spent, before anything is signed", "acme_nonces", self.stopped, False),
            ("while its change is made, which comes to its end", "certificate_versions", self.killed, True),
            ("while its change is made, which is undone", "certificate_versions", self.killed_both, False),
            (
                "when its change is durable, before it is answered",
                "certificate_versions",
                self.stopped,
                True,
            ),
        )
        for number, (step, table, strike, stands) in enumerate(steps):
            row = Row(f"server killed with -9 in a finalize, {step}", 1, in_flight=[1])
            name = f"step-{number}.example.internal"
            made = client.session.order(name)
            client.told.orders[id_of(made.location)] = (made.location, name)
            client.session.nonce = client.session.fresh_nonce()
            self.strike_finalize(client, made.json["finalize"], name, table, partial(strike, first))
            self.assertEqual(
                self.sql(
                    f"SELECT count(*) FROM certificate_versions WHERE order_id = '{id_of(made.location)}'"
                ),
                [(int(stands),)],
                step,
            )
            row.finished = client.finish_all()
            row.broken, client.broken = client.broken, 0
            first.start()
            self.compare(row, [client.told])
            print(f"\n{row}", flush=True)
            self.assertEqual((row.lost, row.doubled, row.stuck, row.unaudited), (0, 0, 0, 0))
            self.assertEqual(client.told.surprises, [])
        self.verify_chain()

    def strike_finalize(
        self, client: Patient, url: str, name: str, table: str, strike: Callable[[], None]
    ) -> None:
        """Send a finalize, and strike when it waits for a table that somebody else holds."""
        asking = threading.Thread(target=client.attempt, args=(lambda: client.session.finalize(url, name),))
        with locked(self.postgres, self.name, table) as let_go:
            asking.start()
            self.wait_for(lambda: len(self.waiting()) == 1, "the finalize has come to that step")
            self.let_go = let_go
            strike()
        asking.join(60)
        self.assertFalse(asking.is_alive())
        self.wait_for(lambda: not self.busy(), "the database has done what it was asked")

    def killed(self, server: RunningServer) -> None:
        """Kill the server; the database goes on with what it was asked."""
        server.kill()

    def killed_both(self, server: RunningServer) -> None:
        """Kill the server, and its connection's process in the database."""
        server.kill()
        for pid in self.waiting():
            self.sql(f"SELECT pg_terminate_backend({pid})")
        self.wait_for(lambda: not self.waiting(), "it is gone")

    def stopped(self, server: RunningServer) -> None:
        """Stop the server, let the database answer what it was asked, and kill the server before it has read that."""
        os.kill(server.pid, signal.SIGSTOP)
        self.let_go()
        self.wait_for(lambda: not self.busy(), "the database has answered")
        server.kill()

    def waiting(self) -> list[int]:
        """The database's processes that wait for the table."""
        return [pid for (pid,) in self.activity("wait_event_type = 'Lock'")]

    def busy(self) -> bool:
        """Whether the database does something for a server."""
        return bool(self.activity("state = 'active'"))

    def activity(self, condition: str) -> list[tuple[int]]:
        return self.sql(
            f"SELECT pid FROM pg_stat_activity WHERE datname = '{self.name}' AND application_name = 'certctl'"
            f" AND {condition}"
        )


class DatabaseTests(FailureCase):
    def test_killed(self) -> None:
        """PostgreSQL killed with -9 and started again: what was answered is there, the rest is asked again."""
        balancer, chance = self.fleet(), random.Random(SEED)
        row = Row("PostgreSQL killed with -9, and started again", DATABASE_KILLS)

        def kill_again_and_again(clients: list[Patient]) -> None:
            for _ in range(DATABASE_KILLS):
                time.sleep(chance.uniform(0.3, 1.5))
                self.strike(row, clients, self.postgres.kill)
                time.sleep(chance.uniform(0.0, 2.0))
                self.postgres.start()
                self.progress(clients)

        self.under_load(balancer, row, kill_again_and_again)


class FailoverTests(FailureCase):
    def test_promoted(self) -> None:
        """The primary is lost and its synchronous standby promoted: nothing that was answered is lost."""
        row = Row("primary lost, its synchronous standby promoted", 1)
        standby = self.standby()
        self.url = f"postgresql://postgres@{HOST}:{self.postgres.port},{HOST}:{standby.port}/{self.name}"
        balancer = self.fleet()

        def lose_primary(clients: list[Patient]) -> None:
            self.progress(clients)
            self.strike(row, clients, self.postgres.kill)
            standby.sql("SELECT pg_promote()")
            self.postgres = standby
            self.progress(clients)

        self.under_load(balancer, row, lose_primary)

    def standby(self) -> PostgresServer:
        """A standby of the database, which has every change before it is answered."""
        standby = PostgresServer(self.postgres)
        self.addCleanup(standby.remove)
        standby.start()
        self.postgres.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.postgres.sql("SELECT pg_reload_conf()")
        state = "SELECT sync_state FROM pg_stat_replication"
        self.wait_for(lambda: self.postgres.sql(state) == [("sync",)], "the standby is synchronous")
        return standby
