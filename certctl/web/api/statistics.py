"""What happened lately, in numbers (``/api/statistics``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from certctl.authority.administration import Administration
from certctl.authority.operators import Kind, Refused
from certctl.authority.trail import Action
from certctl.storage.database import Database, Unavailable
from certctl.storage.search import statistics
from certctl.storage.search.statistics import Counted
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import READ, Operation
from certctl.web.api.schema import Document, IdentifierDocument, Moment

DAY = timedelta(days=1)
USUAL = timedelta(days=30)
MOST_DAYS = 366
MOST_ENDING = 100
TOP = 20
MOST_COUNTED = 1000  # names that end soon, so that counting them takes no time that anybody notices
SETTLED = timedelta(minutes=10)  # after its end, when a day's numbers change no more
REFUSALS = (
    Action.ORDER_REFUSED,
    Action.RATE_LIMITED,
    Action.BINDING_REFUSED,
    Action.CERTIFICATE_REVOCATION_REFUSED,
)


class DayDocument(msgspec.Struct, kw_only=True):
    """A day, in UTC. ``renewed`` are those of ``issued`` whose account had one for the same names before."""

    date: str
    issued: int
    renewed: int
    revoked: int
    failed: int
    refused: int


class EndingDocument(msgspec.Struct, kw_only=True):
    """Names whose newest certificate ends soon, and is not revoked."""

    certificate_id: str
    account_id: str
    profile_id: str
    names: list[IdentifierDocument]
    not_after: datetime


class TopDocument(msgspec.Struct, kw_only=True):
    """An account that asks often."""

    account_id: str
    orders: int


class StatisticsDocument(msgspec.Struct, kw_only=True):
    """What happened since then, and what is about to end.

    ``failed`` are challenges, ``failures`` by the type of their problem, ``refusals`` by the action of the trail.
    ``expiring_total`` counts up to 1000.
    """

    since: datetime
    until: datetime
    issued: int
    renewed: int
    revoked: int
    failed: int
    refused: int
    days: list[DayDocument]
    failures: dict[str, int]
    refusals: dict[str, int]
    expiring_within_days: int
    expiring_total: int
    expiring: list[EndingDocument]
    top_accounts: list[TopDocument]


class StatisticsQuery(Document):
    """From when on, whole days back to 366 (30 if not given); how soon is soon; how many accounts that order most."""

    since: Moment | UnsetType = UNSET
    expiring_within_days: Annotated[int, Meta(ge=1, le=3660)] = 14
    top: Annotated[int, Meta(ge=0, le=100)] = TOP


async def show_statistics(call: Call[Nothing, StatisticsQuery]) -> Reply:
    """Count what was issued, renewed, revoked, refused and what failed, day by day; say what ends and who asks most."""
    now, database, asked = call.administration.now(), call.administration.database, call.query
    since = now - USUAL if isinstance(asked.since, UnsetType) else asked.since.astimezone(UTC)
    if not now - MOST_DAYS * DAY <= since <= now:
        raise Refused(Kind.INVALID, f"since lies in the last {MOST_DAYS} days")
    failures: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    days = []
    for start, end in _days(since, now):
        counted = await _day(call.administration, start, end)
        failures.update(counted.failed)
        refusals.update(counted.refused)
        days.append(_shown(start, counted))
    soon = now, now + asked.expiring_within_days * DAY
    ending = await database.read(statistics.ending(*soon, MOST_ENDING))
    top = await database.read(statistics.asking(since, asked.top)) if asked.top else []
    answer = StatisticsDocument(
        since=since,
        until=now,
        issued=sum(each.issued for each in days),
        renewed=sum(each.renewed for each in days),
        revoked=sum(each.revoked for each in days),
        failed=failures.total(),
        refused=refusals.total(),
        days=days,
        failures=dict(failures),
        refusals=dict(refusals),
        expiring_within_days=asked.expiring_within_days,
        expiring_total=await database.read(statistics.count_ending(*soon, MOST_COUNTED)),
        expiring=[_ending(each) for each in ending],
        top_accounts=[TopDocument(account_id=each.account_id, orders=each.orders) for each in top],
    )
    return Reply(value=answer)


async def count_ahead(administration: Administration, days: int) -> None:
    """Count so many days, today among them, so that who asks for them soon need not wait until they are counted."""
    now = administration.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    with suppress(Unavailable):  # they are counted when they are asked for
        for start, end in _days(midnight - (days - 1) * DAY, now):
            await _day(administration, start, end)


def _days(since: datetime, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The days from then to now, each with its end; the first and the last may be parts."""
    start = since
    while start <= now:
        end = start.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
        yield start, end
        start = end


async def _day(administration: Administration, start: datetime, end: datetime) -> Counted:
    """What a day counts; one that ended a while ago is counted once, and remembered by this server."""
    kept = administration.counted_days
    if (found := kept.get((start, end))) is not None:
        return found
    found = await _count(administration.database, start, end)
    if end - start == DAY and end < administration.now() - SETTLED:
        while len(kept) >= MOST_DAYS:
            del kept[next(iter(kept))]
        kept[start, end] = found
    return found


async def _count(database: Database, start: datetime, end: datetime) -> Counted:
    issued = await database.read(statistics.issued(start, end))
    return Counted(
        issued=issued,
        begun=await database.read(statistics.begun(start, end)) if issued else 0,
        revoked=await database.read(statistics.revoked(start, end)),
        failed=await database.read(statistics.failed(start, end)),
        refused=await database.read(statistics.refused(start, end, [each.value for each in REFUSALS])),
    )


def _shown(start: datetime, counted: Counted) -> DayDocument:
    return DayDocument(
        date=f"{start:%Y-%m-%d}",
        issued=counted.issued,
        renewed=max(0, counted.issued - counted.begun),
        revoked=counted.revoked,
        failed=sum(counted.failed.values()),
        refused=sum(counted.refused.values()),
    )


def _ending(found: statistics.Ending) -> EndingDocument:
    return EndingDocument(
        certificate_id=found.certificate_id,
        account_id=found.account_id,
        profile_id=found.profile_id,
        names=[IdentifierDocument.of(each) for each in found.names],
        not_after=found.not_after,
    )


OPERATIONS = (
    Operation("GET", "statistics", show_statistics, READ, StatisticsDocument, query=StatisticsQuery),
)
