"""The audit trail of a real server, tampered with in the database behind its back: the auditor's command says how."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sqlite3
import sys
import time
from contextlib import closing
from typing import Any

import psycopg2

from tests.integration.acme import Session
from tests.integration.postgres import PostgresServer, shared
from tests.integration.server import CHECKOUT, Ran, RunningServer, ServerTestCase, run

SOON = 20.0  # seconds
QUICK = {"CERTCTL_AUDIT_CHAIN_INTERVAL": "200ms", "CERTCTL_AUDIT_CHECKPOINT_INTERVAL": "1s"}
COLUMNS = "created_at, actor, action, resource_type, resource_id, details"
_numbers = itertools.count(1)


class TrailCase(ServerTestCase):
    """A server that made some changes, was killed, and made some more."""

    overriding = ""
    drop = "DROP TRIGGER {table}_no_update; DROP TRIGGER {table}_no_delete; DROP TRIGGER IF EXISTS {table}_no_replace"

    def begin(self, settings: dict[str, str]) -> None:
        """Start it and have it make changes."""
        self.server = RunningServer(self.path(), {**QUICK, **settings})
        self.addCleanup(self.server.end)
        self.server.start()
        self.work(3)
        self.server.kill()
        self.server.start()
        self.work(2)
        self.wait()

    def work(self, certificates: int) -> None:
        """Have certificates issued."""
        session = Session(self.server)
        session.register()
        for number in range(certificates):
            session.certificate(f"{number}.internal")
        session.close()

    def sql(self, script: str) -> None:
        """Run statements in the database, beside the server."""
        raise NotImplementedError

    def value(self, query: str) -> Any:
        """What a query finds."""
        raise NotImplementedError

    def audit(self, *arguments: str) -> Ran:
        """Run ``certctl audit``."""
        return run(sys.executable, "-m", "certctl", "audit", *arguments, env=self.server.settings)

    def wait(self) -> None:
        """Return when all events are in batches, and the last is signed."""
        deadline = time.monotonic() + SOON
        signed = "SELECT max(last_event_id) FROM audit_checkpoints"
        while self.value("SELECT max(id) FROM audit_events") != self.value(signed):
            self.assertLess(time.monotonic(), deadline, self.server.log)
            time.sleep(0.1)

    def disarm(self) -> None:
        """Do what whoever owns the database can: take the triggers away. Keep a copy."""
        for table in ("audit_events", "audit_batches", "audit_checkpoints"):
            self.sql(self.drop.format(table=table))
            self.sql(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")

    def restore(self) -> None:
        """Put back what was there, in one transaction: the server would chain anew what it finds in no batch."""
        events = f"INSERT INTO audit_events {self.overriding} SELECT * FROM kept_audit_events"
        rest = (
            f"INSERT INTO {table} SELECT * FROM kept_{table}"
            for table in ("audit_batches", "audit_checkpoints")
        )
        gone = (f"DELETE FROM {table}" for table in ("audit_checkpoints", "audit_batches", "audit_events"))
        self.sql("; ".join(("BEGIN", *gone, events, *rest, "COMMIT")))

    def copy(self, place: int, origin: int, actor: str = "actor") -> str:
        """The statement that puts the content of one event under the id of another."""
        columns = COLUMNS.replace("actor", actor)
        return (
            f"INSERT INTO audit_events (id, {COLUMNS}) {self.overriding}"
            f" SELECT {place}, {columns} FROM kept_audit_events WHERE id = {origin};"
        )

    def says(self, *words: str) -> None:
        """Show that the trail was tampered with in these words, and no others; and forget it."""
        ran = self.audit("verify")
        self.assertEqual(ran.status, 1, ran)
        found = [line.strip() for line in ran.output.splitlines() if line.startswith("  ")]
        self.assertEqual(len(found), len(words), ran)
        for line, expected in zip(found, words, strict=True):
            self.assertIn(expected, line)
        self.restore()
        self.intact()

    def intact(self) -> Ran:
        """Show that nothing is wrong."""
        ran = self.audit("verify")
        self.assertEqual(ran.status, 0, ran)
        self.assertIn("is intact", ran.output)
        return ran

    def tampered(self) -> None:
        """All that can be done to a trail, one after the other."""
        last = self.value("SELECT max(id) FROM audit_events")
        self.assertGreater(last, 12)
        self.assertIn(f"as they were: {last};", self.intact().output)
        self.disarm()
        self.sql("UPDATE audit_events SET actor = 'nobody' WHERE id = 7")
        self.says("changed: event 7 is not what it was")
        self.sql("DELETE FROM audit_events WHERE id IN (8, 9)")
        self.says("removed: events 8 to 9 are missing")
        self.sql(f"DELETE FROM audit_events WHERE id IN (5, 10); {self.copy(5, 10)} {self.copy(10, 5)}")
        self.says(
            "in the place of event 5 stands what was event 10",
            "in the place of event 10 stands what was event 5",
        )
        self.sql(self.copy(0, 5, "'nobody'"))
        self.says("inserted: event 0 is in no batch")
        self.restarted()
        self.cut(last)

    def restarted(self) -> None:
        """A server that is killed and started on a trail that was tampered with does not make it good."""
        self.sql("UPDATE audit_events SET action = 'nothing' WHERE id = 3")
        self.server.kill()
        self.server.start()
        self.says("changed: event 3 is not what it was")

    def cut(self, last: int) -> None:
        """Nor is the end of it cut off unnoticed, although all of the database agrees."""
        signed = self.audit("checkpoint").must_succeed().output
        document = json.loads(signed)
        self.assertEqual(document["last_event_id"], last)
        kept = self.path() / "kept-elsewhere.jsonl"
        kept.write_text(signed)
        (self.server.state / "audit-checkpoints.jsonl").unlink()
        batch = document["batch_id"]
        before = self.value(f"SELECT last_event_id FROM audit_batches WHERE id = {batch - 1}")
        self.server.stop()
        self.sql(
            f"DELETE FROM audit_checkpoints WHERE batch_id >= {batch}; DELETE FROM audit_batches WHERE id >= {batch};"
            f" DELETE FROM audit_events WHERE id > {before}"
        )
        self.intact()  # as far as this database knows
        ran = self.audit("verify", "--checkpoints", str(kept))
        self.assertEqual(ran.status, 1, ran)
        self.assertIn(f"the chain ends at batch {batch - 1}; there were events up to {last}", ran.output)

    def exported(self) -> None:
        """The trail can be taken elsewhere, as lines of JSON and as a table."""
        count = self.value("SELECT count(*) FROM audit_events")
        lines = [json.loads(line) for line in self.audit("export").must_succeed().output.splitlines()]
        self.assertEqual([each["id"] for each in lines], list(range(1, count + 1)))
        table = list(csv.DictReader(io.StringIO(self.audit("export", "--format", "csv").output)))
        self.assertEqual(
            [(int(each["id"]), each["actor"], json.loads(each["details"])) for each in table],
            [(each["id"], each["actor"], each["details"]) for each in lines],
        )
        self.assertEqual(self.audit("export", "--since", "2100-01-01").must_succeed().output, "")
        self.assertEqual(len(self.audit("export", "--since", "-1h").output.splitlines()), count)
        self.assertEqual(self.audit("export", "--since", "yesterday").status, 2)

    def signed_now(self) -> None:
        """A checkpoint can be asked for; all of them can be kept elsewhere."""
        made = json.loads(self.audit("checkpoint", "--new").must_succeed().output)
        self.assertEqual(made["batch_id"], self.value("SELECT max(id) FROM audit_batches"))
        every = self.audit("checkpoint", "--all").must_succeed().output
        self.assertEqual(len(every.splitlines()), self.value("SELECT count(*) FROM audit_checkpoints"))
        own = ["--key", made["public_key"]]
        self.assertEqual(self.audit("verify", *own).status, 0)
        (self.server.state / "audit-key.pem").rename(self.server.state / "away")
        ran = self.audit("verify", "--key", "0" * 64)
        self.assertEqual(ran.status, 1, ran)
        self.assertIn("signed by an unknown key", ran.output)
        (self.server.state / "away").rename(self.server.state / "audit-key.pem")
        self.assertEqual(self.audit("verify", "--key", "short").status, 2)


class SqliteTests(TrailCase):
    def setUp(self) -> None:
        self.begin({})

    def sql(self, script: str) -> None:
        with closing(sqlite3.connect(self.server.state / "certctl.sqlite", timeout=SOON)) as connection:
            connection.executescript(script)

    def value(self, query: str) -> Any:
        return self.server.rows(query)[0][0]

    def test_tampered(self) -> None:
        """What was changed, removed, reordered, inserted or cut off is found, the server running or not."""
        self.tampered()

    def test_out(self) -> None:
        """Events and checkpoints can be taken elsewhere."""
        self.exported()
        self.signed_now()

    def test_append_only(self) -> None:
        """Without taking the triggers away nothing can be done to it."""
        for sql in ("UPDATE audit_events SET actor = 'x'", "DELETE FROM audit_events", self.replacing()):
            self.assertRaises(sqlite3.IntegrityError, self.sql, sql)
        self.intact()

    def replacing(self) -> str:
        """SQLite's way round a trigger for DELETE."""
        return "REPLACE INTO audit_events VALUES (3, '2026-05-17', 'x', 'x', 'x', 'x', '{}')"

    def test_no_database(self) -> None:
        """Where there is no trail to read, that is said in a sentence."""
        ran = run(
            sys.executable, "-m", "certctl", "audit", "verify", env={"CERTCTL_STATE_DIR": str(self.path())}
        )
        self.assertEqual(ran.status, 2, ran)
        self.assertIn("The database cannot be read", ran.output)


class PostgresTests(TrailCase):
    overriding = "OVERRIDING SYSTEM VALUE"
    drop = "DROP TRIGGER append_only ON {table}"

    def setUp(self) -> None:
        self.postgres: PostgresServer = shared()
        self.name = f"trail_{next(_numbers)}"
        self.begin({"CERTCTL_DATABASE_URL": self.postgres.database(self.name)})

    def sql(self, script: str) -> None:
        self.postgres.sql(script, self.name)

    def value(self, query: str) -> Any:
        return self.postgres.sql(query, self.name)[0][0]

    def test_tampered(self) -> None:
        """What was changed, removed, reordered, inserted or cut off is found, the server running or not."""
        self.tampered()

    def test_out(self) -> None:
        """Events and checkpoints can be taken elsewhere."""
        self.exported()
        self.signed_now()

    def test_put_away(self) -> None:
        """The owner can put the whole trail away, as docs/database.md has it; a new one begins, and verifies."""
        self.wait()
        last = self.value("SELECT max(id) FROM audit_events")
        old = self.audit("checkpoint", "--all").must_succeed().output
        self.server.stop()
        checkpoints = self.server.state / "audit-checkpoints.jsonl"
        kept = checkpoints.rename(self.server.directory / "kept.jsonl")
        documented = re.search(r"BEGIN;\n.*?COMMIT;", (CHECKOUT / "docs/database.md").read_text(), re.DOTALL)
        assert documented is not None
        self.sql(documented[0])
        self.assertRaises(psycopg2.IntegrityError, self.sql, "TRUNCATE audit_events CASCADE")
        self.server.start()
        session = Session(self.server)
        session.register()
        session.close()
        self.wait()
        self.assertGreater(self.value("SELECT min(id) FROM audit_events"), last)
        self.intact()
        self.assertNotIn(old.splitlines()[-1], self.audit("checkpoint", "--all").output)
        ran = self.audit("verify", "--checkpoints", str(kept))
        self.assertEqual(ran.status, 1, ran)
        self.assertIn("checkpoint of", ran.output)
