"""PostgreSQL: the contract of all engines, and what is its own, on a real server."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine
from contextlib import closing
from typing import Any, TypeVar

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import dns_name
from certctl.storage import (
    accounts,
    audit_chain,
    authorizations,
    certificates,
    failures,
    jobs,
    limits,
    orders,
    retention,
)
from certctl.storage.database import Database, Query
from certctl.storage.postgres import PostgresDatabase
from certctl.storage.postgres_sql import command
from certctl.storage.postgres_wire import hosts
from tests.integration.postgres import TEMPLATE, Loop, shared
from tests.unit.storage import (
    contract,
    contract_audit,
    contract_console,
    contract_eab_keys,
    contract_issuers,
    contract_jobs,
    contract_objects,
    contract_orders,
    contract_renewals,
    contract_retention,
    contract_search,
)

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


class ChainTests(OnPostgres, contract_audit.ChainContract, SynchronousTestCase):
    overriding = "OVERRIDING SYSTEM VALUE"

    def test_truncate(self) -> None:
        """Nor can the tables be emptied, not even in a session that plays the part of a replica."""
        self.events(1)
        replica = "SET session_replication_role = replica"
        for table in contract_audit.TABLES:
            for sql in (f"TRUNCATE {table} CASCADE", f"{replica}; DELETE FROM {table}"):
                self.assertRaises(psycopg2.IntegrityError, self.server.sql, sql, self.name)


class OrderTests(OnPostgres, contract_orders.OrderContract, SynchronousTestCase):
    pass


class AuthorizationTests(OnPostgres, contract_orders.AuthorizationContract, SynchronousTestCase):
    pass


class ConsoleTests(OnPostgres, contract_console.ConsoleContract, SynchronousTestCase):
    """Sessions of the console, and servers."""


class EabKeyTests(OnPostgres, contract_eab_keys.EabKeyContract, SynchronousTestCase):
    """Keys for external account bindings."""


class IssuerTests(OnPostgres, contract_issuers.IssuerContract, SynchronousTestCase):
    """Issuers: requested, installed, planned, retired."""


class JobTests(OnPostgres, contract_jobs.JobContract, SynchronousTestCase):
    """Orders that wait for their issuer."""


class SealingTests(OnPostgres, contract_eab_keys.SealingContract, SynchronousTestCase):
    """Which secret seals them."""


class PlanTests(OnPostgres, contract.DatabaseCase, SynchronousTestCase):
    def test_every_read_uses_an_index(self) -> None:
        """Not even in an empty database is a table read from end to end: such a plan would be kept while it fills."""
        name = dns_name("a.example")
        asked: tuple[Query[Any], ...] = (
            accounts.signer_by_id("x", "y"),
            accounts.signer_by_thumbprint("x", "y"),
            orders.by_id("x"),
            orders.hanging_on("x"),
            orders.of_account("x", "", 5),
            orders.expired(contract.NOW, 5),
            jobs.due(contract.NOW, 5),
            jobs.of_order("x"),
            authorizations.by_id("x"),
            authorizations.by_challenge("x"),
            authorizations.valid_for("x", contract.NOW),
            authorizations.reusable("x", [name], contract.NOW),
            authorizations.methods("x"),
            authorizations.expired(contract.NOW, 5),
            certificates.by_id("x"),
            certificates.by_serial("x"),
            failures.many("x", [name], 1, contract.NOW),
            failures.any_old(contract.NOW),
            limits.any_empty(contract.NOW),
            retention.invalid_orders(contract.NOW, 5),
            retention.certificates_after("x", 5),
            retention.loose_authorizations_after("x", contract.NOW, 5),
            retention.authorizations_of(["x", "y"]),
            audit_chain.batches_since(contract.NOW),
            audit_chain.entries_after(7, 5),
            audit_chain.entries_in([(1, 2)], 5),
            audit_chain.hash_of(1),
            audit_chain.last_batch(),
            audit_chain.checkpoints(1, 5),
            audit_chain.last_checkpoint(),
        )
        with closing(psycopg2.connect(**hosts(self.url)[0])) as connection, connection.cursor() as cursor:
            cursor.execute("SET plan_cache_mode = force_generic_plan")
            for query in asked:
                prepared = command(query.sql)
                cursor.execute(prepared.prepare, ())
                cursor.execute(f"EXPLAIN {prepared.execute}", query.parameters)
                self.assertNotIn("Seq Scan", str(cursor.fetchall()), query.sql)


class FailureTests(OnPostgres, contract_orders.FailureContract, SynchronousTestCase):
    pass


class MassRenewalTests(OnPostgres, contract_renewals.MassRenewalContract, SynchronousTestCase):
    pass


class SearchTests(OnPostgres, contract_search.SearchContract, SynchronousTestCase):
    pass


class RetentionTests(OnPostgres, contract_retention.RetentionContract, SynchronousTestCase):
    """What ended long ago."""

    def references(self) -> list[Any]:
        return self.rows(
            "SELECT CAST(CAST(conrelid AS regclass) AS TEXT), CAST(CAST(confrelid AS regclass) AS TEXT)"
            " FROM pg_constraint WHERE contype = 'f'"
        )
