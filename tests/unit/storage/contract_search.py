"""What operators find by their searches, in every engine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs

from certctl.acme import ids
from certctl.acme.identifiers import dns_name, ip_address
from certctl.acme.objects import Certificate, Status
from certctl.storage import accounts, audit, authorizations, certificates, failures, orders
from certctl.storage.search import accounts as search_accounts
from certctl.storage.search import audit as search_audit
from certctl.storage.search import authorizations as search_authorizations
from certctl.storage.search import certificates as search_certificates
from certctl.storage.search import orders as search_orders
from certctl.storage.search import statistics
from certctl.storage.search.accounts import AccountFilter
from certctl.storage.search.audit import AuditFilter
from certctl.storage.search.authorizations import AuthorizationFilter
from certctl.storage.search.certificates import CertificateFilter, NameRange
from certctl.storage.search.orders import OrderFilter
from tests.unit.storage.contract import ACCOUNT, HOUR, NOW, PROFILE, DatabaseCase
from tests.unit.storage.contract_orders import authorization, order

DAY = timedelta(days=1)
NAMES = ("a.example", "b.example", "*.corp.example", "x.y.corp.example", "192.0.2.1", "corp.example")


def _identifier(name: str) -> Any:
    return ip_address(name) if name[0].isdigit() else dns_name(name)


class SearchCase(DatabaseCase):
    """Six certificates, made an hour after one another, the oldest first."""

    def setUp(self) -> None:
        super().setUp()
        self.made = [self._issue(number, name) for number, name in enumerate(NAMES)]

    def _issue(self, number: int, name: str) -> Certificate:
        at = NOW + number * HOUR
        identifier = _identifier(name)
        held = authorization(
            100 + number,
            identifier=identifier.base,
            wildcard=identifier.wildcard,
            status=Status.VALID,
        )
        ordered = order(held, id=ids.new(ids.ORDER, at), identifiers=(identifier,), created_at=at)
        certificate = Certificate(
            id=ids.new(ids.CERTIFICATE, at),
            profile_id=PROFILE.id,
            issuer_id=PROFILE.issuer_id,
            account_id=ACCOUNT.id,
            order_id=ordered.id,
            serial=f"a{number}",
            names=(identifier,),
            der=b"certificate",
            not_before=at,
            not_after=at + DAY,
            created_at=at,
        )
        self.write(*authorizations.insert(held), *orders.insert(ordered), *certificates.insert(certificate))
        return certificate


class SearchContract(SearchCase):
    def found(self, *, before: str | None = None, limit: int = 50, **wanted: Any) -> list[str]:
        """Return the names of the certificates that are found, in their order; both ways to search agree."""
        asked = CertificateFilter(**{"now": NOW + 2 * HOUR, **wanted})
        few, many = (
            self.read(search_certificates.page(asked, names, before, limit))
            for names in (0, search_certificates.FEW + 1)
        )
        self.assertEqual(few, many)
        if before is None and limit == 50:
            for names in (0, search_certificates.FEW + 1):
                self.assertEqual(self.read(search_certificates.count(asked, names)), len(few))
        return [each.names[0].value for each in few]

    def _by(self, column: str, value: str) -> list[str]:
        wanted: dict[str, Any] = {column: value}
        return self.found(**wanted)

    def test_certificates_newest_first(self) -> None:
        """A list begins with the newest, and goes on behind a cursor."""
        self.assertEqual(self.found(), list(reversed(NAMES)))
        self.assertEqual(self.found(limit=2), list(reversed(NAMES))[:2])
        self.assertEqual(self.found(before=self.made[2].id), ["b.example", "a.example"])

    def test_certificates_by_name(self) -> None:
        """A name is found exactly, or by its end, which is a label's end."""
        self.assertEqual(self.found(name=NameRange("a.example")), ["a.example"])
        self.assertEqual(self.found(name=NameRange("192.0.2.1")), ["192.0.2.1"])
        self.assertEqual(self.found(name=NameRange("corp.example")), ["corp.example"])
        self.assertEqual(self.found(name=NameRange(".corp.example")), ["x.y.corp.example", "*.corp.example"])
        self.assertEqual(len(self.found(name=NameRange(".example"))), 5)
        self.assertEqual(self.found(name=NameRange("xample")), [])
        self.assertEqual(self.found(name=NameRange(".example"), before=self.made[1].id), ["a.example"])
        self.assertEqual(self.read(search_certificates.how_many_names(NameRange(".example"))), 5)

    def test_certificates_by_the_rest(self) -> None:
        """Every filter narrows what is found."""
        self.write(certificates.revoke(self.made[0].id, 1, NOW + HOUR))
        self.assertEqual(self.found(status="revoked"), ["a.example"])
        self.assertEqual(self.found(not_revoked=True, serial="a0"), [])
        later = NOW + DAY + 2 * HOUR + timedelta(minutes=30)
        self.assertEqual(len(self.found(status="valid", now=later)), 3)
        self.assertEqual(self.found(status="expired", now=later), ["*.corp.example", "b.example"])
        self.assertEqual(self.found(expires_after=later, expires_before=later + HOUR), ["x.y.corp.example"])
        self.assertEqual(self.found(serial="a3"), ["x.y.corp.example"])
        for name in ("account_id", "profile_id", "issuer_id"):
            self.assertEqual(len(self._by(name, getattr(self.made[0], name))), 6)
            self.assertEqual(self._by(name, "nobody"), [])

    def test_certificates_by_end(self) -> None:
        """What is looked for by its end comes in the order of the ends, and goes on behind a cursor in that order."""
        long = attrs.evolve(
            self.made[0], id="cv-0", serial="d0", order_id="acme-ord-long", not_after=NOW + 9 * DAY
        )
        held = authorization(901, status=Status.VALID)
        self.write(*authorizations.insert(held), *orders.insert(order(held, id="acme-ord-long")))
        self.write(*certificates.insert(long))
        first = ["a.example", "corp.example", "192.0.2.1"]
        soon: dict[str, Any] = {"expires_after": NOW}
        self.assertEqual(self.found(limit=3, **soon), first)
        self.assertEqual(self.found(before=long.id, limit=2, **soon), first[1:])
        self.assertEqual(self.found(before=self.made[4].id, expires_before=NOW + DAY + HOUR), ["a.example"])
        self.assertEqual(self.found(name=NameRange(".example"), limit=2, **soon), first[:2])
        self.assertEqual(self.found(newest_id=self.made[0].id, **soon), ["a.example", "a.example"])
        self.assertEqual(self.read(search_certificates.newest_id()), self.made[5].id)

    def test_renewal(self) -> None:
        """Of a certificate and its renewal one is the newest."""
        renewed = attrs.evolve(
            self.made[0], id=ids.new(ids.CERTIFICATE, NOW + 9 * HOUR), serial="b0", order_id="acme-ord-x"
        )
        held = authorization(900, status=Status.VALID)
        self.write(*authorizations.insert(held), *orders.insert(order(held, id="acme-ord-x")))
        self.write(*certificates.insert(renewed))
        asked = CertificateFilter(now=NOW, name=NameRange("a.example"))
        found = self.read(search_certificates.page(asked, 1, None, 5))
        self.assertEqual(
            [(each.id, each.newest) for each in found], [(renewed.id, True), (self.made[0].id, False)]
        )
        self.assertEqual(self.read(search_certificates.replaced_by(self.made[0].id)), renewed.id)
        self.assertIsNone(self.read(search_certificates.replaced_by(renewed.id)))

    def test_many_names(self) -> None:
        """A certificate of many names is found by each of them, once."""
        many = attrs.evolve(
            self.made[0],
            id="cv-many",
            serial="c0",
            order_id="acme-ord-x",
            names=tuple(dns_name(f"n{number}.many.example") for number in range(25)),
        )
        held = authorization(900, status=Status.VALID)
        self.write(*authorizations.insert(held), *orders.insert(order(held, id="acme-ord-x")))
        self.write(*certificates.insert(many))
        self.assertEqual(len(self.found(name=NameRange(".many.example"))), 1)
        self.assertEqual(len(self.found(name=NameRange("n24.many.example"))), 1)

    def test_orders(self) -> None:
        """Orders are found by all that they may be asked for."""

        def found(**wanted: Any) -> list[str]:
            asked = OrderFilter(**wanted)
            return [each.identifiers[0].value for each in self.read(search_orders.page(asked, None, 50))]

        self.assertEqual(found(), list(reversed(NAMES)))
        self.assertEqual(found(identifier=dns_name("*.corp.example")), ["*.corp.example"])
        self.assertEqual(found(identifier=dns_name("corp.example")), ["corp.example"])
        self.assertEqual(found(identifier=ip_address("192.0.2.1")), ["192.0.2.1"])
        self.assertEqual(found(created_after=NOW + 4 * HOUR), ["corp.example", "192.0.2.1"])
        self.assertEqual(found(created_before=NOW + HOUR), ["a.example"])
        self.assertEqual(
            found(account_id="nobody") + found(profile_id="nobody") + found(status="invalid"), []
        )
        self.assertEqual(len(found(account_id=ACCOUNT.id, profile_id=PROFILE.id)), 6)
        (last,) = self.read(search_orders.page(OrderFilter(), self.made[1].order_id, 5))
        self.assertEqual(last.id, self.made[0].order_id)

    def test_authorizations(self) -> None:
        """Authorizations are found by all that they may be asked for."""

        def found(**wanted: Any) -> list[str]:
            asked = AuthorizationFilter(**wanted)
            return [each.covers.value for each in self.read(search_authorizations.page(asked, None, 50))]

        self.assertEqual(found(), list(reversed(NAMES)))
        self.assertEqual(found(identifier=dns_name("*.corp.example")), ["*.corp.example"])
        self.assertEqual(found(identifier=dns_name("corp.example")), ["corp.example"])
        self.assertEqual(len(found(status="valid", account_id=ACCOUNT.id, profile_id=PROFILE.id)), 6)
        self.assertEqual(found(status="pending"), [])

    def test_accounts(self) -> None:
        """Accounts are found by all that they may be asked for; no character of a contact is special."""
        other = attrs.evolve(
            ACCOUNT,
            id="acme-acc-2",
            thumbprint="t2",
            contact=("mailto:100%_x!@example.net",),
            eab_key_id=None,
        )
        self.write(accounts.insert(other), *accounts.reachable(other.id, other.contact))
        self.write(*accounts.reachable_anew(ACCOUNT.id, ACCOUNT.contact))

        def found(**wanted: Any) -> list[str]:
            asked = AccountFilter(**wanted)
            listed = self.read(search_accounts.page(asked, 50, 0))
            self.assertEqual(self.read(search_accounts.count(asked)), len(listed))
            return [each.account.id for each in listed]

        self.assertEqual(found(), ["acme-acc-2", "acme-acc-1"])
        self.assertEqual(found(contact="A@example.org"), ["acme-acc-1"])
        self.assertEqual(found(contact="\u00fc@EXAMPLE.org"), ["acme-acc-1"])
        self.assertEqual(found(contact="0%_x!@example.net"), ["acme-acc-2"])
        self.assertEqual(
            found(contact="%example%") + found(contact="mailto") + found(contact="a@example"), []
        )
        self.assertEqual(found(contact="example.org", status="valid"), ["acme-acc-1"])
        self.write(*accounts.reachable_anew(other.id, ("mailto:a@example.org",)))
        self.assertEqual(found(contact="a@example.org"), ["acme-acc-2", "acme-acc-1"])
        self.write(*accounts.reachable_anew(other.id, ()))
        self.assertEqual(found(contact="a@example.org") + found(contact="net"), ["acme-acc-1"])
        self.assertEqual(found(thumbprint="t2", status="valid"), ["acme-acc-2"])
        self.assertEqual(found(eab_key_id="eab-none") + found(profile_id="nobody"), [])
        (second,) = self.read(search_accounts.page(AccountFilter(), 1, 1))
        self.assertEqual(second.account, ACCOUNT)

    def test_account_changed(self) -> None:
        """An account gets policy and pause from who has seen its newest state."""
        seen = self.read(search_accounts.by_id(ACCOUNT.id))
        assert seen is not None
        self.write(search_accounts.change(seen, {"limits": {}}, NOW, NOW + HOUR))
        changed = self.read(search_accounts.by_id(ACCOUNT.id))
        assert changed is not None
        self.assertEqual(changed.account, attrs.evolve(ACCOUNT, policy={"limits": {}}, paused_at=NOW))
        self.conflict(search_accounts.change(seen, {}, None, NOW + 2 * HOUR))
        self.assertIsNone(self.read(search_accounts.by_id("nobody")))

    def test_pauses(self) -> None:
        """Failures are shown, and forgotten one by one or together."""
        for name in ("a.example", "*.b.example", "a.example"):
            self.write(failures.count(ACCOUNT.id, dns_name(name), NOW))
        found = self.read(search_accounts.failures(ACCOUNT.id))
        self.assertEqual(
            [(each.identifier, each.failures) for each in found], [("*.b.example", 1), ("a.example", 2)]
        )
        self.write(search_accounts.forget_failures(ACCOUNT.id, "a.example"))
        self.assertEqual(len(self.read(search_accounts.failures(ACCOUNT.id))), 1)
        self.write(search_accounts.forget_failures(ACCOUNT.id, None))
        self.assertEqual(self.read(search_accounts.failures(ACCOUNT.id)), [])

    def test_audit(self) -> None:
        """Events are found by all that they may be asked for, the newest first."""
        for number in range(5):
            self.write(
                audit.insert(
                    created_at=NOW + number * HOUR,
                    actor=f"actor-{number % 2}",
                    action=f"action-{number % 3}",
                    resource_type="thing",
                    resource_id=f"thing-{number}",
                    details={"number": number},
                )
            )

        def found(before: int | None = None, **wanted: Any) -> list[int]:
            return [
                each.details["number"]
                for each in self.read(search_audit.page(AuditFilter(**wanted), before, 50))
            ]

        self.assertEqual(found(), [4, 3, 2, 1, 0])
        self.assertEqual(found(actor="actor-0"), [4, 2, 0])
        self.assertEqual(found(action="action-0", actor="actor-1"), [3])
        self.assertEqual(found(resource_id="thing-2", resource_type="thing"), [2])
        self.assertEqual(found(since=NOW + HOUR, until=NOW + 3 * HOUR), [2, 1])
        self.assertEqual(found(since=NOW + 9 * HOUR), [])
        self.assertEqual(found(until=NOW), [])
        newest = self.read(search_audit.page(AuditFilter(), None, 2))
        self.assertEqual(found(before=newest[-1].id), [2, 1, 0])

    def test_evidence(self) -> None:
        """What the trail says of challenges is found by their ids."""
        ended: dict[str, Any] = {"resource_type": "acme_challenge", "actor": "acme:x", "created_at": NOW}
        for id in ("acme-chall-1", "acme-chall-2"):
            self.write(
                audit.insert(action="acme_challenge_processing", resource_id=id, details={}, **ended),
                audit.insert(
                    action="acme_challenge_completed", resource_id=id, details={"seen": id}, **ended
                ),
            )
        found = self.read(search_authorizations.evidence(["acme-chall-1", "acme-chall-3"]))
        self.assertEqual(found, {"acme-chall-1": {"seen": "acme-chall-1"}})

    def test_statistics(self) -> None:
        """What happened in a time is counted, its end not included."""
        self.write(certificates.revoke(self.made[0].id, 1, NOW + HOUR))
        held = authorization(900, status=Status.PENDING)
        (challenge, *_) = held.challenges
        self.write(*authorizations.insert(held), authorizations.process(challenge.id, NOW))
        self.write(authorizations.abandon(challenge, {"type": "urn:dns"}, NOW))
        refusal: dict[str, Any] = {"created_at": NOW, "actor": "x", "resource_type": "y", "resource_id": "z"}
        for details in ({}, {"unrecorded": 5}):
            self.write(audit.insert(action="acme_rate_limited", details=details, **refusal))
        span = NOW, NOW + 3 * HOUR
        self.assertEqual(self.read(statistics.issued(*span)), 3)
        self.assertEqual(self.read(statistics.begun(*span)), 3)
        self.assertEqual(self.read(statistics.revoked(*span)), 1)
        self.assertEqual(self.read(statistics.revoked(NOW, NOW + HOUR)), 0)
        self.assertEqual(self.read(statistics.failed(*span)), {"urn:dns": 1})
        self.assertEqual(
            self.read(statistics.refused(*span, ["acme_rate_limited", "x"])), {"acme_rate_limited": 7}
        )
        (most,) = self.read(statistics.asking(NOW, 5))
        self.assertEqual((most.account_id, most.orders), (ACCOUNT.id, 6))
        day = NOW + DAY, NOW + DAY + 3 * HOUR
        ending = self.read(statistics.ending(*day, 5))
        self.assertEqual([each.names[0].value for each in ending], ["b.example", "*.corp.example"])
        self.assertEqual(self.read(statistics.count_ending(*day, 10)), 2)
        self.assertEqual(self.read(statistics.count_ending(*day, 1)), 1)
