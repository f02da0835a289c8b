"""``certctl storage copy`` and ``certctl migrate``: from one SQLite file to a PostgreSQL for many servers."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from psycopg2.errors import InsufficientPrivilege
from twisted.trial.unittest import SynchronousTestCase

from certctl.storage import audit, authorizations, copying, orders
from certctl.storage.copying import Refused
from certctl.storage.database import Query, Statement
from certctl.storage.sqlite import SqliteDatabase
from tests.integration.acme import Session
from tests.integration.postgres import TEMPLATE, shared
from tests.integration.server import CHECKOUT, RunningServer, environment, run
from tests.integration.test_cli import CERTCTL, CommandCase
from tests.unit.storage import contract
from tests.unit.storage.contract import ACCOUNT, NOW
from tests.unit.storage.contract_orders import ERROR, authorization, order

_numbers = itertools.count(1)
DOCUMENTED = re.compile(r"GRANT USAGE ON SCHEMA public TO certctl_server;.*?(?=```)", re.DOTALL)
ODD = ("tab\t, line\n\r, \\, \\N, \\., \u00fc, \U0001f600, ' \" ; --", "\\", "")


def rows(name: str) -> dict[str, int]:
    """How many rows each table of a PostgreSQL database has."""
    tables = shared().sql("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200", name)
    return {table: shared().sql(f"SELECT count(*) FROM {table}", name)[0][0] for (table,) in tables}


class RowTests(contract.DatabaseCase, SynchronousTestCase):
    """What is copied is what was there."""

    def make_database(self) -> SqliteDatabase:
        self.path = Path(self.mktemp()).absolute()
        self.path.mkdir()
        self.path = self.path / "certctl.sqlite"
        return SqliteDatabase(self.path)

    def setUp(self) -> None:
        super().setUp()
        self.name = f"copy_{next(_numbers)}"
        self.target = shared().database(self.name, TEMPLATE)

    def copy(self) -> dict[str, copying.Copied]:
        """Copy, and return what was, by table."""
        with copying.copied(self.path, self.target, lambda what, rows: None) as (done, _):
            pass
        return {each.table.name: each for each in done}

    def event(self, text: str) -> Statement:
        """An event with a text wherever there can be one."""
        return audit.insert(
            created_at=NOW,
            actor=text,
            action=text,
            resource_type="x",
            resource_id="x",
            details={"text": text, "n": [1, 2.5, None, True]},
        )

    def test_values(self) -> None:
        """Whatever is in a text, in JSON, in octets and in times arrives as it was, nothing included."""
        held = authorization()
        self.write(*authorizations.insert(held), *orders.insert(order(held)))
        self.write(orders.make_invalid("acme-ord-1", ERROR, NOW))
        self.write(*(self.event(each) for each in ODD))
        blob = bytes(range(256))
        self.write(Statement("UPDATE issuers SET chain = ?", (blob,)))
        done = self.copy()
        self.assertEqual(done["audit_events"].rows, 3)
        found = shared().sql("SELECT actor, action, details FROM audit_events ORDER BY id", self.name)
        self.assertEqual([each[:2] for each in found], [(each, each) for each in ODD])
        self.assertEqual(found[0][2], {"text": ODD[0], "n": [1, 2.5, None, True]})
        self.assertEqual(bytes(shared().sql("SELECT chain FROM issuers", self.name)[0][0]), blob)
        ((created, terms, contact),) = shared().sql(
            "SELECT created_at, terms_agreed, contact FROM acme_accounts", self.name
        )
        self.assertEqual((created, terms, contact), (NOW, True, list(ACCOUNT.contact)))
        self.assertEqual(
            shared().sql("SELECT error, not_before FROM acme_orders", self.name), [(ERROR, None)]
        )

    def test_ids_go_on(self) -> None:
        """The database counts events on from the last one that was copied."""
        self.write(*(self.event(str(number)) for number in range(7)))
        self.copy()
        shared().sql(
            "INSERT INTO audit_events (created_at, actor, action, resource_type, resource_id, details)"
            " VALUES (now(), '', '', '', '', '{}')",
            self.name,
        )
        self.assertEqual(shared().sql("SELECT max(id), count(*) FROM audit_events", self.name), [(8, 8)])

    def test_what_postgresql_cannot_keep(self) -> None:
        """Characters that PostgreSQL keeps nowhere are replaced, and the rows are counted; new ones never come in."""
        self.write(self.event("good"))
        with closing(sqlite3.connect(self.path)) as raw, raw:
            raw.execute("DROP TRIGGER audit_events_no_update")
            bad = json.dumps({"a": "\0", "\ud800": "\\u0000 is no NUL, \U0001f600"})
            raw.execute("UPDATE audit_events SET details = ?, actor = ?", (bad, "a\0b"))
        done = self.copy()
        self.assertEqual(done["audit_events"].replaced, 1)
        ((actor, details),) = shared().sql("SELECT actor, details FROM audit_events", self.name)
        self.assertEqual(actor, "a\ufffdb")
        self.assertEqual(details, {"a": "\ufffd", "\ufffd": "\\u0000 is no NUL, \U0001f600"})
        self.write(contract.entry("odd", text="\0\ud800"))
        found = self.rows("SELECT details FROM audit_events WHERE action = 'odd'")
        self.assertEqual(found, [({"text": "\ufffd\ufffd"},)])

    def test_batches(self) -> None:
        """More rows than are copied at once arrive, in whatever number."""
        self.patch(copying, "AT_ONCE", 10)
        for count in (10, 20, 25):
            self.write(*(self.event(str(number)) for number in range(count - self.count("audit_events"))))
            self.name = f"copy_{next(_numbers)}"
            self.target = shared().database(self.name, TEMPLATE)
            self.assertEqual(self.copy()["audit_events"].rows, count)
            self.assertEqual(rows(self.name)["audit_events"], count)

    def test_difference(self) -> None:
        """A row that is not read back as it was stops everything, and nothing of it stays."""
        self.write(self.event("x"))
        real = copying._field
        self.patch(copying, "_field", lambda value: real("y" if value == "x" else value))
        error = self.assertRaises(Refused, self.copy)
        self.assertIn("audit_events differs at [1]", str(error))
        self.assertEqual(
            rows(self.name), {**dict.fromkeys(rows(self.name), 0), "schema_migrations": 7 + self.more()}
        )

    def more(self) -> int:
        """Migrations that there are beyond the seventh."""
        return self.count("schema_migrations") - 7

    def test_lost_row(self) -> None:
        """A row that is not there when it is read back stops everything too."""
        self.write(self.event("x"), self.event("y"))
        real = copying._copy

        def losing(here: Any, cursor: Any, table: Any, tell: Any) -> Any:
            done = real(here, cursor, table, tell)
            if table.name == "acme_accounts":
                cursor.execute("DELETE FROM acme_accounts")
            return done

        self.patch(copying, "_copy", losing)
        self.assertIn("acme_accounts differs", str(self.assertRaises(Refused, self.copy)))

    def test_not_empty(self) -> None:
        """A database in which there is anything is left alone."""
        shared().sql("INSERT INTO rate_limits VALUES ('x', 1)", self.name)
        self.assertIn("not empty (rate_limits has rows)", str(self.assertRaises(Refused, self.copy)))
        self.assertEqual(rows(self.name)["issuers"], 0)

    def test_other_schema(self) -> None:
        """Databases of different versions are left alone."""
        shared().sql("INSERT INTO schema_migrations VALUES (9999, 'future', 1, NULL)", self.name)
        self.assertIn("certctl migrate", str(self.assertRaises(Refused, self.copy)))

    def test_every_table(self) -> None:
        """No table is forgotten but those of which each database has its own, and what refers comes later."""
        order = list(self.copy())
        self.assertEqual(set(order), set(rows(self.name)) - set(copying.OWN))
        references = self.read(
            Query(
                'SELECT m.name, f."table" FROM sqlite_master m, pragma_foreign_key_list(m.name) f'
                " WHERE m.type = 'table'",
                (),
                list,
            )
        )
        for one, other in references:
            self.assertLessEqual(order.index(other), order.index(one))


class CommandTests(CommandCase):
    """The procedure of docs/database.md, on a real server."""

    def setUp(self) -> None:
        self.name = f"copied_{next(_numbers)}"
        self.url = shared().database(self.name)

    def copied(self, server: RunningServer, *arguments: str, status: int = 0) -> str:
        """Run the command with PostgreSQL in the settings."""
        more = {"CERTCTL_DATABASE_URL": self.url}
        return self.on_host(server, "storage", "copy", *arguments, status=status, **more)

    def test_the_whole_way(self) -> None:
        """Accounts, certificates, revocations, keys and the trail go on where they were."""
        server = self.served()
        session = Session(server)
        session.register()
        first = session.certificate("a.internal")
        second = session.certificate("b.internal")
        open_order = session.order("c.internal")
        session.post("new-order", {"identifiers": [{"type": "dns", "value": "d.internal"}]})
        self.assertEqual(
            session.send("new-order", {"identifiers": [{"type": "dns", "value": "\0"}]}).status, 400
        )
        (path,) = server.directory.joinpath("state").glob("certctl.sqlite")
        ((_,), (second_id,)) = server.rows("SELECT id FROM certificate_versions ORDER BY id")
        self.on_host(server, "cert", "revoke", second_id, "--yes")
        self.on_host(server, "eab", "create", "prof-default", "x")
        self.assertIn("The server runs", self.copied(server, status=6))
        session.close()
        server.stop()
        said = json.loads(self.copied(server, "--json"))
        self.assertEqual(said["audit"]["intact"], True)
        self.assertGreater(said["audit"]["events"], 8)
        copied = {each["table"]: each["rows"] for each in said["tables"]}
        with closing(sqlite3.connect(path)) as before:
            for table, count in copied.items():
                self.assertEqual(before.execute(f"SELECT count(*) FROM {table}").fetchone(), (count,))
        self.assertEqual(rows(self.name).keys() - copied.keys(), set(copying.OWN))
        self.assertIn("not empty", self.copied(server, status=6))

        server.settings["CERTCTL_DATABASE_URL"] = self.url
        server.start()
        self.assertIn("intact", self.on_host(server, "audit", "verify"))
        refused = session.send(open_order.location, None)  # with a nonce from before
        self.assertEqual(refused.error, "badNonce")
        for url in (open_order.location, session.kid or ""):
            self.assertEqual(session.post(url, None).status, 200)
        self.assertEqual(session.finalize(open_order.json["finalize"], "c.internal").json["status"], "valid")
        self.assertNotIn(session.certificate("e.internal"), (first, second))
        self.assertIn("revoked", self.on_host(server, "cert", "show", second_id))
        self.assertIn("b.internal", self.on_host(server, "cert", "list"))
        session.close()
        server.stop()
        self.assertIn("intact", self.on_host(server, "audit", "verify"))

    def test_killed(self) -> None:
        """A command that is killed in the middle leaves an empty database, and the next one succeeds."""
        server = self.served()
        server.stop()
        path = server.state / "certctl.sqlite"
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
                " INSERT INTO rate_limits SELECT 'x' || i, i FROM n"
            )
        command = [str(CERTCTL), "storage", "copy"]
        settings = environment({**server.settings, "CERTCTL_DATABASE_URL": self.url})
        with subprocess.Popen(command, env=settings, cwd=server.directory) as process:
            deadline = time.monotonic() + 60
            under_way = f"datname = '{self.name}' AND query LIKE 'COPY rate_limits%'"
            while shared().sql(f"SELECT count(*) FROM pg_stat_activity WHERE {under_way}") == [(0,)]:
                self.assertIsNone(process.poll())
                self.assertLess(time.monotonic(), deadline)
            process.kill()
        self.assertEqual({count for name, count in rows(self.name).items() if name not in copying.OWN}, {0})
        self.assertIn("are the same", self.copied(server))
        self.assertEqual(rows(self.name)["rate_limits"], 100_000)

    def test_refusals(self) -> None:
        """What cannot be copied is refused with a sentence that says what to do."""
        server = self.served()
        self.assertIn("Where to?", self.on_host(server, "storage", "copy", status=2))
        self.assertIn("begins with postgresql://", self.copied(server, "--to", "mysql://x/y", status=2))
        server.stop()
        shared().sql("CREATE TABLE theirs (x INTEGER)", self.name)
        self.assertIn("not certctl's (theirs)", self.copied(server, status=6))
        shared().sql("DROP TABLE theirs", self.name)
        nowhere = f"postgresql://nobody@127.0.0.1:{server.port}/x"
        self.assertIn("cannot be read", self.copied(server, "--to", nowhere, status=2))
        with closing(sqlite3.connect(server.state / "certctl.sqlite")) as raw, raw:
            raw.execute("DELETE FROM schema_migrations WHERE version > 6")
        self.assertIn("certctl migrate first", self.copied(server, status=6))
        (server.state / "certctl.sqlite").unlink()
        self.assertIn("There is no SQLite database", self.copied(server, status=5))


class MigrateTests(CommandCase):
    def migrate(self, url: str, *arguments: str, status: int = 0) -> str:
        """Run the command on a database."""
        ran = run(CERTCTL, "migrate", *arguments, env={"CERTCTL_DATABASE_URL": url}, cwd=self.directory)
        return self.checked(ran, status)

    def setUp(self) -> None:
        self.directory = self.path()

    def test_postgres(self) -> None:
        """An empty database gets the schema; what would run is shown before, and nothing of it runs."""
        name = f"migrated_{next(_numbers)}"
        url = shared().database(name)
        shown = self.migrate(url, "--dry-run")
        for part in ("-- 0001 acme", "CREATE TABLE acme_orders", "LANGUAGE plpgsql", "AS IDENTITY"):
            self.assertIn(part, shown)
        self.assertEqual(rows(name), {})
        planned = json.loads(self.migrate(url, "--dry-run", "--json"))
        self.assertEqual((planned["version"], planned["migrations"][0]["name"]), (0, "acme"))
        self.assertIn("0001 acme", self.migrate(url))
        self.assertIn("Nothing to do", self.migrate(url))
        self.assertIn("Nothing to do", self.migrate(url, "--dry-run"))
        self.assertEqual(rows(name)["acme_orders"], 0)

    def test_what_is_shown_is_what_runs(self) -> None:
        """The SQL of a dry run, run by hand on an empty database, makes what the command makes."""
        made, by_hand = (f"migrated_{next(_numbers)}" for _ in range(2))
        url = shared().database(made)
        script = self.migrate(url, "--dry-run")
        shared().database(by_hand)
        shared().sql(script, by_hand)
        self.migrate(url)
        columns = (
            "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name NOT IN ('schema_migrations', 'acme_nonces') ORDER BY 1, 2"
        )
        self.assertEqual(shared().sql(columns, by_hand), shared().sql(columns, made))

    def test_sqlite(self) -> None:
        """A file gets what it lacks, unless a server runs on it; one that is not there is not made."""
        url = f"sqlite:///{self.directory}/x.sqlite"
        self.assertIn("There is no database", self.migrate(url, status=5))
        path = self.directory / "x.sqlite"
        sqlite3.connect(path).close()
        self.assertIn("audit_events_no_replace", self.migrate(url, "--dry-run"))
        server = self.served()
        running = f"sqlite:///{server.state}/certctl.sqlite"
        self.assertIn("Nothing to do", self.migrate(running))
        self.assertIn("0001 acme", self.migrate(url))
        with closing(sqlite3.connect(path)) as raw:
            self.assertEqual(raw.execute("SELECT count(*) FROM acme_orders").fetchone(), (0,))

    def test_too_new(self) -> None:
        """A database that newer code has changed is left alone where that code says so, and worked with else."""
        name = f"migrated_{next(_numbers)}"
        url = shared().database(name)
        self.migrate(url)
        shared().sql("INSERT INTO schema_migrations VALUES (9998, 'future', 1, NULL)", name)
        self.assertIn("newer than this certctl", self.migrate(url))
        shared().sql("INSERT INTO schema_migrations VALUES (9999, 'future', 9999, NULL)", name)
        said = self.migrate(url, status=6)
        self.assertIn("start the newer certctl", said)

    def test_role_that_cannot_change_the_schema(self) -> None:
        """A server works under a role that has no more rights than docs/database.md gives it."""
        name = f"migrated_{next(_numbers)}"
        url = shared().database(name)
        self.migrate(url)
        shared().sql("DROP ROLE IF EXISTS certctl_server; CREATE ROLE certctl_server LOGIN", name)
        grants = DOCUMENTED.search((CHECKOUT / "docs/database.md").read_text())
        assert grants is not None
        shared().sql(grants[0], name)
        server = self.served(CERTCTL_DATABASE_URL=url.replace("postgres@", "certctl_server@"))
        session = Session(server)
        session.register()
        session.certificate("a.internal")
        session.close()
        server.stop()
        for table in ("audit_events", "audit_batches", "audit_checkpoints"):
            sql = f"SET ROLE certctl_server; DELETE FROM {table}"
            self.assertRaises(InsufficientPrivilege, shared().sql, sql, name)

    def test_no_right(self) -> None:
        """Whoever may not change the schema is told so."""
        name = f"migrated_{next(_numbers)}"
        url = shared().database(name)
        shared().sql(f"CREATE ROLE {name} LOGIN", name)
        said = self.migrate(url.replace("postgres@", f"{name}@"), status=1)
        self.assertIn("permission denied for schema public", said)
        self.assertEqual(rows(name), {})
