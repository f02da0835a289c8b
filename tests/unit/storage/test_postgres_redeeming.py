"""What PostgreSQL is asked for in place of what is kept."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from certctl.storage.database import Query
from certctl.storage.postgres_redeeming import MOST, Kept, identified


def query(id: str) -> Query[str]:
    """One that may be kept."""
    return Query("SELECT a.x FROM t a JOIN u b ON b.y = a.y WHERE a.id = ?", (id,), str, kept=True)


class IdentifiedTests(SynchronousTestCase):
    def test_each_table(self) -> None:
        """The versions of all rows come in front of the columns, or alone."""
        whole, identity, width = identified(query("1").sql)
        versions = "a.xmin AS a_xmin, a.ctid AS a_ctid, b.xmin AS b_xmin, b.ctid AS b_ctid"
        self.assertEqual(whole, f"SELECT {versions}, a.x FROM t a JOIN u b ON b.y = a.y WHERE a.id = ?")
        self.assertEqual(identity, f"SELECT {versions} FROM t a JOIN u b ON b.y = a.y WHERE a.id = ?")
        self.assertEqual(width, 4)


class KeptTests(SynchronousTestCase):
    def test_most(self) -> None:
        """Beyond so many, what was kept first is forgotten."""
        kept = Kept()
        for number in range(MOST + 1):
            kept.keep(query(str(number)), ("1", "(0,1)"), number)
        self.assertIsNone(kept.find(query("0")))
        self.assertEqual(kept.find(query(str(MOST))), (("1", "(0,1)"), MOST))

    def test_used_is_not_first(self) -> None:
        """What is kept again is not the next to be forgotten."""
        kept = Kept()
        for number in (*range(MOST), 0, MOST):
            kept.keep(query(str(number)), ("1", "(0,1)"), number)
        self.assertIsNotNone(kept.find(query("0")))
        self.assertIsNone(kept.find(query("1")))
