"""What ended long ago: found by pages in the order of ids, deleted in batches, never what something alive hangs on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import attrs

from certctl.acme import ids
from certctl.storage.database import Query, Row, Statement, every, placeholders

AT_ONCE = 500  # ids in a statement

_ENDED = "status IN ('invalid', 'deactivated', 'expired', 'revoked')"  # of an authorization
_TIED = "EXISTS (SELECT 1 FROM acme_order_authorizations l WHERE l.authorization_id = {}.id)"
_HAS_CERTIFICATE = "EXISTS (SELECT 1 FROM certificate_versions v WHERE v.order_id = acme_orders.id)"
_HAS_JOB = "EXISTS (SELECT 1 FROM issuance_jobs j WHERE j.order_id = acme_orders.id)"
_REISSUED = "EXISTS (SELECT 1 FROM certificate_versions v WHERE v.certificate_id = {})"


@attrs.frozen
class Issued:
    """A certificate, as much of it as decides whether it stays."""

    id: str
    order_id: str
    managed_id: str
    serial: str
    not_after: datetime
    is_newest_revoked: bool  # of its issuer: the next revocation's number is counted from it


def invalid_orders(before: datetime, limit: int) -> Query[list[str]]:
    """The ids of the first orders without a certificate that ended before a time, and that no issuer works on."""
    return Query(
        "SELECT id FROM acme_orders WHERE status = 'invalid' AND id < ? AND updated_at < ?"
        f" AND NOT {_HAS_CERTIFICATE} AND NOT {_HAS_JOB} ORDER BY id LIMIT ?",
        (ids.least(ids.ORDER, before), before, limit),
        every(lambda row: str(row[0])),
    )


def certificates_after(id: str, limit: int) -> Query[list[Issued]]:
    """The first certificates after an id."""
    return Query(
        "SELECT c.id, c.order_id, c.certificate_id, c.serial_number, c.not_after,"
        " CASE WHEN c.revocation_number IS NULL THEN 0 WHEN EXISTS (SELECT 1 FROM certificate_versions later"
        " WHERE later.issuer_id = c.issuer_id AND later.revocation_number > c.revocation_number) THEN 0 ELSE 1 END"
        " FROM certificate_versions c WHERE c.id > ? ORDER BY c.id LIMIT ?",
        (id, limit),
        every(_issued),
    )


def _issued(row: Row) -> Issued:
    id, order_id, managed_id, serial, not_after, newest = row
    return Issued(id, order_id, managed_id, serial, not_after, bool(newest))


def loose_authorizations_after(id: str, before: datetime, limit: int) -> Query[list[tuple[str, bool]]]:
    """The first authorizations after an id that were made before a time; whether each ended then without an order."""
    loose = f"a.{_ENDED} AND a.updated_at < ? AND NOT {_TIED.format('a')}"
    return Query(
        f"SELECT a.id, CASE WHEN {loose} THEN 1 ELSE 0 END FROM acme_authorizations a"
        " WHERE a.id > ? AND a.id < ? ORDER BY a.id LIMIT ?",
        (before, id, ids.least(ids.AUTHORIZATION, before), limit),
        every(lambda row: (str(row[0]), bool(row[1]))),
    )


def authorizations_of(order_ids: Sequence[str]) -> Query[list[str]]:
    """The ids of the authorizations that orders hang on."""
    return Query(
        "SELECT DISTINCT authorization_id FROM acme_order_authorizations"
        f" WHERE order_id IN ({placeholders(len(order_ids))})",
        order_ids,
        every(lambda row: str(row[0])),
    )


def delete_orders(order_ids: Sequence[str]) -> list[Statement]:
    """Delete orders that have ended, and what ties them to authorizations."""
    among = f"IN ({placeholders(len(order_ids))})"
    return [
        Statement(f"DELETE FROM acme_order_authorizations WHERE order_id {among}", order_ids),
        Statement(
            f"DELETE FROM acme_orders WHERE id {among} AND status IN ('valid', 'invalid') AND NOT {_HAS_JOB}",
            order_ids,
            rows=len(order_ids),
        ),
    ]


def delete_authorizations(authorization_ids: Sequence[str]) -> Iterator[Statement]:
    """Delete those of some authorizations that have ended and that no order hangs on, and their challenges."""
    for some in _portions(authorization_ids):
        among = f"IN ({placeholders(len(some))})"
        loose = f"id {among} AND {_ENDED} AND NOT {_TIED.format('acme_authorizations')}"
        yield Statement(
            "DELETE FROM acme_challenges WHERE authorization_id IN"
            f" (SELECT id FROM acme_authorizations WHERE {loose})",
            some,
        )
        yield Statement(f"DELETE FROM acme_authorizations WHERE {loose}", some)


def delete_certificates(certificates: Sequence[Issued], before: datetime) -> Iterator[Statement]:
    """Delete certificates that ended before a time, and names that an account keeps no certificate for any more.

    The names are taken hold of first, so that a renewal at the same moment is seen, or sees that they are gone.
    """
    managed = tuple(dict.fromkeys(each.managed_id for each in certificates))
    among = f"IN ({placeholders(len(managed))})"
    yield Statement(f"UPDATE managed_certificates SET updated_at = updated_at WHERE id {among}", managed)
    yield Statement(
        f"DELETE FROM certificate_versions WHERE id IN ({placeholders(len(certificates))}) AND not_after < ?",
        (*(each.id for each in certificates), before),
        rows=len(certificates),
    )
    for table, column in (("managed_certificate_names", "certificate_id"), ("managed_certificates", "id")):
        left = _REISSUED.format(f"{table}.{column}")
        yield Statement(f"DELETE FROM {table} WHERE {column} {among} AND NOT {left}", managed)


def _portions(values: Iterable[str]) -> Iterator[tuple[str, ...]]:
    listed = tuple(values)
    for at in range(0, len(listed), AT_ONCE):
        yield listed[at : at + AT_ONCE]
