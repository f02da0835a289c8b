"""ACME clients of others against the server, in trust mode: no challenge is solved, and no solver called.

A client's test case is made of what the client can do. What it received is judged by openssl, what the server made of
it is read in the database.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol, cast

from cryptography import x509

from tests.integration.clients import (
    EMAIL,
    OTHER_EMAIL,
    P256,
    P384,
    RSA,
    AcmeTiny,
    Certbot,
    Client,
    Dehydrated,
    Issued,
    Lego,
    Uacme,
)
from tests.integration.server import Ran, ServerTestCase, run

NAMES = ["one.example.internal", "two.example.internal", "three.example.internal"]
ADDRESSES = ["192.0.2.7", "2001:db8::7"]
SAID_OF = {RSA: "Public-Key: (2048 bit)", P256: "ASN1 OID: prime256v1", P384: "ASN1 OID: secp384r1"}
ORDER = ["acme_order_created", "acme_order_finalized"]
SUPERSEDED = 4


class Renewing(Protocol):
    def renew(self, issued: Issued) -> Issued: ...


class Revoking(Protocol):
    def revoke(self, issued: Issued) -> None: ...


class RevokingByKey(Protocol):
    def revoke_by_key(self, issued: Issued) -> None: ...


class Updating(Protocol):
    def update(self) -> None: ...


class Rolling(Protocol):
    def roll_key(self) -> None: ...


class Deactivating(Protocol):
    def deactivate(self) -> None: ...


class Issues(ServerTestCase):
    """What every client can do, and what the others build on."""

    kind: type[Client]

    def setUp(self) -> None:
        """Start a server, and give the client a home."""
        self.server = self.serve()
        self.client = self.kind(self.server, self.path())

    def tearDown(self) -> None:
        """No client was asked for proof."""
        self.assertFalse(self.client.mark.exists(), "a challenge was answered")

    def issued(self, names: list[str], key: str = P256) -> Issued:
        """Get a certificate, and look at it from all sides."""
        issued = self.client.issue(names, key)
        self.judge(issued, names, key)
        return issued

    def judge(self, issued: Issued, names: list[str], key: str) -> None:
        """What the client received leads to the root, holds the names, and is what the server recorded."""
        verify(self.server.root, issued)
        said = openssl("x509", "-in", issued.certificate, "-noout", "-text").output
        self.assertEqual(
            sorted(re.findall(r"(?:DNS|IP Address):([^,\s]+)", said)), sorted(map(written, names))
        )
        self.assertIn(SAID_OF[key], said)
        self.assertEqual(
            openssl("x509", "-in", issued.certificate, "-noout", "-pubkey").output,
            openssl("pkey", "-in", issued.key, "-pubout").output,
        )
        (row,) = self.server.rows(
            "SELECT o.status, o.identifiers, v.revoked_at, v.certificate_id, o.id FROM certificate_versions v"
            " JOIN acme_orders o ON o.id = v.order_id AND o.certificate_id = v.id WHERE v.serial_number = ?",
            serial(issued),
        )
        self.assertEqual((row[0], row[2]), ("valid", None))
        self.assertEqual(sorted(each["value"] for each in json.loads(row[1])), sorted(names))
        self.assertEqual(self.actions("acme_order", row[4]), ORDER)

    def actions(self, resource_type: str, resource_id: str = "%") -> list[str]:
        """The audit rows of resources, in order; they were made by the only account."""
        rows = self.server.rows(
            "SELECT actor, action FROM audit_events WHERE resource_type = ? AND resource_id LIKE ? ORDER BY id",
            resource_type,
            resource_id,
        )
        account = self.server.rows("SELECT id FROM acme_accounts")[0][0]
        self.assertLessEqual({actor for actor, _ in rows}, {f"acme:{account}"})
        return [action for _, action in rows]

    def revocation(self, issued: Issued) -> tuple[bool, int | None, str, str]:
        """Whether a certificate is revoked, why, and the audit row's actor and serial."""
        ((revoked, reason, id),) = self.server.rows(
            "SELECT revoked_at, revocation_reason, id FROM certificate_versions WHERE serial_number = ?",
            serial(issued),
        )
        ((actor, about),) = self.server.rows(
            "SELECT actor, details FROM audit_events WHERE action = 'certificate_revoked' AND resource_id = ?",
            id,
        )
        return datetime.fromisoformat(revoked).year > 2000, reason, actor, json.loads(about)["serial"]

    def account(self) -> tuple[str, str, list[str], str]:
        """The only account: id, status, contact and the thumbprint of its key."""
        ((id, status, contact, thumbprint),) = self.server.rows(
            "SELECT id, status, contact, thumbprint FROM acme_accounts"
        )
        return id, status, json.loads(contact), thumbprint

    def test_issue(self) -> None:
        """Certificates for RSA and EC keys, for one name and several, and for a wildcard beside its domain."""
        self.issued(NAMES[:1], RSA)
        self.issued(NAMES[1:2], P256)
        self.issued([NAMES[2], *NAMES[:2]], P384)
        self.issued(["*.example.internal", "example.internal"])
        _, status, contact, _ = self.account()  # one for all, made before the first order
        self.assertEqual((status, contact), ("valid", [f"mailto:{EMAIL}"]))
        self.assertEqual(self.actions("acme_account")[0], "acme_account_created")


class IssuesForAddresses(Issues):
    def test_addresses(self) -> None:
        """A certificate for addresses beside a name (RFC 8738)."""
        self.issued([NAMES[0], *ADDRESSES])


class Renews(Issues):
    def test_renew(self) -> None:
        """Another certificate for the same names is another version of what the account keeps."""
        issued = self.issued(NAMES[:2], RSA)
        first = serial(issued)
        renewed = cast("Renewing", self.client).renew(issued)
        self.judge(renewed, NAMES[:2], RSA)
        self.assertNotEqual(serial(renewed), first)
        ((kept, versions),) = self.server.rows(
            "SELECT count(DISTINCT certificate_id), count(*) FROM certificate_versions"
        )
        self.assertEqual((kept, versions), (1, 2))


class Revokes(Issues):
    reason = SUPERSEDED

    def test_revoke(self) -> None:
        """Revoked by the account, for the reason that the client was told."""
        issued = self.issued(NAMES[:1])
        cast("Revoking", self.client).revoke(issued)
        self.assertEqual(
            self.revocation(issued), (True, self.reason, f"acme:{self.account()[0]}", serial(issued))
        )


class RevokesByKey(Issues):
    def test_revoke_by_key(self) -> None:
        """Revoked by the certificate's own key, RSA or EC."""
        for name, key in zip(NAMES, (RSA, P256), strict=False):  # some clients keep a name's key
            issued = self.issued([name], key)
            cast("RevokingByKey", self.client).revoke_by_key(issued)
            number = serial(issued)
            self.assertEqual(self.revocation(issued), (True, 0, f"acme-cert-key:{number}", number))


class Updates(Issues):
    def test_update(self) -> None:
        """The account's contact is changed."""
        self.issued(NAMES[:1])
        cast("Updating", self.client).update()
        self.assertEqual(self.account()[2], [f"mailto:{OTHER_EMAIL}"])
        self.assertEqual(self.actions("acme_account")[-1], "acme_account_contact_updated")


class RollsKey(Issues):
    def test_key_rollover(self) -> None:
        """The account has another key, with which it goes on."""
        self.issued(NAMES[:1])
        before = self.account()
        cast("Rolling", self.client).roll_key()
        after = self.account()
        self.assertEqual(after[:3], before[:3])
        self.assertNotEqual(after[3], before[3])
        self.assertEqual(self.actions("acme_account")[-1], "acme_account_key_rolled")
        self.issued(NAMES[1:])


class Deactivates(Issues):
    def test_deactivate(self) -> None:
        """The account is given up; its certificates stay as they are."""
        issued = self.issued(NAMES[:1])
        cast("Deactivating", self.client).deactivate()
        self.assertEqual(self.account()[1], "deactivated")
        self.assertEqual(self.actions("acme_account")[-1], "acme_account_deactivated")
        verify(self.server.root, issued)


class CertbotTests(IssuesForAddresses, Renews, Revokes, RevokesByKey, Updates, Deactivates):
    kind = Certbot


class LegoTests(Renews, Revokes):
    kind = Lego


class UacmeTests(IssuesForAddresses, Renews, Revokes, RevokesByKey, Updates, RollsKey, Deactivates):
    kind = Uacme


class DehydratedTests(Renews, Revokes, Updates, Deactivates):
    kind = Dehydrated
    reason = 0  # it cannot be told one


class AcmeTinyTests(Renews, Updates):
    kind = AcmeTiny


del (
    Issues,
    IssuesForAddresses,
    Renews,
    Revokes,
    RevokesByKey,
    Updates,
    RollsKey,
    Deactivates,
)  # these are no tests by themselves


def written(name: str) -> str:
    """A name as openssl writes it."""
    if ":" not in name:
        return name
    return ":".join(f"{int(part, 16):X}" for part in ip_address(name).exploded.split(":"))


def openssl(*arguments: str | Path) -> Ran:
    """Run openssl."""
    return run("openssl", *arguments).must_succeed()


def verify(root: Path, issued: Issued) -> None:
    """Raise AssertionError if openssl does not follow the chain from the leaf to the root."""
    openssl("verify", "-x509_strict", "-CAfile", root, "-untrusted", issued.chain, issued.certificate)


def serial(issued: Issued) -> str:
    """The serial of a certificate, as the database has it."""
    return f"{x509.load_pem_x509_certificate(issued.certificate.read_bytes()).serial_number:x}"
