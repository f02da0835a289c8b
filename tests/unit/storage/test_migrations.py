"""The rules of docs/database.md for migrations, so that servers of two versions run side by side."""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs
from twisted.trial.unittest import SynchronousTestCase

from certctl.storage.migrations import Migration, migrations

# What code that does not know of it may stumble over.
CONTRACTING = (
    r"DROP\s+(TABLE|COLUMN|CONSTRAINT|TRIGGER|FUNCTION|INDEX)",
    r"RENAME\s",
    r"ALTER\s+(COLUMN\s+)?\w+\s+(SET\s+NOT\s+NULL|TYPE|SET\s+DATA)",
    r"ADD\s+(CONSTRAINT|CHECK|UNIQUE|FOREIGN)",
)
_ADDED = re.compile(r"ADD\s+COLUMN\s+([^;]*)", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*")


def contracting(migration: Migration) -> Iterator[str]:
    """What of a migration is not for older code."""
    text = _COMMENT.sub("", " ".join((migration.sql, *migration.own.values())))
    for pattern in CONTRACTING:
        for found in re.finditer(pattern, text, re.IGNORECASE):
            yield found[0]
    for found in _ADDED.finditer(text):
        column = found[1].upper()
        if "NOT NULL" in column and "DEFAULT" not in column:
            yield found[0]


class RuleTests(SynchronousTestCase):
    def test_expand_only(self) -> None:
        """A migration that takes something away, or asks for more, does not say that older code can live with it."""
        for each in migrations():
            if each.oldest_code < each.version:
                self.assertEqual(list(contracting(each)), [], f"{each.version:04} {each.name}")

    def test_rule_bites(self) -> None:
        """What the rule is about is found, and what is no harm is not."""
        first = migrations()[0]
        for sql, count in (
            ("ALTER TABLE a DROP COLUMN b;", 1),
            ("ALTER TABLE a RENAME TO b;", 1),
            ("ALTER TABLE a ADD COLUMN b TEXT NOT NULL;", 1),
            ("ALTER TABLE a ALTER COLUMN b SET NOT NULL;", 1),
            ("ALTER TABLE a ADD CONSTRAINT c CHECK (b > 0);", 1),
            ("ALTER TABLE a ADD COLUMN b TEXT NOT NULL DEFAULT '';", 0),
            ("ALTER TABLE a ADD COLUMN b TEXT; -- DROP TABLE c", 0),
            ("CREATE TABLE a (b TEXT NOT NULL);", 0),
        ):
            self.assertEqual(len(list(contracting(attrs.evolve(first, sql=sql, own={})))), count, sql)
