"""What is counted for operators, each over a span of time from a moment up to another, which is not in it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs

from certctl.acme import ids
from certctl.acme.identifiers import Identifier
from certctl.storage.database import Query, Row, every, placeholders
from certctl.storage.orders import unpack
from certctl.storage.search.audit import INDEXED, LAST
from certctl.storage.search.where import Where

SKEW = timedelta(minutes=10)  # that the clocks of servers may differ by


def _one(rows: list[Row]) -> int:
    return int(rows[0][0] or 0)


def issued(start: datetime, end: datetime) -> Query[int]:
    """How many certificates were issued. The time is that of their ids."""
    return Query(
        "SELECT count(*) FROM certificate_versions WHERE id >= ? AND id < ?",
        (ids.least(ids.CERTIFICATE, start), ids.least(ids.CERTIFICATE, end)),
        _one,
    )


def begun(start: datetime, end: datetime) -> Query[int]:
    """How many sets of names got their first certificate; all others that were issued are renewals."""
    return Query(
        "SELECT count(*) FROM managed_certificates WHERE created_at >= ? AND created_at < ?",
        (start, end),
        _one,
    )


def revoked(start: datetime, end: datetime) -> Query[int]:
    """How many certificates were revoked."""
    return Query(
        "SELECT count(*) FROM certificate_versions WHERE revoked_at IS NOT NULL AND revoked_at >= ?"
        " AND revoked_at < ?",
        (start, end),
        _one,
    )


def failed(start: datetime, end: datetime) -> Query[dict[str, int]]:
    """How many challenges failed, by the type of the problem."""
    return Query(
        "SELECT error ->> 'type', count(*) FROM acme_challenges WHERE status = 'invalid' AND updated_at >= ?"
        " AND updated_at < ? GROUP BY error ->> 'type'",
        (start, end),
        lambda rows: {row[0] or "": int(row[1]) for row in rows},
    )


def refused(start: datetime, end: datetime, actions: Sequence[str]) -> Query[dict[str, int]]:
    """How many refusals the trail has, by action, with those that were counted instead of recorded."""
    # Ids are in the order of the times, but for what clocks differ by: so a walk begins and ends a little outside.
    first = "SELECT id FROM audit_events WHERE created_at >= ? ORDER BY created_at, id LIMIT 1"
    where = Where().also(f"id >= coalesce(({first}), 0)", start - SKEW)
    where.also(f"id <= coalesce(({first}), {LAST})", end + SKEW)
    where.also("created_at >= ? AND created_at < ?", start, end)
    where.also(f"action IN ({placeholders(len(actions))})", *actions).also(INDEXED)
    return Query(
        "SELECT action, sum(1 + coalesce(CAST(details ->> 'unrecorded' AS INTEGER), 0))"
        f" FROM audit_events{where} GROUP BY action",
        where.parameters,
        lambda rows: {row[0]: int(row[1]) for row in rows},
    )


@attrs.frozen(kw_only=True)
class Counted:
    """What happened in a span of time: ``failed`` by the type of the problem, ``refused`` by the trail's action."""

    issued: int
    begun: int
    revoked: int
    failed: dict[str, int]
    refused: dict[str, int]


@attrs.frozen(kw_only=True)
class Asking:
    """How many orders an account made."""

    account_id: str
    orders: int


def asking(start: datetime, limit: int) -> Query[list[Asking]]:
    """The accounts that made most orders since then."""
    return Query(
        "SELECT account_id, count(*) AS made FROM acme_orders WHERE id >= ? GROUP BY account_id"
        " ORDER BY made DESC, account_id LIMIT ?",
        (ids.least(ids.ORDER, start), limit),
        every(lambda row: Asking(account_id=row[0], orders=int(row[1]))),
    )


@attrs.frozen(kw_only=True)
class Ending:
    """Names whose newest certificate ends soon."""

    certificate_id: str
    account_id: str
    profile_id: str
    names: tuple[Identifier, ...]
    not_after: datetime


_ENDING = (
    "FROM managed_certificates m JOIN certificate_versions v ON v.id = m.newest_version_id"
    " WHERE m.not_after >= ? AND m.not_after < ? AND v.revoked_at IS NULL"
)


def ending(start: datetime, end: datetime, limit: int) -> Query[list[Ending]]:
    """The names whose newest certificate ends in that time, the first to end first."""
    return Query(
        f"SELECT m.newest_version_id, m.account_id, m.profile_id, m.names, m.not_after {_ENDING}"
        " ORDER BY m.not_after, m.id LIMIT ?",
        (start, end, limit),
        every(
            lambda row: Ending(
                certificate_id=row[0],
                account_id=row[1],
                profile_id=row[2],
                names=unpack(row[3]),
                not_after=row[4],
            )
        ),
    )


def count_ending(start: datetime, end: datetime, most: int) -> Query[int]:
    """How many sets of names there are whose newest certificate ends in that time; so many if there are more."""
    return Query(f"SELECT count(*) FROM (SELECT 1 {_ENDING} LIMIT ?) AS counted", (start, end, most), _one)
