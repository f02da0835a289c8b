"""What operators search by, on the embedded engine."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from certctl.storage.migrations import migrations
from certctl.storage.sqlite import connect, migrate
from tests.unit.storage import contract_search
from tests.unit.storage.test_sqlite import InMemory


class SearchTests(InMemory, contract_search.SearchContract, SynchronousTestCase):
    pass


class NamesOfBeforeTests(SynchronousTestCase):
    def test_names_of_before(self) -> None:
        """Certificates that were issued before there was a search are found by their names, too."""
        connection = connect(Path(":memory:"))
        self.addCleanup(connection.close)
        migrate(connection)
        search = next(each for each in migrations() if each.name == "search")
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(
            "INSERT INTO managed_certificates VALUES ('mc-1', 'p', 'a', ?, 'cv-1', '2026', '2026', '2026')",
            ('[{"type":"dns","value":"a.example"},{"type":"ip","value":"192.0.2.1"}]',),
        )
        connection.execute(search.own["sqlite"])
        found = connection.execute(
            "SELECT reversed_name FROM managed_certificate_names ORDER BY 1"
        ).fetchall()
        self.assertEqual(found, [(b"1.2.0.291",), (b"elpmaxe.a",)])
