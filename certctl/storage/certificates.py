"""Certificates: a set of names that an account keeps (``managed_certificates``) and each certificate issued for it
(``certificate_versions``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime

from certctl.acme.identifiers import Identifier
from certctl.acme.objects import Certificate
from certctl.storage.database import Query, Row, Statement, first
from certctl.storage.orders import pack, unpack

NAMED_AT_ONCE = 10  # names in a statement

_SELECT = (
    "SELECT v.id, v.profile_id, v.issuer_id, v.account_id, v.order_id, v.serial_number, m.names, v.certificate,"
    " v.not_before, v.not_after, v.created_at, v.revoked_at, v.revocation_reason"
    " FROM certificate_versions v JOIN managed_certificates m ON m.id = v.certificate_id"
)


def _certificate(row: Row) -> Certificate:
    (
        id,
        profile_id,
        issuer_id,
        account_id,
        order_id,
        serial,
        names,
        der,
        not_before,
        not_after,
        created,
        revoked,
        why,
    ) = row
    return Certificate(
        id=id,
        profile_id=profile_id,
        issuer_id=issuer_id,
        account_id=account_id,
        order_id=order_id,
        serial=serial,
        names=unpack(names),
        der=bytes(der),
        not_before=not_before,
        not_after=not_after,
        created_at=created,
        revoked_at=revoked,
        revocation_reason=why,
    )


def by_id(certificate_id: str) -> Query[Certificate | None]:
    """The certificate of that id."""
    return Query(f"{_SELECT} WHERE v.id = ?", (certificate_id,), first(_certificate))


def by_serial(serial: str) -> Query[list[Certificate]]:
    """The certificates of that serial: one of each issuer at most."""
    return Query(
        f"{_SELECT} WHERE v.serial_number = ?", (serial,), lambda rows: [_certificate(row) for row in rows]
    )


def managed_id(profile_id: str, account_id: str, identifiers: Iterable[Identifier]) -> str:
    """The id of the names that an account keeps under a profile: the same for each renewal."""
    names = ",".join(sorted(each.value for each in identifiers))
    digest = hashlib.sha256(f"{profile_id}|{account_id}|{names}".encode()).hexdigest()
    return f"mc-{digest[:32]}"


def newest(profile_id: str, account_id: str, identifiers: Iterable[Identifier]) -> Query[Certificate | None]:
    """The newest certificate that an account has under a profile for exactly these names."""
    sql = f"{_SELECT} WHERE m.id = ? AND v.id = m.newest_version_id"
    return Query(sql, (managed_id(profile_id, account_id, identifiers),), first(_certificate))


def insert(certificate: Certificate) -> list[Statement]:
    """Add an issued certificate as the newest version of the names that its account keeps."""
    managed = managed_id(certificate.profile_id, certificate.account_id, certificate.names)
    kept = Statement(
        "INSERT INTO managed_certificates (id, profile_id, account_id, names, newest_version_id, not_after,"
        " created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " newest_version_id = excluded.newest_version_id, not_after = excluded.not_after,"
        " updated_at = excluded.updated_at",
        (
            managed,
            certificate.profile_id,
            certificate.account_id,
            pack(certificate.names),
            certificate.id,
            certificate.not_after,
            certificate.created_at,
            certificate.created_at,
        ),
    )
    version = Statement(
        "INSERT INTO certificate_versions (id, certificate_id, order_id, profile_id, account_id, issuer_id,"
        " serial_number, certificate, not_before, not_after, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            certificate.id,
            managed,
            certificate.order_id,
            certificate.profile_id,
            certificate.account_id,
            certificate.issuer_id,
            certificate.serial,
            certificate.der,
            certificate.not_before,
            certificate.not_after,
            certificate.created_at,
        ),
    )
    return [kept, *_named(managed, certificate), version]


def backwards(name: str) -> bytes:
    """A name's octets from the last to the first, so that names that end alike lie together."""
    return name.encode("ascii", "replace")[::-1]


def _named(managed: str, certificate: Certificate) -> Iterator[Statement]:
    """The names by which a certificate is searched, which are there already when it is renewed."""
    names = [backwards(each.value) for each in certificate.names]
    for start in range(0, len(names), NAMED_AT_ONCE):
        some = names[start : start + NAMED_AT_ONCE]
        yield Statement(
            "INSERT INTO managed_certificate_names (certificate_id, reversed_name)"
            f" VALUES {', '.join(['(?, ?)'] * len(some))} ON CONFLICT DO NOTHING",
            [each for name in some for each in (managed, name)],
        )


def revoke(certificate_id: str, reason: int, now: datetime) -> Statement:
    """Record a certificate as revoked; touches no row if it was already."""
    return Statement(
        "UPDATE certificate_versions SET revoked_at = ?, revocation_reason = ? WHERE id = ? AND revoked_at IS NULL",
        (now, reason, certificate_id),
        rows=1,
    )
