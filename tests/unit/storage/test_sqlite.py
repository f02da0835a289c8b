"""The embedded engine: the contract, and what is its own."""

from __future__ import annotations

import gc
import os
import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from certctl.acme.identifiers import dns_name
from certctl.storage import (
    accounts,
    authorizations,
    certificates,
    failures,
    nonce_store,
    orders,
    profiles,
    retention,
    sqlite,
)
from certctl.storage.database import Conflict, Database, NonceSpent, Query, Statement, Unavailable, nothing
from certctl.storage.migrations import SchemaTooNew, migrations, pending
from certctl.storage.sqlite import MEMORY, DatabaseInUse, SqliteDatabase, connect, migrate
from tests.unit.storage import (
    contract,
    contract_audit,
    contract_console,
    contract_eab_keys,
    contract_issuers,
    contract_jobs,
    contract_objects,
    contract_orders,
    contract_retention,
)
from tests.unit.storage.contract import ACCOUNT, NOW, PROFILE, entry


class InMemory:
    """Makes the database that the contract is about."""

    broken_rule: type[Exception] = sqlite3.IntegrityError

    def make_database(self) -> Database:
        """Return an empty database in memory."""
        return SqliteDatabase(MEMORY)


class ChangeTests(InMemory, contract.ChangeContract, SynchronousTestCase):
    pass


class NonceTests(InMemory, contract.NonceContract, SynchronousTestCase):
    pass


class ProfileTests(InMemory, contract_objects.ProfileContract, SynchronousTestCase):
    pass


class AccountTests(InMemory, contract_objects.AccountContract, SynchronousTestCase):
    pass


class CertificateTests(InMemory, contract_objects.CertificateContract, SynchronousTestCase):
    pass


class AuditTests(InMemory, contract_objects.AuditContract, SynchronousTestCase):
    pass


class ChainTests(InMemory, contract_audit.ChainContract, SynchronousTestCase):
    pass


class OrderTests(InMemory, contract_orders.OrderContract, SynchronousTestCase):
    pass


class AuthorizationTests(InMemory, contract_orders.AuthorizationContract, SynchronousTestCase):
    pass


class FailureTests(InMemory, contract_orders.FailureContract, SynchronousTestCase):
    pass


class ConsoleTests(InMemory, contract_console.ConsoleContract, SynchronousTestCase):
    """Sessions of the console, and servers."""


class EabKeyTests(InMemory, contract_eab_keys.EabKeyContract, SynchronousTestCase):
    """Keys for external account bindings."""


class IssuerTests(InMemory, contract_issuers.IssuerContract, SynchronousTestCase):
    """Issuers: requested, installed, planned, retired."""


class JobTests(InMemory, contract_jobs.JobContract, SynchronousTestCase):
    """Orders that wait for their issuer."""


class SealingTests(InMemory, contract_eab_keys.SealingContract, SynchronousTestCase):
    """Which secret seals them."""


class RetentionTests(InMemory, contract_retention.RetentionContract, SynchronousTestCase):
    """What ended long ago."""


class FileCase(contract.DatabaseCase, SynchronousTestCase):
    """A database in a file."""

    def make_database(self) -> Database:
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.path = self.path / "certctl.sqlite"
        return SqliteDatabase(self.path)

    def raw(self, path: Path | None = None) -> sqlite3.Connection:
        """Look into the file as an operator would, without certctl's converters."""
        connection = sqlite3.connect(path or self.path)
        self.addCleanup(connection.close)
        return connection


class FileTests(FileCase):
    def test_readable_text(self) -> None:
        """Times and JSON lie in the file as text that people, and SQLite's own functions, can read."""
        (row,) = self.raw().execute("SELECT contact, created_at, terms_agreed FROM acme_accounts").fetchall()
        contact = r'["mailto:a@example.org","mailto:\u00fc@example.org"]'
        self.assertEqual(row, (contact, "2026-05-17T12:00:00.123456+00:00", 1))
        found = self.raw().execute(
            "SELECT json_extract(contact, '$[0]'), strftime('%Y', created_at) FROM acme_accounts"
        )
        self.assertEqual(found.fetchall(), [("mailto:a@example.org", "2026")])

    def test_texts_of_times_sort_as_times(self) -> None:
        """A time without a fraction and one of another zone stand where they belong."""
        from datetime import timedelta, timezone

        moments = [
            NOW.replace(microsecond=0),
            NOW.replace(microsecond=1),
            NOW.astimezone(timezone(timedelta(hours=14))),
            NOW + timedelta(seconds=1),
        ]
        for number, moment in enumerate(moments):
            sql = "INSERT INTO acme_validation_failures VALUES (?, ?, ?, ?)"
            self.write(Statement(sql, (ACCOUNT.id, str(number), 1, moment)))
        found = self.rows("SELECT identifier, updated_at FROM acme_validation_failures ORDER BY updated_at")
        self.assertEqual(found, [(str(number), moment) for number, moment in enumerate(moments)])

    def test_foreign_keys(self) -> None:
        """A row that refers to nothing is refused."""
        self.assertRaises(
            sqlite3.IntegrityError,
            self.write,
            Statement("UPDATE acme_accounts SET profile_id = 'prof-nobody'", ()),
        )

    def test_durable(self) -> None:
        """The journal is a WAL, and a commit waits for the disk."""
        connection = connect(self.path)
        self.addCleanup(connection.close)
        found = [
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
        self.assertEqual(found, ["wal", 2])

    def test_reopened(self) -> None:
        """What was written is there after the next start."""
        self.result(self.database.close())
        self.database = SqliteDatabase(self.path)
        self.assertEqual(self.read(accounts.by_id(PROFILE.id, ACCOUNT.id)), ACCOUNT)

    def test_read_that_is_refused(self) -> None:
        """A file that cannot be read is Unavailable, and the next read may go well."""
        self.assertRaises(Unavailable, self.read, Query("SELECT * FROM nowhere", (), list))
        self.assertEqual(self.count("acme_accounts"), 1)

    def test_write_that_is_refused(self) -> None:
        """A change that the engine refuses is Unavailable, and the next may go well."""
        self.assertRaises(
            Unavailable, self.write, entry("one"), Statement("INSERT INTO nowhere VALUES (1)", ())
        )
        self.write(entry("two"))
        self.assertEqual(self.rows("SELECT action FROM audit_events"), [("two",)])


class MigrationTests(FileCase):
    def test_fresh(self) -> None:
        """A fresh file gets every migration, each noted with its name and the oldest code that may open it."""
        found = self.raw().execute("SELECT version, name, oldest_code FROM schema_migrations").fetchall()
        self.assertEqual(found, [(each.version, each.name, each.oldest_code) for each in migrations()])

    def test_applied(self) -> None:
        """A second start applies nothing and loses nothing."""
        before = self.raw().execute("SELECT * FROM schema_migrations").fetchall()
        connection = connect(self.path)
        self.addCleanup(connection.close)
        migrate(connection)
        self.assertEqual(self.raw().execute("SELECT * FROM schema_migrations").fetchall(), before)
        self.assertEqual(self.count("acme_accounts"), 1)

    def test_newer_than_the_code(self) -> None:
        """A file that asks for newer code is left alone, with a sentence that says so."""
        self._note("9999", oldest="9999")
        self.assertRaises(SchemaTooNew, SqliteDatabase, self.path)

    def test_newer_but_bearable(self) -> None:
        """A newer schema that says so can be opened by this code: the way back from an upgrade."""
        self._note("9999", oldest="1")
        self.result(self.database.close())
        self.database = SqliteDatabase(self.path)
        self.assertEqual(self.read(profiles.by_id(PROFILE.id)), PROFILE)

    def _note(self, version: str, oldest: str) -> None:
        raw = self.raw()
        raw.execute("INSERT INTO schema_migrations VALUES (?, 'future', ?, NULL)", (version, oldest))
        raw.commit()

    def test_numbers(self) -> None:
        """Migrations are numbered from one, each number once, and none asks for code newer than itself."""
        numbers = [each.version for each in migrations()]
        self.assertEqual(numbers, sorted(set(numbers)))
        for each in migrations():
            self.assertLessEqual(each.oldest_code, each.version)
        self.assertEqual(pending(0, 0), migrations())
        self.assertEqual(pending(numbers[-1], 1), ())


class NonceFileTests(FileCase):
    def setUp(self) -> None:
        super().setUp()
        self.nonces = self.path.with_name("certctl-nonces")
        self.key = self.database.nonce_keys
        self.spend(b"\x07" * 16)

    def spend(self, nonce: bytes) -> None:
        """Spend a nonce."""
        self.result(self.database.redeem(nonce, nothing(), nothing()))

    def reopen(self) -> None:
        """Stop and start."""
        self.result(self.database.close())
        self.database = SqliteDatabase(self.path)

    def test_spent_over_a_restart(self) -> None:
        """In one run of the machine a nonce stays spent over a restart, and others stay good."""
        self.reopen()
        self.assertEqual(self.database.nonce_keys, self.key)
        self.assertRaises(NonceSpent, self.spend, b"\x07" * 16)
        self.spend(b"\x08" * 16)

    def test_full_disk(self) -> None:
        """A nonce that cannot be written whole is not spent, and those before it stay readable."""
        real = os.write
        self.patch(os, "write", lambda descriptor, data: real(descriptor, data[:5]))
        self.assertRaises(Unavailable, self.spend, b"\x07" * 15 + b"\x01")
        self.patch(os, "write", real)
        self.spend(b"\x07" * 15 + b"\x02")
        self.reopen()
        self.assertRaises(NonceSpent, self.spend, b"\x07" * 16)
        self.assertRaises(NonceSpent, self.spend, b"\x07" * 15 + b"\x02")
        self.spend(b"\x07" * 15 + b"\x01")

    def test_another_boot(self) -> None:
        """After a crash of the machine there is another key, so that no nonce from before is good."""
        self._boot("another")
        self.reopen()
        self.assertNotEqual(self.database.nonce_keys, self.key)
        kept = self.database.nonce_keys
        self.reopen()
        self.assertEqual(self.database.nonce_keys, kept)

    def test_boot_id_that_cannot_be_read(self) -> None:
        """Where the machine's run cannot be told, every start makes a new key."""
        self.patch(nonce_store, "_BOOT_ID", Path(self.mktemp()))
        self.reopen()
        first = self.database.nonce_keys
        self.reopen()
        self.assertNotEqual(self.database.nonce_keys, first)

    def test_damaged(self) -> None:
        """Whatever lies in the place of the key, the server starts, and takes no nonce from before."""
        for content in (b"", b"no key", b"\xff" * 5000, bytes(4096)):
            self.result(self.database.close())
            key = self.database.nonce_keys
            (self.nonces / "epoch").write_bytes(content)
            self.database = SqliteDatabase(self.path)
            self.assertNotEqual(self.database.nonce_keys, key)
            self.spend(b"\x07" * 16)

    def test_torn_end(self) -> None:
        """A nonce that a kill left half written was not answered, and those before it stay spent."""
        (file,) = self.nonces.glob("minute-*")
        with file.open("ab") as end:
            end.write(b"\x07" * 5)
        self.reopen()
        self.assertRaises(NonceSpent, self.spend, b"\x07" * 16)
        later = b"\x07" * 6 + b"\x08" * 10
        self.spend(later)
        self.reopen()
        self.assertRaises(NonceSpent, self.spend, later)

    def test_for_the_server_alone(self) -> None:
        """Nobody else reads the key under which nonces are minted."""
        modes = [each.stat().st_mode & 0o077 for each in (self.nonces, *self.nonces.iterdir())]
        self.assertEqual(set(modes), {0})

    def _boot(self, name: str) -> None:
        other = Path(self.mktemp())
        other.write_text(f"{name}\n")
        self.patch(nonce_store, "_BOOT_ID", other)

    def test_spending_writes_nothing_to_the_main_file(self) -> None:
        """Nonces never make the main file grow or wait for the disk."""
        before = self.path.stat().st_size
        for number in range(300):
            self.spend(number.to_bytes(16, "big"))
        self.assertEqual(self.path.stat().st_size, before)


_SEARCHES: dict[str, Query[Any]] = {
    "profile": profiles.by_id("x"),
    "account": accounts.by_id("x", "y"),
    "account by key": accounts.by_thumbprint("x", "y"),
    "signer": accounts.signer_by_id("x", "y"),
    "signer by key": accounts.signer_by_thumbprint("x", "y"),
    "order": orders.by_id("x"),
    "orders list": orders.of_account("x", "", 100),
    "hanging on": orders.hanging_on("x"),
    "expired orders": orders.expired(NOW, 500),
    "authorization": authorizations.by_id("x"),
    "challenge": authorizations.by_challenge("x"),
    "expired authorizations": authorizations.expired(NOW, 500),
    "processing": authorizations.processing(NOW),
    "proofs": authorizations.valid_for("x", NOW),
    "reusable": authorizations.reusable("x", [dns_name("a.example")], NOW),
    "methods": authorizations.methods("x"),
    "failures": failures.many("x", [dns_name("a.example")], 1, NOW),
    "orders that ended": retention.invalid_orders(NOW, 5),
    "certificates by page": retention.certificates_after("x", 5),
    "authorizations by page": retention.loose_authorizations_after("x", NOW, 5),
    "authorizations of orders": retention.authorizations_of(["x", "y"]),
    "certificate": certificates.by_id("x"),
    "certificate by serial": certificates.by_serial("x"),
}
_CHANGES = {
    "make valid": orders.make_valid("x", "y", NOW),
    "make ready": orders.make_ready("x", NOW),
    "cancel all": orders.cancel_all("x", {}, NOW),
    "expire": orders.expire(["x", "y"], {}, NOW),
    "deactivate all": authorizations.deactivate_all("x", NOW),
    "process": authorizations.process("x", NOW),
    "revoke": certificates.revoke("x", 0, NOW),
    "delete ties": retention.delete_orders(["x", "y"])[0],
    "delete orders": retention.delete_orders(["x", "y"])[1],
    "delete authorizations": [*retention.delete_authorizations(["x", "y"])][1],
    "roll key": accounts.roll_key(ACCOUNT, "{}", "x", NOW),
}


class PlanTests(FileCase):
    def test_every_hot_statement_uses_an_index(self) -> None:
        """No query of a request, and none of the sweeper, walks over a whole table."""
        connection = connect(self.path)
        self.addCleanup(connection.close)
        asked: dict[str, Query[Any] | Statement] = {**_SEARCHES, **_CHANGES}
        for name, each in asked.items():
            plan = connection.execute(f"EXPLAIN QUERY PLAN {each.sql}", each.parameters).fetchall()
            steps = [row[3] for row in plan]
            scans = [step for step in steps if re.match(r"SCAN (?!acme_challenges USING INDEX)", step)]
            self.assertEqual(scans, [], name)


def _reactor() -> Any:
    from twisted.internet import reactor

    return reactor


class ServingTests(TestCase):
    """With a reactor: the wait for the disk is in a thread, and what gathers meanwhile is one transaction."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = directory / "certctl.sqlite"
        self.reactor = _reactor()
        self.database = SqliteDatabase(self.path, self.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.database.close()))

    def write(self, *statements: Statement) -> Deferred[None]:
        """Begin a change."""
        return Deferred.fromCoroutine(self.database.write(*statements))

    async def actions(self) -> list[str]:
        """Return the audit's actions."""
        query = Query(
            "SELECT action FROM audit_events ORDER BY id", (), lambda rows: [row[0] for row in rows]
        )
        return await self.database.read(query)

    async def test_group_commit(self) -> None:
        """Many changes at once are far fewer transactions, all are made, and in their order."""
        commits = []
        self.database._writing.set_trace_callback(
            lambda sql: commits.append(sql) if sql == "COMMIT" else None
        )
        self.addCleanup(self.database._writing.set_trace_callback, None)
        await gatherResults([self.write(entry(f"{number:03}")) for number in range(250)])
        self.assertEqual(await self.actions(), [f"{number:03}" for number in range(250)])
        self.assertLess(len(commits), 10)

    async def test_company_is_waited_for(self) -> None:
        """Where several changes came together the next ones wait a little; one that is alone does not."""
        waits: list[float] = []
        later = self.reactor.callLater

        def noting(seconds: float, *args: Any) -> Any:
            waits.append(seconds)
            return later(seconds, *args)

        self.patch(self.reactor, "callLater", noting)
        for number in (1, 1, 2, 1, 1):
            await gatherResults([self.write(entry("one")) for _ in range(number)])
        self.assertEqual([each for each in waits if each < 1], [0, 0, 0, sqlite.GATHER, 0])

    async def test_nobody_is_told_before_it_is_durable(self) -> None:
        """A change is not reported, and not seen by readers, in the turn of the reactor that asked for it."""
        change = self.write(entry("one"))
        self.assertFalse(change.called)
        self.assertEqual(await self.actions(), [])
        await change
        self.assertEqual(await self.actions(), ["one"])

    async def test_conflict_in_a_batch(self) -> None:
        """In one transaction the change that fails is undone, and the others are made."""
        changes = [
            self.write(entry(f"{number}"), *([contract.NOBODY] if number % 3 == 0 else []))
            for number in range(10)
        ]
        for number, change in enumerate(changes):
            if number % 3 == 0:
                await self.assertFailure(change, Conflict)
            else:
                await change
        self.assertEqual(await self.actions(), ["1", "2", "4", "5", "7", "8"])

    async def test_close_finishes_what_was_begun(self) -> None:
        """What was asked for before the end is made, and told."""
        changes = [self.write(entry(f"{number}")) for number in range(5)]
        await self.database.close()
        await gatherResults(changes)
        self.database = SqliteDatabase(self.path, self.reactor)
        self.assertEqual(len(await self.actions()), 5)

    def test_second_server(self) -> None:
        """A file is one server's; the second is told so, and what it must set."""
        error = self.assertRaises(DatabaseInUse, SqliteDatabase, self.path, self.reactor)
        self.assertIn("CERTCTL_STATE_DIR", str(error))

    async def test_lock_ends_with_the_server(self) -> None:
        """When a server has stopped the next may start, and no thread of the first is left."""
        await self.database.close()
        self.assertNotIn("certctl-sqlite", [each.name for each in threading.enumerate()])
        self.database = SqliteDatabase(self.path, self.reactor)
        await self.write(entry("again"))

    async def test_patience(self) -> None:
        """While another program holds the file reads go on, and changes wait without stopping anything else."""
        holder = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(holder.close)
        holder.execute("BEGIN IMMEDIATE")
        changes = [self.write(entry("one")), self.write(entry("two"))]
        began = self.reactor.seconds()
        await deferLater(self.reactor, 0.2)
        self.assertLess(self.reactor.seconds() - began, 0.4)
        self.assertEqual(await self.actions(), [])
        self.assertEqual([each.called for each in changes], [False, False])
        holder.execute("ROLLBACK")
        await gatherResults(changes)
        self.assertEqual(await self.actions(), ["one", "two"])

    async def test_refused_commit(self) -> None:
        """When the file is held by somebody else for too long, the change is Unavailable, and later ones are made."""
        self.patch(sqlite, "PATIENCE", 0.1)
        self.database._patience = 0.1
        holder = sqlite3.connect(self.path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        await self.assertFailure(self.write(entry("one")), Unavailable)
        holder.execute("ROLLBACK")
        holder.close()
        await self.write(entry("two"))
        self.assertEqual(await self.actions(), ["two"])
        gc.collect()
