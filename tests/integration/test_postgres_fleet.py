"""Several processes on one PostgreSQL, and a PostgreSQL that goes away."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

import attrs
import psycopg2
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.limits import Limit
from certctl.acme.nonces import NonceMint
from certctl.acme.objects import Status
from certctl.storage import (
    accounts,
    authorizations,
    certificates,
    limits,
    orders,
    postgres_pool,
    profiles,
)
from certctl.storage.database import (
    Conflict,
    NonceSpent,
    Query,
    Statement,
    Unavailable,
    nothing,
)
from certctl.storage.migrations import migrations
from certctl.storage.postgres import PostgresDatabase
from certctl.storage.postgres_wire import OPTIONS, Wire, hosts
from tests.integration.postgres import Loop, PostgresServer
from tests.integration.server import HOST
from tests.integration.test_postgres_storage import OnPostgres
from tests.unit.storage.contract import ACCOUNT, HOUR, NOW, PROFILE, DatabaseCase, entry
from tests.unit.storage.contract_objects import CERTIFICATE
from tests.unit.storage.contract_orders import authorization, order

DEADLOCK = "deadlock detected"
SLEEP = "SELECT count(*) FROM (SELECT pg_sleep({})) slept"


class FleetCase(OnPostgres, DatabaseCase, SynchronousTestCase):
    def another(self) -> PostgresDatabase:
        made = super().another()
        self.addCleanup(partial(self.close, made))
        return made

    def close(self, database: PostgresDatabase) -> None:
        """Let go of a database."""
        self.loop.result(database.close())

    def together(self, *work: Coroutine[Any, Any, Any]) -> list[Any]:
        """Start everything at once; return what each returned, or the type of what it raised."""
        started = [Deferred.fromCoroutine(each) for each in work]
        found = self.loop.result(DeferredList(started, consumeErrors=True))
        return [each.type if isinstance(each, Failure) else each for _, each in found]

    def texts(self) -> list[str]:
        """What is sent from now on, which is put in as it goes."""
        sent: list[str] = []
        query = Wire.query

        async def noted(wire: Wire, text: str, parameters: Any = ()) -> Any:
            sent.append(text)
            return await query(wire, text, parameters)

        self.patch(Wire, "query", noted)
        return sent

    def sleep(self, seconds: float) -> Query[int]:
        """A query that takes so long."""
        return Query(SLEEP.format(seconds), (), lambda rows: int(rows[0][0]))


class ConcurrencyTests(FleetCase):
    def test_one_finalize_of_two(self) -> None:
        """Of changes that leave the same state, on whatever process, one is made, and the others not at all."""
        held = authorization(status=Status.VALID)
        self.write(*authorizations.insert(held), *orders.insert(order(held, status=Status.READY)))
        processes = [self.database, self.another()]
        outcomes = self.together(
            *(
                processes[number % 2].write(
                    orders.make_valid("acme-ord-1", f"cv-{number}", NOW),
                    *certificates.insert(attrs.evolve(CERTIFICATE, id=f"cv-{number}", serial=f"{number:x}")),
                    entry("finalized", number=number),
                )
                for number in range(8)
            )
        )
        self.assertEqual(outcomes.count(None), 1, outcomes)
        self.assertEqual(outcomes.count(Conflict), 7, outcomes)
        winner = f"cv-{outcomes.index(None)}"
        self.assertEqual(self.rows("SELECT certificate_id, status FROM acme_orders"), [(winner, "valid")])
        self.assertEqual(self.rows("SELECT id FROM certificate_versions"), [(winner,)])
        self.assertEqual(self.count("audit_events"), 1)

    def test_condition_is_looked_at_again(self) -> None:
        """A change that waited for another's row sees what the other left, not what there was when it began."""
        held = authorization()
        self.write(*authorizations.insert(held))
        with self.locked(f"UPDATE acme_authorizations SET status = 'deactivated' WHERE id = '{held.id}'"):
            waiting = Deferred.fromCoroutine(
                self.database.write(entry("before"), authorizations.move(held, Status.VALID, NOW))
            )
            self.loop.turn(0.2)
            self.assertFalse(waiting.called)
        self.assertRaises(Conflict, self.loop.result, waiting)
        self.assertEqual(self.count("audit_events"), 0)

    def test_key_taken_meanwhile(self) -> None:
        """Two accounts with one key, made at once: one is, the other is a conflict and no error."""
        processes = [self.database, self.another()]
        made = [
            accounts.insert(attrs.evolve(ACCOUNT, id=f"acme-acc-x{number}", thumbprint="same"))
            for number in range(6)
        ]
        outcomes = self.together(*(processes[n % 2].write(each) for n, each in enumerate(made)))
        self.assertEqual((outcomes.count(None), outcomes.count(Conflict)), (1, 5), outcomes)

    def test_one_budget(self) -> None:
        """A limit that two processes spend from at once is spent as often as it says, and wins back with time."""
        processes, limit = [self.database, self.another()], Limit(5)
        spending = [
            processes[n % 2].write(entry("spent"), limits.spend("orders:x", limit, NOW)) for n in range(20)
        ]
        outcomes = self.together(*spending)
        self.assertEqual((outcomes.count(None), outcomes.count(Conflict)), (5, 15), outcomes)
        self.assertEqual(self.count("audit_events"), 5)
        self.assertEqual(self.read(limits.empty_at("orders:x")), NOW.replace(microsecond=123000) + HOUR)
        self.write(limits.spend("orders:x", limit, NOW + limit.interval))
        self.assertFalse(self.read(limits.any_empty(NOW)))
        self.write(limits.forget_empty(NOW + 9 * HOUR, 5))
        self.assertIsNone(self.read(limits.empty_at("orders:x")))

    def test_limits_of_several_accounts(self) -> None:
        """Servers to which the same accounts come at once, in whatever order, never wait for each other in a circle."""
        self.spend_everywhere()

    def test_limit_of_all_accounts(self) -> None:
        """Nor do they if a limit of all comes before each account's."""
        self.spend_everywhere("orders-under:x")

    def spend_everywhere(self, *first: str) -> None:
        """Let three processes spend from the buckets of eight accounts, each after ``first``, without a deadlock."""
        processes, limit = [self.database, self.another(), self.another()], Limit(1000)
        buckets, before = [f"orders:{number}" for number in range(8)], self.server.log.count(DEADLOCK)
        for turn in range(20):
            spending = [
                process.write(*(limits.spend(each, limit, NOW) for each in (*first, own)), entry("spent"))
                for number, process in enumerate(processes)
                for own in (buckets[turn % 8 :] + buckets[: turn % 8])[:: (-1) ** number]
            ]
            self.assertEqual(self.together(*spending), [None] * len(spending))
        self.assertEqual(self.count("audit_events"), 20 * 8 * 3)
        self.assertEqual(self.server.log.count(DEADLOCK), before)

    def test_company(self) -> None:
        """Changes that come while others are under way are made together, and so are the rows that they leave."""
        self.together(*(self.database.write(entry("known")) for _ in range(40)))
        sent = self.texts()
        self.together(*(self.database.write(entry("spent")) for _ in range(40)))
        self.assertLess(len(sent), 20)
        self.assertEqual(self.count("audit_events"), 80)

    def test_one_round_trip(self) -> None:
        """Each call sends one text, whatever it is made of, the first time included."""
        sent = self.texts()
        held = authorization(status=Status.VALID)
        created = [*authorizations.insert(held), *orders.insert(order(held, status=Status.READY)), entry("x")]
        calls: list[Coroutine[Any, Any, Any]] = [
            self.database.write(*created),
            self.database.redeem(bytes(16), profiles.by_id(PROFILE.id), orders.by_id("acme-ord-1")),
            self.database.read(accounts.by_id(PROFILE.id, ACCOUNT.id)),
            self.database.forget_nonces(bytes(16)),
        ]
        for number, call in enumerate(calls, start=1):
            self.result(call)
            self.assertEqual(len(sent), number, sent)

    def test_deadlock_is_undone_and_made_again(self) -> None:
        """Changes that wait for each other are both made in the end."""
        held = [authorization(number) for number in (1, 2)]
        self.write(*(statement for each in held for statement in authorizations.insert(each)))
        touch = [
            Statement("UPDATE acme_authorizations SET updated_at = ? WHERE id = ?", (NOW, each.id), rows=1)
            for each in held
        ]
        pause = Statement("DELETE FROM issuers WHERE pg_sleep(0.3) IS NULL", ())
        outcomes = self.together(
            self.database.write(touch[0], pause, touch[1]), self.another().write(touch[1], pause, touch[0])
        )
        self.assertEqual(outcomes, [None, None])
        self.assertIn(DEADLOCK, self.server.log)

    @contextmanager
    def locked(self, statement: str) -> Iterator[None]:
        """A transaction of somebody else, open with this change until the end of the block."""
        with closing(psycopg2.connect(self.url)) as connection:
            connection.cursor().execute(statement)
            yield
            connection.commit()


class NonceRaceTests(FleetCase):
    def test_one_of_200(self) -> None:
        """A nonce that arrives 200 times at two processes is accepted once."""
        processes = [self.database, self.another()]
        for round in range(5):
            nonce = round.to_bytes(16, "big")
            outcomes = self.together(
                *(processes[n % 2].redeem(nonce, profiles.by_id(PROFILE.id), nothing()) for n in range(200))
            )
            self.assertEqual(outcomes.count(NonceSpent), 199)
            self.assertEqual(outcomes.count((PROFILE, None)), 1)

    def test_one_key_for_all(self) -> None:
        """All processes mint under the same key, one that starts later included."""
        self.assertEqual({self.another().nonce_keys for _ in range(3)}, {self.database.nonce_keys})

    def test_keys_made_at_once(self) -> None:
        """Ten processes that make the next key at once make one, and know it all, as does one that starts later."""
        processes = [self.database, *(self.another() for _ in range(9))]
        now, key = NOW.timestamp(), self.database.nonce_keys[0]
        self.together(*(each.look_after_nonce_keys(now, bytes(16)) for each in processes))
        for each in processes[1:]:
            self.loop.result(each.look_after_nonce_keys(now, bytes(16)))
        found = {each.nonce_keys for each in (*processes, self.another())}
        self.assertEqual(len(found), 1, found)
        (keys,) = found
        self.assertEqual((keys[0], len(keys)), (key, 2))

    def test_nonces_go_round(self) -> None:
        """Before and after the change of keys, what one process minted is good at another, once."""
        one, other = self.database, self.another()
        for day in range(5):
            now = NOW.timestamp() + 86_400 * day
            mints = [NonceMint(partial(getattr, each, "nonce_keys"), HOUR) for each in (one, other)]
            for each, mint in zip((one, other), mints, strict=True):
                self.loop.result(each.look_after_nonce_keys(now, mint.floor(now)))
            for each, mint in ((other, mints[0]), (one, mints[1])):
                nonce = mints[1].redeemable(mint.mint(now), now + 1)
                self.spend(each, mints[0].redeemable(mint.mint(now), now + 1))
                self.spend(each, nonce)
                self.assertRaises(NonceSpent, self.spend, other, nonce)
        # The first one stays, as it is the epoch's; beside it those of yesterday or today, and the next ones.
        self.assertEqual(len(one.nonce_keys), 4)
        self.assertEqual(self.count("acme_nonces WHERE key IS NOT NULL"), 4)

    def test_keys_cost_no_round_trip(self) -> None:
        """A request that redeems a nonce sends one text, on the day of a new key as well."""
        self.loop.result(self.database.look_after_nonce_keys(NOW.timestamp(), bytes(16)))
        other = self.another()
        self.loop.result(other.look_after_nonce_keys(NOW.timestamp() + 86_400, bytes(16)))
        sent: list[str] = []
        query = Wire.query

        async def counted(wire: Wire, text: str, parameters: Any = ()) -> Any:
            sent.append(text)
            return await query(wire, text, parameters)

        self.patch(Wire, "query", counted)
        self.spend(self.database, bytes(16))
        self.assertEqual(len(sent), 1, sent)

    def test_many_rows_with_a_nonce(self) -> None:
        """All rows of the second query come, and a first that finds nothing hides none of them."""
        held = authorization()
        self.write(*authorizations.insert(held))
        found = self.result(
            self.database.redeem(bytes(16), profiles.by_id("nobody"), authorizations.by_id(held.id))
        )
        self.assertEqual(found, (None, held))

    def test_emptied_table(self) -> None:
        """Whoever empties the table of spent nonces makes all nonces invalid: a running server takes a new key."""
        processes = [self.database, self.another()]
        key = self.database.nonce_keys
        self.spend(processes[0], b"a" * 16)
        self.server.sql("TRUNCATE acme_nonces", self.name)
        for database in processes:
            self.assertRaises(NonceSpent, self.spend, database, b"a" * 16)
        self.assertNotEqual(processes[0].nonce_keys, key)
        self.assertEqual(processes[1].nonce_keys, processes[0].nonce_keys)
        self.spend(processes[1], b"b" * 16)

    def spend(self, database: PostgresDatabase | Any, nonce: bytes) -> None:
        """Redeem a nonce for nothing."""
        self.result(database.redeem(nonce, nothing(), nothing()))


class KeptTests(FleetCase):
    """What is kept of signers, and asked for by the versions of their rows."""

    def signer(self, database: PostgresDatabase, number: int, id: str = ACCOUNT.id) -> Any:
        """Profile and account as a request gets them."""
        asked = accounts.signer_by_id(PROFILE.id, id), orders.by_id("acme-ord-0")
        nonce = bytes(12) + number.to_bytes(4, "big")
        signer, held = self.result(database.redeem(nonce, *asked))
        self.assertIsNone(held)
        return signer

    def test_kept(self) -> None:
        """Who is known is asked for by the identity of the rows alone, and is the same object."""
        database: Any = self.database
        first = self.signer(database, 1)
        self.assertEqual(first, (PROFILE, ACCOUNT))
        sent = self.texts()
        self.assertIs(self.signer(database, 2), first)
        self.assertEqual(len(sent), 1)
        self.assertNotIn("jwk", sent[0])

    def test_changed_elsewhere(self) -> None:
        """What another process changes of account or profile is seen by the next request."""
        database: Any = self.database
        other = self.another()
        self.signer(database, 1)
        self.loop.result(other.write(accounts.update(ACCOUNT.id, ("mailto:x@y.example",), True, NOW)))
        self.assertEqual(self.signer(database, 2)[1].contact, ("mailto:x@y.example",))
        self.loop.result(other.write(accounts.deactivate(ACCOUNT.id, NOW)))
        for number in (3, 4):
            self.assertIs(self.signer(database, number)[1].status, Status.DEACTIVATED)
        changed = Statement("UPDATE certificate_profiles SET enabled = FALSE WHERE id = ?", (PROFILE.id,))
        self.loop.result(other.write(changed))
        for number in (5, 6):
            self.assertFalse(self.signer(database, number)[0].enabled)

    def test_comes_and_goes(self) -> None:
        """An account that was not there is seen when it is, and one that is deleted is seen no more."""
        database: Any = self.database
        self.assertEqual(self.signer(database, 1, "acme-acc-new"), (PROFILE, None))
        self.assertEqual(self.signer(database, 2, "acme-acc-new"), (PROFILE, None))
        new = attrs.evolve(ACCOUNT, id="acme-acc-new", thumbprint="other")
        self.write(accounts.insert(new))
        for number in (3, 4):
            self.assertEqual(self.signer(database, number, new.id), (PROFILE, new))
        self.write(Statement("DELETE FROM acme_accounts WHERE id = ?", (new.id,)))
        for number in (5, 6):
            self.assertEqual(self.signer(database, number, new.id), (PROFILE, None))

    def test_another_connection(self) -> None:
        """With a new connection all is read again: it may lead to a server that has other rows with such identities."""
        database: Any = self.database
        first = self.signer(database, 1)
        self.together(*(self.database.read(self.sleep(0.2)) for _ in range(2)))
        again = self.signer(database, 2)
        self.assertEqual(again, first)
        self.assertIsNot(again, first)


class ValueTests(FleetCase):
    def test_what_postgresql_cannot_keep(self) -> None:
        """NUL and halves of surrogate pairs are replaced; what else there is in Unicode stays."""
        self.write(entry("odd", text="a\0b\ud800c\U0001f600\\u0000%?'"))
        (found,) = self.rows("SELECT details FROM audit_events")
        self.assertEqual(found, ({"text": "a\ufffdb\ufffdc\U0001f600\\u0000%?'"},))
        for id in ("a\0b", "\ud800", "'; DROP TABLE acme_accounts; --", "%s%%?"):
            self.assertIsNone(self.read(accounts.by_id(PROFILE.id, id)))

    def test_marks_in_the_text(self) -> None:
        """A question mark or a per cent sign in a literal is no parameter."""
        self.assertEqual(
            self.rows("SELECT '?', '100 %s', CAST(? AS INTEGER), '''?' -- ?\n", 7), [("?", "100 %s", 7, "'?")]
        )
        self.assertEqual(self.rows('SELECT 7 % 4 AS "?"'), [(3,)])

    def test_longer_than_what_is_prepared(self) -> None:
        """Hundreds of ids are no problem."""
        held = authorization()
        self.write(*authorizations.insert(held))
        ids = [f"acme-ord-{number:03}" for number in range(1, 301)]
        self.write(*(each for id in ids for each in orders.insert(order(held, id=id))))
        self.write(orders.expire(ids, {"type": "x"}, NOW + 9 * HOUR))
        self.assertEqual(self.rows("SELECT DISTINCT status FROM acme_orders"), [("invalid",)])

    def test_instants_in_utc(self) -> None:
        """Times come back aware and in UTC, whatever the server thinks of its own zone."""
        ((moment,),) = self.rows("SELECT created_at FROM acme_accounts")
        self.assertEqual((moment, moment.utcoffset().total_seconds()), (NOW, 0))


class HealingTests(FleetCase):
    def test_statement_timeout(self) -> None:
        """What takes too long is given up, and the next query is answered."""
        self.patch_url("-c statement_timeout=300")
        slow = self.another()
        self.assertRaises(Unavailable, self.loop.result, slow.read(self.sleep(30)))
        self.assertEqual(self.loop.result(slow.read(self.sleep(0))), 1)

    def test_killed_idle_backend(self) -> None:
        """A connection that dies while nobody uses it costs nothing."""
        self.kill_backends()
        self.loop.turn(0.3)
        for _ in range(10):
            self.assertEqual(self.count("acme_accounts"), 1)

    def test_killed_busy_backend(self) -> None:
        """A query whose connection dies is Unavailable; the next one is answered."""
        running = Deferred.fromCoroutine(self.database.read(self.sleep(30)))
        self.loop.turn(0.3)
        self.kill_backends()
        self.assertRaises(Unavailable, self.loop.result, running)
        self.assertEqual(self.count("acme_accounts"), 1)

    def test_all_busy(self) -> None:
        """Whoever finds no connection in some seconds is told so; the others are not hurt."""
        running = [Deferred.fromCoroutine(self.database.read(self.sleep(7))) for _ in range(self.connections)]
        begun = time.monotonic()
        error = self.assertRaises(Unavailable, self.count, "acme_accounts")
        self.assertIn("all 4 connections are busy", str(error))
        self.assertLess(time.monotonic() - begun, 6.5)
        self.assertEqual([self.loop.result(each) for each in running], [1] * self.connections)

    def test_no_more_connections_than_allowed(self) -> None:
        """However many ask, the pool has its size."""
        found = self.together(*(self.database.read(self.sleep(0.02)) for _ in range(50)))
        self.assertEqual(found, [1] * 50)
        ((count,),) = self.server.sql(
            f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{self.name}' AND application_name = 'certctl'"
        )
        self.assertEqual(count, self.connections)

    def patch_url(self, options: str) -> None:
        """Add to what each connection says at its start."""
        self.url += f"&options={quote(options)}"

    def kill_backends(self) -> None:
        """End all of the test's connections from the server's side."""
        self.server.sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'"
        )


class MigrationTests(FleetCase):
    def test_ten_at_once(self) -> None:
        """Ten processes that find an empty database together make one schema."""
        url = self.server.database("test_ten", "template0")
        opening = [PostgresDatabase.open(url, self.loop.reactor, 2) for _ in range(10)]
        made = self.together(*opening)
        for each in made:
            self.addCleanup(partial(self.close, each))
        self.assertEqual({type(each) for each in made}, {PostgresDatabase})
        self.assertEqual(len({each.nonce_keys for each in made}), 1)
        applied = self.server.sql("SELECT version, oldest_code FROM schema_migrations ORDER BY 1", "test_ten")
        self.assertEqual(applied, [(each.version, each.oldest_code) for each in migrations()])

    def test_side_by_side(self) -> None:
        """A server goes on across a migration that only adds: prepared statements, changes and reads alike."""
        held = authorization(status=Status.VALID)
        asked = orders.by_id("acme-ord-1")

        def work(number: int) -> None:
            made = attrs.evolve(held, id=f"acme-authz-{number}", challenges=())
            self.write(*authorizations.insert(made))
            self.write(*orders.insert(order(made, id=f"acme-ord-{number}", status=Status.READY)))
            self.write(orders.make_valid(f"acme-ord-{number}", "cv-1", NOW), entry("done", number=number))
            found = self.result(self.database.redeem(bytes([number] * 16), profiles.by_id(PROFILE.id), asked))
            self.assertEqual(found[0], PROFILE)

        for number in (1, 2):
            work(number)
        tables = ("acme_orders", "acme_authorizations", "certificate_profiles", "audit_events", "acme_nonces")
        for table in tables:
            self.server.sql(f"ALTER TABLE {table} ADD COLUMN new_one TEXT NOT NULL DEFAULT 'x'", self.name)
            self.server.sql(f"CREATE INDEX {table}_new_one ON {table} (new_one)", self.name)
        self.server.sql("CREATE TABLE new_ones (id TEXT PRIMARY KEY)", self.name)
        self.server.sql("INSERT INTO schema_migrations VALUES (9999, 'future', 1, now())", self.name)
        for number in (3, 4):
            work(number)
        self.another()  # and another of this version starts
        self.assertEqual(self.count("acme_orders"), 4)


class HostsTests(SynchronousTestCase):
    def test_one_after_another(self) -> None:
        """Each host of a URL is tried by itself, so that one that does not answer is left in time."""
        found = hosts("postgresql://u:p@one:1,two:2,three/db?sslmode=verify-full&options=-c%20x%3D1")
        self.assertEqual(
            [(each["host"], each.get("port")) for each in found], [("one", "1"), ("two", "2"), ("three", "")]
        )
        for each in found:
            self.assertEqual((each["sslmode"], each["target_session_attrs"]), ("verify-full", "read-write"))
            self.assertEqual(each["options"], f"{OPTIONS} -c x=1")
        same = hosts("postgresql://one,two/db?port=7")
        self.assertEqual([(each["host"], each["port"]) for each in same], [("one", "7"), ("two", "7")])


class CrashTests(SynchronousTestCase):
    """These have a server of their own, as they stop it."""

    def setUp(self) -> None:
        self.loop = Loop()
        self.server = PostgresServer()
        self.addCleanup(self.server.remove)
        self.url = self.server.start().database("certctl")

    def open(self, url: str | None = None) -> PostgresDatabase:
        """Open the database as another process would."""
        made = self.loop.result(PostgresDatabase.open(url or self.url, self.loop.reactor, 4))
        self.addCleanup(lambda: self.loop.result(made.close()))
        return made

    def numbers(self, database: PostgresDatabase) -> list[int]:
        """What ``entry`` wrote."""
        asked = Query(
            "SELECT details FROM audit_events ORDER BY id", (), lambda rows: [r[0]["n"] for r in rows]
        )
        return self.loop.result(database.read(asked))

    def test_restart(self) -> None:
        """Who asks while the server restarts waits, and is answered; nonces hold."""
        self.patch(postgres_pool, "PATIENCE", 60)  # a server starts slowly on a busy machine
        database = self.open()
        key = database.nonce_keys
        self.loop.result(database.redeem(bytes(16), nothing(), nothing()))
        self.server.stop()
        self.loop.turn(0.2)
        asked = Deferred.fromCoroutine(database.write(entry("meanwhile", n=1)))
        self.loop.turn(0.5)
        self.assertFalse(asked.called)
        self.server.start()
        self.assertIsNone(self.loop.result(asked))
        self.assertEqual(self.numbers(database), [1])
        self.assertEqual(database.nonce_keys, key)
        self.assertRaises(NonceSpent, self.loop.result, database.redeem(bytes(16), nothing(), nothing()))

    def test_down(self) -> None:
        """While the server is down for longer, whoever asks is told to come later, in seconds."""
        database = self.open()
        self.server.stop()
        self.loop.turn(0.2)
        begun = time.monotonic()
        error = self.assertRaises(Unavailable, self.numbers, database)
        self.assertIn("the database cannot be reached", str(error))
        self.assertLess(time.monotonic() - begun, 8)

    def test_crash(self) -> None:
        """A crash keeps every change that was answered, and makes every nonce from before it invalid."""
        processes = [self.open(), self.open()]
        key = processes[0].nonce_keys
        for n in range(20):
            self.loop.result(processes[n % 2].write(entry("kept", n=n)))
        self.loop.result(processes[0].redeem(bytes(16), nothing(), nothing()))
        self.server.stop(signal.SIGQUIT)
        self.server.start()
        self.loop.turn(0.2)
        self.assertEqual(self.numbers(processes[0]), list(range(20)))
        self.assertNotEqual(processes[0].nonce_keys, key)
        self.loop.turn(0.2)
        self.assertEqual(self.numbers(processes[1]), list(range(20)))
        self.assertEqual(processes[1].nonce_keys, processes[0].nonce_keys)
        self.loop.result(processes[1].redeem(b"new" * 5 + b".", nothing(), nothing()))

    def test_crash_under_load(self) -> None:
        """Of what was under way in a crash, all that was answered is there, and nothing is there twice."""
        self.patch(postgres_pool, "PATIENCE", 60)  # a server starts slowly on a busy machine
        database, answered, lost = self.open(), set[int](), set[int]()

        async def write(n: int) -> None:
            try:
                await database.write(entry("load", n=n))
                answered.add(n)
            except Unavailable:
                lost.add(n)

        for n in range(400):
            _ = Deferred.fromCoroutine(write(n))
            if n == 200:
                self.loop.turn(0.05)
                self.server.stop(signal.SIGQUIT)
                self.server.start()
            if n % 10 == 0:
                self.loop.turn(0.01)
        while len(answered) + len(lost) < 400:
            self.loop.turn(0.05)
        found = self.numbers(database)
        self.assertEqual(len(found), len(set(found)))
        self.assertLessEqual(answered, set(found))
        self.assertLessEqual(len(lost), 4)  # one for each connection

    def test_next_host(self) -> None:
        """Where the first host of a URL takes no connection, the next one serves."""
        self.assertEqual(
            self.numbers(
                self.open(f"postgresql://postgres@127.0.0.1:1,127.0.0.1:{self.server.port}/certctl")
            ),
            [],
        )

    def test_silent_host(self) -> None:
        """A host that takes connections and says nothing is given up for the next one."""
        self.patch(postgres_pool, "CONNECT_TIMEOUT", 0.5)
        with socket.create_server((HOST, 0)) as silent:
            hosts = f"{HOST}:{silent.getsockname()[1]},{HOST}:{self.server.port}"
            self.assertEqual(self.numbers(self.open(f"postgresql://postgres@{hosts}/certctl")), [])

    def test_server_that_says_nothing(self) -> None:
        """A connection on which no answer comes, although the statement's time is over, is given up."""
        self.patch(postgres_pool, "OVERDUE", 1)
        database = self.open()
        ((pid,),) = self.loop.result(database.read(Query("SELECT pg_backend_pid()", (), lambda rows: rows)))
        os.kill(pid, signal.SIGSTOP)
        try:
            self.assertRaises(Unavailable, self.numbers, database)
            self.assertEqual(self.numbers(database), [])
        finally:
            os.kill(pid, signal.SIGCONT)

    def test_failover(self) -> None:
        """When the primary is lost and its standby promoted, servers go on there, with a new key for nonces."""
        self.patch(postgres_pool, "PATIENCE", 60)  # a server starts slowly on a busy machine
        standby = PostgresServer(self.server)
        self.addCleanup(standby.remove)
        standby.start()
        database = self.open(f"postgresql://postgres@{HOST}:{self.server.port},{HOST}:{standby.port}/certctl")
        key = database.nonce_keys
        self.loop.result(database.write(entry("before", n=1)))
        (sent,) = self.server.sql("SELECT pg_current_wal_lsn()::text")
        while standby.sql(f"SELECT pg_last_wal_replay_lsn() < '{sent[0]}'") == [(True,)]:
            time.sleep(0.05)
        self.server.stop(signal.SIGQUIT)
        self.loop.turn(0.2)
        asked = Deferred.fromCoroutine(database.write(entry("meanwhile", n=2)))
        self.loop.turn(0.5)
        standby.sql("SELECT pg_promote()")
        self.assertIsNone(self.loop.result(asked))
        self.assertEqual(self.numbers(database), [1, 2])
        self.assertNotEqual(database.nonce_keys, key)
        self.loop.result(database.redeem(bytes(16), nothing(), nothing()))

    def test_standby_is_passed_over(self) -> None:
        """A host that is read only is not one to work with."""
        self.server.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        self.server.stop()
        self.server.start()
        error = self.assertRaises(Unavailable, self.open)
        self.assertIn("session is read-only", str(error))

    def test_refused(self) -> None:
        """Why there is no connection is said, without the password."""
        url = f"postgresql://nobody:hunter2@127.0.0.1:{self.server.port}/nothing"
        error = self.assertRaises(Unavailable, self.open, url)
        self.assertIn('role "nobody" does not exist', str(error))
        self.assertNotIn("hunter2", str(error))
