"""PostgreSQL: the contract of all engines, and what is its own, on a real server."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine
from typing import Any, TypeVar

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

from certctl.storage.database import Database
from certctl.storage.postgres import PostgresDatabase
from tests.integration.postgres import TEMPLATE, Loop, shared
from tests.unit.storage import contract, contract_objects, contract_orders

T = TypeVar("T")
_numbers = itertools.count(1)


class OnPostgres:
    """Makes the database that the contract is about."""

    broken_rule: type[Exception] = psycopg2.IntegrityError
    connections = 4

    def make_database(self) -> Database:
        """Return an empty database of this test's own."""
        self.server, self.loop = shared(), Loop()
        self.name = f"test_{next(_numbers)}"
        self.url = self.server.database(self.name, TEMPLATE)
        return self.another()

    def another(self) -> PostgresDatabase:
        """Return what another process would have of the same database."""
        return self.loop.result(PostgresDatabase.open(self.url, self.loop.reactor, self.connections))

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns, or raise what it raises."""
        return self.loop.result(work)


class ChangeTests(OnPostgres, contract.ChangeContract, SynchronousTestCase):
    pass


class NonceTests(OnPostgres, contract.NonceContract, SynchronousTestCase):
    pass


class ProfileTests(OnPostgres, contract_objects.ProfileContract, SynchronousTestCase):
    pass


class AccountTests(OnPostgres, contract_objects.AccountContract, SynchronousTestCase):
    pass


class CertificateTests(OnPostgres, contract_objects.CertificateContract, SynchronousTestCase):
    pass


class AuditTests(OnPostgres, contract_objects.AuditContract, SynchronousTestCase):
    pass


class OrderTests(OnPostgres, contract_orders.OrderContract, SynchronousTestCase):
    pass


class AuthorizationTests(OnPostgres, contract_orders.AuthorizationContract, SynchronousTestCase):
    pass


class FailureTests(OnPostgres, contract_orders.FailureContract, SynchronousTestCase):
    pass
