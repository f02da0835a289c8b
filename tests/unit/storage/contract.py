"""What every engine must do, as mixins: a TestCase that says how a database is made inherits them all."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.nonces import NonceMint
from certctl.acme.objects import Account, Profile
from certctl.storage import accounts, audit, issuers, profiles
from certctl.storage.database import (
    Conflict,
    Database,
    NonceSpent,
    Query,
    Row,
    Statement,
    Unavailable,
    nothing,
)

T = TypeVar("T")
NOW = datetime(2026, 5, 17, 12, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = 86_400  # seconds
PROFILE = Profile(id="prof-test", name="Test", issuer_id="iss-test", max_ttl_seconds=3600)
ACCOUNT = Account(
    id="acme-acc-1",
    profile_id=PROFILE.id,
    thumbprint="thumbprint-1",
    jwk='{"kty":"EC"}',
    contact=("mailto:a@example.org", "mailto:\u00fc@example.org"),
    terms_agreed=True,
    created_at=NOW,
)


class DatabaseCase(SynchronousTestCase if TYPE_CHECKING else object):  # type: ignore[misc]
    """A database with an issuer, a profile and an account; the engine is the subclass's."""

    database: Database
    broken_rule: type[Exception]  # what the engine raises for what the schema forbids

    def make_database(self) -> Database:
        """Return an empty database."""
        raise NotImplementedError

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns, or raise what it raises; an engine may have to wait here."""
        running = Deferred.fromCoroutine(work)
        outcome: list[Any] = []
        _ = running.addBoth(outcome.append)
        assert outcome, "the engine answers later: it needs a result() of its own"
        if hasattr(outcome[0], "raiseException"):
            outcome[0].raiseException()
        found: T = outcome[0]
        return found

    def setUp(self) -> None:
        self.database = self.make_database()
        self.addCleanup(lambda: self.result(self.database.close()))
        self.write(
            issuers.record(PROFILE.issuer_id, [b"issuing", b"above"], None, NOW),
            profiles.insert(PROFILE, NOW),
            accounts.insert(ACCOUNT),
        )

    def read(self, query: Query[T]) -> T:
        """Return what a query finds."""
        return self.result(self.database.read(query))

    def write(self, *statements: Statement) -> None:
        """Make a change."""
        self.result(self.database.write(*statements))

    def conflict(self, *statements: Statement) -> None:
        """Try to make a change that must fail."""
        self.assertRaises(Conflict, self.write, *statements)

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return self.read(Query(f"SELECT count(*) FROM {table}", (), lambda rows: int(rows[0][0])))

    def rows(self, sql: str, *parameters: object) -> list[Row]:
        """Return what a query finds, as it is."""
        return self.read(Query(sql, parameters, lambda rows: rows))


def entry(action: str, **details: Any) -> Statement:
    """Return the statement of an audit row: something to write."""
    return audit.insert(
        created_at=NOW,
        actor="acme:acme-acc-1",
        action=action,
        resource_type="acme_account",
        resource_id="acme-acc-1",
        details=details,
    )


NOBODY = Statement("UPDATE acme_accounts SET status = 'revoked' WHERE id = ?", ("nobody",), rows=1)


class ChangeContract(DatabaseCase):
    def test_all_statements_are_one_change(self) -> None:
        """What is written together is there together."""
        self.write(entry("one"), entry("two", number=2))
        found = self.rows("SELECT action, details FROM audit_events ORDER BY id")
        self.assertEqual(found, [("one", {}), ("two", {"number": 2})])

    def test_a_change_without_statements(self) -> None:
        """Nothing to write is no error."""
        self.write()

    def test_conflict_undoes_the_whole_change(self) -> None:
        """A statement that touches another number of rows than it names undoes all before and after it."""
        self.conflict(entry("before"), NOBODY, entry("after"))
        self.assertEqual(self.count("audit_events"), 0)

    def test_too_many_rows_are_a_conflict(self) -> None:
        """The number of rows is exact."""
        self.write(accounts.insert(attrs.evolve(ACCOUNT, id="acme-acc-2", thumbprint="thumbprint-2")))
        self.conflict(Statement("UPDATE acme_accounts SET status = ?", ("revoked",), rows=1))
        self.assertEqual(self.rows("SELECT DISTINCT status FROM acme_accounts"), [("valid",)])
        self.write(Statement("UPDATE acme_accounts SET status = ?", ("revoked",), rows=2))

    def test_rows_may_be_left_open(self) -> None:
        """A statement that names no number may touch any."""
        self.write(Statement(NOBODY.sql, NOBODY.parameters))

    def test_conflict_undoes_no_other_change(self) -> None:
        """Changes that are made at the same time do not share a fate."""
        outcomes: dict[int, object] = {}  # by the change's number, for they may end in any order
        changes = [
            Deferred.fromCoroutine(self.database.write(entry(name), *extra))
            for name, extra in (
                ("one", ()),
                ("two", (NOBODY,)),
                ("three", ()),
                ("four", (NOBODY,)),
                ("five", ()),
            )
        ]
        for number, change in enumerate(changes):
            _ = change.addBoth(lambda outcome, number: outcomes.update({number: outcome}), number)
        self.result(_all(changes))
        made = self.rows("SELECT action FROM audit_events")
        self.assertCountEqual(made, [("one",), ("three",), ("five",)])
        refused = [getattr(outcomes[number], "type", None) for number in range(5)]
        self.assertEqual(refused, [None, Conflict, None, Conflict, None])

    def test_many_at_once(self) -> None:
        """However many changes come at once, each is made once, or is refused and leaves nothing."""
        changes = [
            Deferred.fromCoroutine(
                self.database.write(entry(str(number)), *((NOBODY,) if number % 30 == 7 else ()))
            )
            for number in range(100)
        ]
        outcomes: dict[int, object] = {}
        for number, change in enumerate(changes):
            _ = change.addBoth(lambda outcome, number: outcomes.update({number: outcome}), number)
        self.result(_all(changes))
        refused = [number for number in range(100) if getattr(outcomes[number], "type", None) is Conflict]
        self.assertEqual(refused, [7, 37, 67, 97])
        made = [int(action) for (action,) in self.rows("SELECT action FROM audit_events")]
        self.assertEqual(sorted(made), [number for number in range(100) if number not in refused])

    def test_broken_rule_undoes_the_whole_change(self) -> None:
        """What the schema forbids is an error, and the change is undone like at a conflict."""
        stray = accounts.insert(attrs.evolve(ACCOUNT, id="x", profile_id="prof-nobody"))
        self.assertRaises(self.broken_rule, self.write, entry("before"), stray)
        self.assertEqual(self.count("audit_events"), 0)
        self.write(entry("after"))
        self.assertEqual(self.count("audit_events"), 1)

    def test_order_of_changes(self) -> None:
        """A change is there for whoever reads after it was made."""
        for number in range(20):
            self.write(entry("one", number=number))
            self.assertEqual(self.count("audit_events"), number + 1)

    def test_nothing_to_read(self) -> None:
        """The query for nothing finds nothing."""
        self.assertIsNone(self.read(nothing()))

    def test_closed(self) -> None:
        """After the end a change is refused, and not lost in silence."""
        self.result(self.database.close())
        self.assertRaises(Unavailable, self.write, entry("late"))
        self.database = self.make_database()


class NonceContract(DatabaseCase):
    def spend(self, nonce: bytes) -> tuple[Profile | None, Account | None]:
        """Redeem a nonce for what a request asks for."""
        asked = profiles.by_id(PROFILE.id), accounts.by_id(PROFILE.id, ACCOUNT.id)
        return self.result(self.database.redeem(nonce, *asked))

    def test_redeem_reads(self) -> None:
        """What the request needs comes with the nonce."""
        self.assertEqual(self.spend(bytes(16)), (PROFILE, ACCOUNT))

    def test_redeem_and_nothing(self) -> None:
        """A request may ask for less."""
        found = self.result(self.database.redeem(bytes(16), nothing(), nothing()))
        self.assertEqual(found, (None, None))

    def test_once(self) -> None:
        """A nonce is spent once, and stays spent."""
        self.spend(bytes(16))
        for _ in range(3):
            self.assertRaises(NonceSpent, self.spend, bytes(16))
        self.spend(b"\x01" * 16)

    def test_forget(self) -> None:
        """What was minted before the floor is forgotten, if not to the second; the rest stays spent."""
        minted = [number * 600_000 for number in range(1, 11)]  # one each ten minutes
        nonces = [each.to_bytes(6, "big") + bytes(10) for each in minted]
        for nonce in nonces:
            self.spend(nonce)
        floor = minted[6].to_bytes(6, "big") + bytes(10)
        self.assertEqual(self.result(self.database.forget_nonces(floor)), 6)
        self.assertEqual(self.result(self.database.forget_nonces(floor)), 0)
        for nonce in nonces[6:]:
            self.assertRaises(NonceSpent, self.spend, nonce)

    def test_key(self) -> None:
        """There is a key of 32 octets to mint nonces under."""
        ((begins, octets),) = self.database.nonce_keys
        self.assertEqual((begins, len(octets)), (0, 32))
        self.assertNotEqual(octets, bytes(32))

    def look_after_keys(self, days: float) -> NonceMint:
        """Look after the keys so long after NOW; return a mint that has them."""
        mint = NonceMint(lambda: self.database.nonce_keys, timedelta(minutes=5))
        now = NOW.timestamp() + days * DAY
        self.result(self.database.look_after_nonce_keys(now, mint.floor(now)))
        return mint

    def test_next_key(self) -> None:
        """A key is made a day or two before nonces are minted under it, once, and is another one."""
        for _ in range(3):
            self.look_after_keys(0)
        first, second = self.database.nonce_keys
        ahead = second.begins / 1000 - NOW.timestamp()
        self.assertTrue(DAY <= ahead <= 2 * DAY, ahead)
        self.assertEqual(len({first.octets, second.octets}), 2)
        self.assertEqual(len(second.octets), 32)

    def test_nonces_outlive_their_key(self) -> None:
        """A nonce that was minted just before the next key is good for its life, and spent once, on every day."""
        for day in range(5):
            self.look_after_keys(day)
            keys = self.database.nonce_keys
            change = (
                next(each.begins for each in keys if each.begins > (NOW.timestamp() + day * DAY) * 1000)
                / 1000
            )
            mint = self.look_after_keys(day)
            before, after = mint.mint(change - 1), mint.mint(change + 1)
            self.look_after_keys((change + 2 - NOW.timestamp()) / DAY)
            for nonce in (before, after):
                spent = mint.redeemable(nonce, change + 3)
                self.spend(spent)
                self.assertRaises(NonceSpent, self.spend, spent)

    def test_old_keys_are_forgotten(self) -> None:
        """However long a server runs, few keys are kept, and each day's is one that was not there before."""
        seen: set[bytes] = set()
        for day in range(8):
            self.look_after_keys(day)
            seen |= {each.octets for each in self.database.nonce_keys}
            self.assertLessEqual(len(self.database.nonce_keys), 4)
        self.assertEqual(len(seen), 9)


async def _all(changes: list[Deferred[Any]]) -> None:
    for change in changes:
        await change
