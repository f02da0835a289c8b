"""What operators search by, on the embedded engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import dns_name
from certctl.storage import accounts
from certctl.storage.database import Query
from certctl.storage.migrations import migrations
from certctl.storage.search import accounts as search_accounts
from certctl.storage.search import audit as search_audit
from certctl.storage.search import authorizations as search_authorizations
from certctl.storage.search import certificates as search_certificates
from certctl.storage.search import orders as search_orders
from certctl.storage.search.accounts import AccountFilter
from certctl.storage.search.audit import AuditFilter
from certctl.storage.search.authorizations import AuthorizationFilter
from certctl.storage.search.certificates import FEW, CertificateFilter, NameRange
from certctl.storage.search.orders import OrderFilter
from certctl.storage.sqlite import connect, migrate
from tests.unit.storage import contract_renewals, contract_search
from tests.unit.storage.contract import NOW
from tests.unit.storage.test_sqlite import InMemory


class MassRenewalTests(InMemory, contract_renewals.MassRenewalContract, SynchronousTestCase):
    pass


class SearchTests(InMemory, contract_search.SearchContract, SynchronousTestCase):
    pass


class OfBeforeTests(SynchronousTestCase):
    """Migrations that make what is of before found, too."""

    def migrated(self, name: str, row: str, value: str, found: str) -> list[Any]:
        """What the rest of a migration makes of a row of before."""
        connection = connect(Path(":memory:"))
        self.addCleanup(connection.close)
        migrate(connection)
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute(row, (value,))
        connection.execute(next(each for each in migrations() if each.name == name).own["sqlite"])
        return connection.execute(found).fetchall()

    def test_names(self) -> None:
        """Certificates that were issued before there was a search are found by their names."""
        found = self.migrated(
            "search",
            "INSERT INTO managed_certificates VALUES ('mc-1', 'p', 'a', ?, 'cv-1', '2026', '2026', '2026')",
            '[{"type":"dns","value":"a.example"},{"type":"ip","value":"192.0.2.1"}]',
            "SELECT reversed_name FROM managed_certificate_names ORDER BY 1",
        )
        self.assertEqual(found, [(b"1.2.0.291",), (b"elpmaxe.a",)])

    def test_contacts(self) -> None:
        """Accounts are found by their contacts, as they would be if they were made today."""
        found = self.migrated(
            "contacts",
            "INSERT INTO acme_accounts (id, profile_id, thumbprint, jwk, contact, status, terms_agreed, created_at,"
            " updated_at) VALUES ('a', 'p', 't', '{}', ?, 'valid', 0, '2026', '2026')",
            r'["mailto:\u00dcA@B.example", "mailto:c@d.example"]',
            "SELECT reversed_contact FROM acme_account_contacts ORDER BY 1",
        )
        expected = map(accounts.backwards, ("mailto:c@d.example", "mailto:\u00dcA@B.example"))
        self.assertEqual(sorted(each for (each,) in found), sorted(expected))


class PlanTests(SynchronousTestCase):
    def test_no_list_reads_a_table(self) -> None:
        """Every list that grows is a walk or a search in an index, whatever it is filtered by."""
        name, some = dns_name("a.example"), {"profile_id": "x", "account_id": "x"}
        times: dict[str, Any] = {"created_after": NOW, "created_before": NOW}
        acts: list[dict[str, Any]] = [{}, {"actor": "x"}, {"action": "x"}]
        filters: list[dict[str, Any]] = [{}, some, {"serial": "1"}, {"status": "valid"}]
        listed: list[Query[Any]] = [
            *(search_orders.page(OrderFilter(**each), None, 5) for each in (*filters[:2], times)),
            *(
                search_orders.page(OrderFilter(status=each), "x", 5)
                for each in ("valid", "invalid", "pending")
            ),
            search_orders.page(OrderFilter(identifier=name), None, 5),
            *(search_authorizations.page(AuthorizationFilter(**each), None, 5) for each in filters[:2]),
            search_authorizations.page(AuthorizationFilter(identifier=name), "x", 5),
            *(search_audit.page(AuditFilter(**each), 7, 5) for each in acts),
            search_audit.page(AuditFilter(resource_id="x", since=NOW, until=NOW), None, 5),
            search_audit.page(AuditFilter(action="acme_order_created"), None, 5),
            search_audit.page(AuditFilter(resource_type="issuer"), None, 5),
            search_authorizations.page(AuthorizationFilter(status="deactivated"), None, 5),
            search_accounts.page(AccountFilter(status="revoked"), 5, 0),
            search_accounts.page(AccountFilter(thumbprint="x"), 5, 0),
            *(self._certificates(**each) for each in filters),
            self._certificates(expires_after=NOW, status="revoked"),
            *(self._certificates(status=each) for each in ("expired", "revoked")),
            *(
                self._certificates(names=each, name=NameRange(".x"), expires_before=NOW)
                for each in (5, FEW + 1)
            ),
            *(self._certificates(names=each, name=NameRange(".corp.example")) for each in (5, FEW + 1)),
        ]
        connection = connect(Path(":memory:"))
        self.addCleanup(connection.close)
        migrate(connection)
        for query in listed:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {query.sql}", query.parameters).fetchall()
            steps = [row[3] for row in plan if row[3].startswith("SCAN")]
            self.assertEqual(
                [each for each in steps if "USING" not in each and "audit" not in each], [], query.sql
            )

    def _certificates(self, names: int = 0, **wanted: Any) -> Query[Any]:
        return search_certificates.page(CertificateFilter(now=NOW, **wanted), names, "x", 5)
