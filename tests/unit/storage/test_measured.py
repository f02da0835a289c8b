"""A database seen through a meter is the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from certctl.storage.database import NOTHING, Conflict, Database, Query, Statement, Unavailable
from certctl.storage.measured import MeasuredDatabase
from certctl.storage.sqlite import MEMORY, SqliteDatabase
from tests.unit.storage import contract


class Notes:
    """A meter that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def asked(self, operation: str, seconds: float) -> None:
        """See Meter."""
        assert seconds >= 0
        self.told.append(operation)

    def unavailable(self, operation: str) -> None:
        """See Meter."""
        self.told.append(f"no answer to {operation}")


class Measured:
    """Makes the database that the contract is about."""

    broken_rule: type[Exception] = sqlite3.IntegrityError

    def make_database(self) -> Database:
        """Return an empty database in memory."""
        return MeasuredDatabase(SqliteDatabase(MEMORY), Notes())


class ChangeTests(Measured, contract.ChangeContract, SynchronousTestCase):
    pass


class NonceTests(Measured, contract.NonceContract, SynchronousTestCase):
    pass


class MeterTests(SynchronousTestCase):
    """What the meter is told."""

    def setUp(self) -> None:
        self.meter = Notes()
        self.inner = SqliteDatabase(MEMORY)
        self.database = MeasuredDatabase(self.inner, self.meter)

    def run_(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Return what a coroutine returns."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def test_each_call(self) -> None:
        """Each call is told once, when it has been answered."""
        self.run_(self.database.read(Query("SELECT 1", (), lambda rows: rows)))
        self.run_(self.database.redeem(b"a" * 16, NOTHING, NOTHING))
        self.run_(self.database.write())
        self.assertEqual(self.meter.told, ["read", "redeem", "write"])

    def test_conflict_is_an_answer(self) -> None:
        """Who is told of a conflict was answered."""
        change = Statement("DELETE FROM acme_orders", (), rows=1)
        self.failureResultOf(Deferred.fromCoroutine(self.database.write(change)), Conflict)
        self.assertEqual(self.meter.told, ["write"])

    def test_no_answer(self) -> None:
        """A database that is away is told of as such, and who asked hears of it."""
        self.run_(self.inner.close())
        self.failureResultOf(Deferred.fromCoroutine(self.database.write()), Unavailable)
        self.assertEqual(self.meter.told, ["no answer to write", "write"])

    def test_close(self) -> None:
        """Closing closes the database itself."""
        self.run_(self.database.close())
        self.failureResultOf(Deferred.fromCoroutine(self.inner.write()), Unavailable)
