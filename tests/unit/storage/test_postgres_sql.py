"""Which statements are prepared for PostgreSQL, and which of a change become one command."""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from certctl.acme import ids
from certctl.acme.identifiers import Identifier, IdentifierType
from certctl.acme.objects import Authorization, Challenge, ChallengeType, Status
from certctl.storage import authorizations, failures, orders
from certctl.storage.database import Statement
from certctl.storage.postgres_sql import MOST_PREPARED, NOT_PREPARED, changing, command

NOW = datetime(2026, 11, 25, tzinfo=UTC)
AUDIT = Statement("INSERT INTO audit_events (actor) VALUES (?)", ("x",))
NAME = Identifier(IdentifierType.DNS, "a.internal")


def authorization(types: list[ChallengeType]) -> Authorization:
    """A pending one with such challenges."""
    return Authorization(
        id="acme-authz-1",
        profile_id="prof-default",
        account_id="acme-acc-1",
        identifier=NAME,
        status=Status.PENDING,
        expires_at=NOW,
        created_at=NOW,
        challenges=tuple(
            Challenge(id=ids.new("c", NOW), authorization_id="a", type=each, token="t", status=Status.PENDING)
            for each in types
        ),
    )


class PreparedTests(SynchronousTestCase):
    def test_prepared(self) -> None:
        """A text is prepared under a name of its own; unless it is not to be, or has many parameters."""
        sql = "SELECT 'a?%' FROM t WHERE x = ?"
        self.assertTrue(command(sql).prepare.endswith(" AS SELECT 'a?%%' FROM t WHERE x = $1"))
        for most, text in ((NOT_PREPARED, sql), (MOST_PREPARED, sql + " OR x = ?" * MOST_PREPARED)):
            found = command(text, most)
            self.assertEqual((found.name, found.prepare), ("", ""))
            self.assertTrue(found.execute.startswith("SELECT 'a?%%' FROM t WHERE x = %s"))


class TogetherTests(SynchronousTestCase):
    def test_what_is_apart_goes_together(self) -> None:
        """An update and the audit row are one command; the parameters follow in the order of the text."""
        ((command, parameters),) = changing([orders.make_valid("o", "c", NOW), AUDIT])
        self.assertEqual(parameters, ["c", NOW, "o", "x", 1])
        self.assertIn("changed_1 AS (INSERT INTO audit_events", command.prepare)
        self.assertTrue(command.prepare.endswith("SELECT certctl_require((SELECT count(*) FROM changed_0),"
                                                 " CAST($5 AS BIGINT))"))  # fmt: skip

    def test_values_given_once(self) -> None:
        """A value that stands in several places is given once; another that is equal has a place of its own."""
        twice = Statement("INSERT INTO t (a, b, c) VALUES (?, ?, ?)", ("o", NOW, "o"))
        ((command, parameters),) = changing([twice])
        self.assertTrue(command.prepare.endswith("VALUES ($1, $2, $1)"), command.prepare)
        self.assertEqual((command.execute.count("%s"), parameters), (2, ["o", NOW]))
        equal = NOW.replace()
        ((other, parameters),) = changing([twice._replace(parameters=(NOW, equal, "o"))])
        self.assertTrue(other.prepare.endswith("VALUES ($1, $2, $3)"), other.prepare)
        self.assertEqual(parameters, [NOW, equal, "o"])
        ((again, _),) = changing([twice._replace(parameters=("p", NOW, "q"))])
        self.assertIs(again, other)

    def test_nothing_to_count(self) -> None:
        """Where no rows are counted, nothing is asked for."""
        ((command, _),) = changing([failures.forget("a", NAME), AUDIT])
        self.assertTrue(command.prepare.endswith(" SELECT "), command.prepare)

    def test_order_is_kept_where_it_means_something(self) -> None:
        """What becomes of an order is looked at after its authorization was changed, and by a command of its own."""
        challenge = authorization([ChallengeType.HTTP01]).challenges[0]
        proved = authorizations.prove(challenge, NOW, NOW)
        commands = changing([*proved, orders.touch("o", NOW), orders.make_ready("o", NOW), AUDIT])
        self.assertEqual(len(commands), 2)
        self.assertIn("UPDATE acme_challenges", commands[0][0].prepare)
        self.assertIn("SET updated_at", commands[0][0].prepare)
        self.assertIn("SET status = 'ready'", commands[1][0].prepare)
        self.assertIn("INSERT INTO audit_events", commands[1][0].prepare)

    def test_same_table_twice(self) -> None:
        """Two statements about one table are two commands, as a row must not be changed twice by one."""
        self.assertEqual(len(changing([orders.touch("o", NOW), orders.make_valid("o", "c", NOW)])), 2)

    def test_two_names(self) -> None:
        """Each authorization goes with its challenges, so that the texts are few, however many names there are."""
        added = [*authorizations.insert(authorization(list(ChallengeType)))] * 3
        self.assertEqual(len({command.name for command, _ in changing(added)}), 1)

    def test_long_ones_stay_alone(self) -> None:
        """A statement that lists many ids is not prepared, and so is with no other."""
        commands = changing([authorizations.expire(["a"] * 100, NOW), AUDIT])
        self.assertEqual([bool(command.name) for command, _ in commands], [False, True])
