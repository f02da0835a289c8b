"""What became of an issuer's certificates, as its CRL and its OCSP answers tell it.

A trigger of the schema numbers the revocations of an issuer in the order in which they are committed. Who knows all up
to a number therefore asks for those above it, and misses none, whichever server revoked.
"""

from __future__ import annotations

from datetime import datetime

import attrs

from certctl.storage.database import Query, Row, every, first


@attrs.frozen
class Revoked:
    """A revoked certificate."""

    number: int  # its place among the revocations of its issuer
    serial: str
    at: datetime
    reason: int
    not_after: datetime


@attrs.frozen
class Fate:
    """A certificate's end: of its validity, and of the trust in it."""

    not_after: datetime
    revoked_at: datetime | None
    reason: int | None


# By its order, and not by max(): for that PostgreSQL may read all numbers, where its statistics say that hardly
# anything is revoked.
_NEWEST = (
    "SELECT v.revocation_number FROM certificate_versions v WHERE v.issuer_id = {issuer} AND"
    " v.revocation_number IS NOT NULL ORDER BY v.issuer_id DESC, v.revocation_number DESC LIMIT 1"
)


def newest(issuer_id: str) -> Query[int]:
    """The number of an issuer's newest revocation; 0 if there is none."""
    return Query(_NEWEST.format(issuer="?"), (issuer_id,), lambda rows: rows[0][0] if rows else 0)


def newest_of_each() -> Query[dict[str, int]]:
    """The number of the newest revocation of each issuer that has one."""
    return Query(
        f"SELECT i.id, ({_NEWEST.format(issuer='i.id')}) FROM issuers i",
        (),
        lambda rows: {row[0]: row[1] for row in rows if row[1] is not None},
    )


def after(issuer_id: str, number: int, most: int) -> Query[list[Revoked]]:
    """An issuer's revocations above a number in their order, so many at most."""
    return Query(
        "SELECT revocation_number, serial_number, revoked_at, revocation_reason, not_after FROM certificate_versions"
        " WHERE issuer_id = ? AND revocation_number > ? ORDER BY revocation_number LIMIT ?",
        (issuer_id, number, most),
        every(_revoked),
    )


def fate(issuer_id: str, serial: str) -> Query[Fate | None]:
    """What became of an issuer's certificate; None if it has issued none of that serial."""
    return Query(
        "SELECT not_after, revoked_at, revocation_reason FROM certificate_versions"
        " WHERE serial_number = ? AND issuer_id = ?",
        (serial, issuer_id),
        first(lambda row: Fate(*row)),
    )


def _revoked(row: Row) -> Revoked:
    number, serial, at, reason, not_after = row
    return Revoked(number, serial, at, reason or 0, not_after)
