"""What accounts, profiles, issuers, certificates and the audit are in every engine."""

from __future__ import annotations

from typing import Any

import attrs

from certctl.acme.identifiers import dns_name, ip_address
from certctl.acme.objects import AuthMode, Certificate, Status
from certctl.storage import (
    accounts,
    audit,
    authorizations,
    certificates,
    issuers,
    orders,
    profiles,
    revocations,
)
from certctl.storage.database import Statement
from certctl.storage.revocations import Fate
from tests.unit.storage.contract import ACCOUNT, HOUR, NOW, PROFILE, DatabaseCase
from tests.unit.storage.contract_orders import authorization, order

OTHER = attrs.evolve(
    PROFILE,
    id="prof-other",
    enabled=False,
    acme_auth_mode=AuthMode.CHALLENGE,
    max_ttl_seconds=2**40,
    policy={"names": {"allow": ["*.corp.example"]}, "\u00fc": [None, True, 1.5]},
)


class ProfileContract(DatabaseCase):
    def test_round_trip(self) -> None:
        """A profile is found as it was written, and the others in the order of their ids."""
        self.write(profiles.insert(OTHER, NOW))
        self.assertEqual(self.read(profiles.by_id(OTHER.id)), OTHER)
        self.assertEqual(self.read(profiles.everyone()), [OTHER, PROFILE])
        self.assertIsNone(self.read(profiles.by_id("prof-nobody")))

    def test_id_that_is_taken(self) -> None:
        """A profile of that id is there: nothing changes."""
        self.conflict(profiles.insert(attrs.evolve(OTHER, id=PROFILE.id), NOW))
        self.assertEqual(self.read(profiles.by_id(PROFILE.id)), PROFILE)

    def test_issuer_must_be_there(self) -> None:
        """A profile names an issuer that is recorded."""
        stray = profiles.insert(attrs.evolve(OTHER, issuer_id="iss-nobody"), NOW)
        self.assertRaises(self.broken_rule, self.write, stray)

    def test_issuers(self) -> None:
        """An issuer's certificate is found, and another takes its place for whoever has seen it."""
        self.assertEqual(self.read(issuers.certificate_of(PROFILE.issuer_id)), b"issuing")
        self.assertIsNone(self.read(issuers.certificate_of("iss-nobody")))
        self.write(issuers.record(PROFILE.issuer_id, [b"another"], b"issuing", NOW))
        self.assertEqual(self.read(issuers.certificate_of(PROFILE.issuer_id)), b"another")
        for seen in (b"issuing", None):
            self.conflict(issuers.record(PROFILE.issuer_id, [b"third"], seen, NOW))


class AccountContract(DatabaseCase):
    def found(self) -> Any:
        """Return the account as it is now."""
        return self.read(accounts.by_id(PROFILE.id, ACCOUNT.id))

    def test_round_trip(self) -> None:
        """An account is found as it was written: by its id, and by its key."""
        self.assertEqual(self.found(), ACCOUNT)
        self.assertEqual(self.read(accounts.by_thumbprint(PROFILE.id, ACCOUNT.thumbprint)), ACCOUNT)
        self.assertEqual(self.read(accounts.signer_by_id(PROFILE.id, ACCOUNT.id)), (PROFILE, ACCOUNT))
        found = self.read(accounts.signer_by_thumbprint(PROFILE.id, ACCOUNT.thumbprint))
        self.assertEqual(found, (PROFILE, ACCOUNT))

    def test_of_its_profile_alone(self) -> None:
        """An account is not found in another profile, nor one that is not there; the profile is."""
        self.write(profiles.insert(OTHER, NOW))
        self.assertIsNone(self.read(accounts.by_id(OTHER.id, ACCOUNT.id)))
        self.assertIsNone(self.read(accounts.by_thumbprint(OTHER.id, ACCOUNT.thumbprint)))
        self.assertEqual(self.read(accounts.signer_by_id(OTHER.id, ACCOUNT.id)), (OTHER, None))
        self.assertEqual(self.read(accounts.signer_by_thumbprint(OTHER.id, "x")), (OTHER, None))
        self.assertEqual(self.read(accounts.signer_by_id("prof-nobody", ACCOUNT.id)), (None, None))

    def test_key_that_is_taken(self) -> None:
        """Of two accounts with one key the second is a conflict; in another profile it is not."""
        self.write(profiles.insert(OTHER, NOW))
        self.conflict(accounts.insert(attrs.evolve(ACCOUNT, id="acme-acc-2")))
        self.write(accounts.insert(attrs.evolve(ACCOUNT, id="acme-acc-2", profile_id=OTHER.id)))
        self.assertEqual(self.count("acme_accounts"), 2)

    def test_update(self) -> None:
        """Contacts and agreement are replaced, and nothing else."""
        self.write(accounts.update(ACCOUNT.id, (), False, NOW + HOUR))
        self.assertEqual(self.found(), attrs.evolve(ACCOUNT, contact=(), terms_agreed=False))

    def test_deactivate(self) -> None:
        """A valid account is deactivated once, and not changed after that."""
        self.write(accounts.deactivate(ACCOUNT.id, NOW))
        self.assertEqual(self.found(), attrs.evolve(ACCOUNT, status=Status.DEACTIVATED))
        self.conflict(accounts.deactivate(ACCOUNT.id, NOW))
        self.conflict(accounts.update(ACCOUNT.id, (), True, NOW))
        self.conflict(accounts.roll_key(ACCOUNT, "{}", "thumbprint-2", NOW))

    def test_roll_key(self) -> None:
        """A key is followed by another, and the old one is free again."""
        self.write(accounts.roll_key(ACCOUNT, "{}", "thumbprint-2", NOW))
        self.assertEqual(self.found(), attrs.evolve(ACCOUNT, jwk="{}", thumbprint="thumbprint-2"))
        self.write(accounts.insert(attrs.evolve(ACCOUNT, id="acme-acc-2")))

    def test_roll_key_that_was_rolled(self) -> None:
        """Of two changes from the same key the second is a conflict."""
        self.write(accounts.roll_key(ACCOUNT, "{}", "thumbprint-2", NOW))
        self.conflict(accounts.roll_key(ACCOUNT, "{}", "thumbprint-3", NOW))

    def test_roll_to_a_key_that_is_taken(self) -> None:
        """A key that another account of the profile holds is a conflict."""
        self.write(accounts.insert(attrs.evolve(ACCOUNT, id="acme-acc-2", thumbprint="thumbprint-2")))
        self.conflict(accounts.roll_key(ACCOUNT, "{}", "thumbprint-2", NOW))
        self.conflict(accounts.roll_key(ACCOUNT, "{}", ACCOUNT.thumbprint, NOW))


CERTIFICATE = Certificate(
    id="cv-1",
    profile_id=PROFILE.id,
    issuer_id=PROFILE.issuer_id,
    account_id=ACCOUNT.id,
    order_id="acme-ord-1",
    serial="a0b1",
    names=(dns_name("*.example.org"), ip_address("2001:db8::1")),
    der=b"\0\xff certificate",
    not_before=NOW,
    not_after=NOW + HOUR,
    created_at=NOW,
)


class CertificateContract(DatabaseCase):
    def setUp(self) -> None:
        super().setUp()
        held = authorization(status=Status.VALID)
        self.write(*authorizations.insert(held))
        for number in (1, 2, 3):
            self.write(*orders.insert(order(held, id=f"acme-ord-{number}")))
        self.write(*certificates.insert(CERTIFICATE))

    def test_round_trip(self) -> None:
        """A certificate is found as it was written, by its id and by its serial."""
        self.assertEqual(self.read(certificates.by_id("cv-1")), CERTIFICATE)
        self.assertEqual(self.read(certificates.by_serial("a0b1")), [CERTIFICATE])
        self.assertIsNone(self.read(certificates.by_id("cv-2")))
        self.assertEqual(self.read(certificates.by_serial("0a0b1")), [])

    def test_serial_of_two_issuers(self) -> None:
        """A serial is unique for its issuer alone."""
        self.write(issuers.record("iss-other", [b"x"], None, NOW))
        other = attrs.evolve(CERTIFICATE, id="cv-2", issuer_id="iss-other", order_id="acme-ord-2")
        self.write(*certificates.insert(other))
        self.assertCountEqual(self.read(certificates.by_serial("a0b1")), [CERTIFICATE, other])
        again = attrs.evolve(CERTIFICATE, id="cv-3", order_id="acme-ord-3")
        self.assertRaises(self.broken_rule, self.write, *certificates.insert(again))

    def test_one_for_each_order(self) -> None:
        """An order never has two certificates."""
        second = attrs.evolve(CERTIFICATE, id="cv-2", serial="ff")
        self.assertRaises(self.broken_rule, self.write, *certificates.insert(second))
        self.assertEqual(self.count("certificate_versions"), 1)

    def test_renewal(self) -> None:
        """A certificate of the same names, in whatever order, is a version of what the account keeps."""
        renewed = attrs.evolve(
            CERTIFICATE,
            id="cv-2",
            order_id="acme-ord-2",
            serial="ff",
            names=CERTIFICATE.names[::-1],
            not_after=NOW + 2 * HOUR,
        )
        self.write(*certificates.insert(renewed))
        kept = self.rows("SELECT newest_version_id, not_after FROM managed_certificates")
        self.assertEqual(kept, [("cv-2", NOW + 2 * HOUR)])
        other = attrs.evolve(renewed, id="cv-3", order_id="acme-ord-3", serial="fe", names=renewed.names[:1])
        self.write(*certificates.insert(other))
        self.assertEqual(self.count("managed_certificates"), 2)

    def test_revoked_once(self) -> None:
        """A certificate is revoked once, and keeps time and reason."""
        self.write(certificates.revoke("cv-1", 4, NOW + HOUR))
        revoked = attrs.evolve(CERTIFICATE, revoked_at=NOW + HOUR, revocation_reason=4)
        self.assertEqual(self.read(certificates.by_id("cv-1")), revoked)
        self.conflict(certificates.revoke("cv-1", 1, NOW + 2 * HOUR))
        self.assertEqual(self.read(certificates.by_id("cv-1")), revoked)
        self.conflict(certificates.revoke("cv-nobody", 1, NOW))

    def test_revocations_are_numbered(self) -> None:
        """Revocations of an issuer are counted in their order, whoever revokes, so that who knows some misses none."""
        second = attrs.evolve(CERTIFICATE, id="cv-2", order_id="acme-ord-2", serial="ff")
        self.write(*certificates.insert(second))
        issuer = PROFILE.issuer_id
        self.assertEqual(self.read(revocations.newest(issuer)), 0)
        self.assertEqual(self.read(revocations.fate(issuer, "ff")), Fate(second.not_after, None, None))
        self.write(certificates.revoke("cv-2", 1, NOW + HOUR))
        self.write(  # as an operator might, by hand
            Statement("UPDATE certificate_versions SET revoked_at = ? WHERE serial_number = ?", (NOW, "a0b1"))
        )
        self.assertEqual(self.read(revocations.newest(issuer)), 2)
        self.assertEqual(self.read(revocations.newest("iss-other")), 0)
        found = self.read(revocations.after(issuer, 0, 10))
        self.assertEqual(
            [(each.number, each.serial, each.reason) for each in found], [(1, "ff", 1), (2, "a0b1", 0)]
        )
        self.assertEqual(self.read(revocations.after(issuer, 1, 10)), found[1:])
        self.assertEqual(self.read(revocations.after(issuer, 0, 1)), found[:1])
        self.assertEqual(self.read(revocations.fate(issuer, "ff")), Fate(second.not_after, NOW + HOUR, 1))
        self.assertIsNone(self.read(revocations.fate(issuer, "fe")))

    def test_born_revoked(self) -> None:
        """A certificate that is brought in from elsewhere as revoked is counted too."""
        columns = "id, certificate_id, order_id, profile_id, account_id, issuer_id, certificate, not_before, not_after"
        self.write(
            Statement(
                f"INSERT INTO certificate_versions ({columns}, created_at, serial_number, revoked_at) SELECT 'cv-9',"
                f" {columns.partition(', ')[2].replace('order_id', '?')}, created_at, 'fd', not_before"
                " FROM certificate_versions WHERE id = 'cv-1'",
                ("acme-ord-2",),
            )
        )
        self.assertEqual(
            [each.serial for each in self.read(revocations.after(PROFILE.issuer_id, 0, 9))], ["fd"]
        )


class AuditContract(DatabaseCase):
    def test_documented_query(self) -> None:
        """The query that the documentation shows finds what accounts did, newest first."""
        for number in range(12):
            actor = f"acme:{ACCOUNT.id}" if number != 5 else "acme-system:gc"
            self.write(
                audit.insert(
                    created_at=NOW + number * HOUR,
                    actor=actor,
                    action="acme_order_created",
                    resource_type="acme_order",
                    resource_id=f"acme-ord-{number}",
                    details={"identifiers": ["a.example"]},
                )
            )
        found = self.rows(
            "SELECT created_at, action, resource_type, resource_id FROM audit_events"
            " WHERE actor LIKE 'acme:%' ORDER BY created_at DESC LIMIT 10"
        )
        self.assertEqual(len(found), 10)
        self.assertEqual(found[0], (NOW + 11 * HOUR, "acme_order_created", "acme_order", "acme-ord-11"))
        self.assertNotIn("acme-ord-5", [row[3] for row in found])
