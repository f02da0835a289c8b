"""The certificates that a mass renewal means, and what became of each."""

from __future__ import annotations

from datetime import datetime

import attrs

from certctl.acme.identifiers import Identifier
from certctl.acme.mass_renewal import MassRenewal, State
from certctl.storage.database import Query, Row, every, placeholders, searching
from certctl.storage.orders import unpack
from certctl.storage.search.where import Where

AT_ONCE = 50  # serials that are looked for in one query

# A certificate was replaced if its account has a newer one for the same names, or if an order said so (RFC 9773
# section 5). The first parameter is the least id of a newer one, the second the time.
_STATE = (
    "CASE WHEN m.newest_version_id >= ? OR EXISTS (SELECT 1 FROM acme_orders o WHERE o.replaces_id = v.id"
    f" AND o.status = 'valid') THEN '{State.COME}' WHEN v.revoked_at IS NOT NULL THEN '{State.REVOKED}'"
    f" WHEN v.not_after < ? THEN '{State.EXPIRED}' ELSE '{State.WAITING}' END AS state"
)
_FROM = "FROM certificate_versions v JOIN managed_certificates m ON m.id = v.certificate_id"


@attrs.frozen
class Tally:
    """How many certificates of an account are in a state, in a part of a walk."""

    account_id: str
    state: State
    count: int
    last: str  # the greatest id of them


@attrs.frozen(kw_only=True)
class Member:
    """A certificate that is to be renewed."""

    id: str
    account_id: str
    profile_id: str
    issuer_id: str
    serial: str
    names: tuple[Identifier, ...]
    not_after: datetime
    state: State


def parts(renewal: MassRenewal) -> list[tuple[str, ...]]:
    """The serials in parts of one size, each of which is walked by itself; one empty part where all are meant."""
    serials = sorted(renewal.serials)
    found = [serials[start : start + AT_ONCE] for start in range(0, len(serials), AT_ONCE)]
    return [(*each, *each[-1:] * (AT_ONCE - len(each))) for each in found] or [()]


def tally(
    renewal: MassRenewal, serials: tuple[str, ...], now: datetime, after: str, limit: int
) -> Query[list[Tally]]:
    """The states of so many certificates behind an id, by account."""
    where = _meant(renewal, serials).also("v.id > ?", after)
    return searching(
        "SELECT account_id, state, count(*), max(id) FROM"
        f" (SELECT v.id, v.account_id, {_STATE} {_FROM}{where} ORDER BY v.id LIMIT ?) found"
        " GROUP BY account_id, state",
        (renewal.new_ids_from, now, *where.parameters, limit),
        every(lambda row: Tally(row[0], State(row[1]), int(row[2]), row[3])),
    )


def end_of_page(renewal: MassRenewal, serials: tuple[str, ...], after: str, size: int) -> Query[str | None]:
    """The id of the last of so many certificates behind an id; None if there are not so many."""
    where = _meant(renewal, serials).also("v.id > ?", after)
    return searching(
        f"SELECT v.id FROM certificate_versions v{where} ORDER BY v.id LIMIT 1 OFFSET ?",
        (*where.parameters, size - 1),
        lambda rows: rows[0][0] if rows else None,
    )


def members(
    renewal: MassRenewal,
    serials: tuple[str, ...],
    states: tuple[State, ...],
    now: datetime,
    between: tuple[str, str | None],
    limit: int,
) -> Query[list[Member]]:
    """So many certificates that are in one of these states, in the order of their ids: behind an id, up to another."""
    where = _meant(renewal, serials).also("v.id > ?", between[0])
    if between[1] is not None:
        where.also("v.id <= ?", between[1])
    return searching(
        "SELECT id, account_id, profile_id, issuer_id, serial_number, names, not_after, state FROM"
        f" (SELECT v.id, v.account_id, v.profile_id, v.issuer_id, v.serial_number, m.names, v.not_after, {_STATE}"
        f" {_FROM}{where}) found WHERE state IN ({placeholders(len(states))}) ORDER BY id LIMIT ?",
        (renewal.new_ids_from, now, *where.parameters, *states, limit),
        every(_member),
    )


def _meant(renewal: MassRenewal, serials: tuple[str, ...]) -> Where:
    """As MassRenewal.means has it, without what had ended before the start."""
    where = Where().also("v.id < ?", renewal.ids_before)
    for column in ("profile_id", "issuer_id", "account_id"):
        where.equal(**{f"v.{column}": getattr(renewal, column)})
    if serials:
        where.also(f"v.serial_number IN ({placeholders(len(serials))})", *serials)
    where.also("v.not_after >= ?", renewal.starts_at)
    return where.also("(v.revoked_at IS NULL OR v.revoked_at >= ?)", renewal.starts_at)


def _member(row: Row) -> Member:
    id, account_id, profile_id, issuer_id, serial, names, not_after, state = row
    return Member(
        id=id,
        account_id=account_id,
        profile_id=profile_id,
        issuer_id=issuer_id,
        serial=serial,
        names=unpack(names),
        not_after=not_after,
        state=State(state),
    )
