"""Mass renewals (``/api/renewals``): many certificates that are to be renewed by a time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from certctl.acme.mass_renewal import MassRenewal, State
from certctl.acme.members import WEB_URL
from certctl.authority.operators import Kind, Refused
from certctl.authority.renewal_counts import Progress
from certctl.storage import mass_renewals
from certctl.storage.search import accounts
from certctl.storage.search.renewals import Member
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.certificates import Serial, plain_serial
from certctl.web.api.operation import READ, WORK, Operation
from certctl.web.api.revocations import Reason
from certctl.web.api.schema import (
    Document,
    Following,
    Id,
    IdentifierDocument,
    Line,
    Moment,
    Page,
    Paging,
    Text,
    Window,
    given,
)

PATIENCE = 0.1  # seconds for a count, where the answer does not wait for it
MOST_SERIALS = 1000  # what a body of 64 KiB has room for
Serials = Annotated[list[Serial], Meta(max_length=MOST_SERIALS)]
Url = Annotated[str, Meta(max_length=2000)]
Standing = Literal["running", "finished", "cancelled"]
CertificateState = Literal["come", "revoked", "expired", "waiting"]
Revoked = Literal["none", "waiting", "all"]
REVOKED: dict[str, tuple[State, ...]] = {
    "none": (),
    "waiting": (State.WAITING,),
    "all": (State.WAITING, State.COME),
}


class NewMassRenewal(Document):
    """Certificates that are to be renewed until ``due_at``.

    Which: all that every given member fits. At least one of ``profile_id``, ``issuer_id``, ``account_id``, ``serials``
    and ``issued_before`` is given. ``explanation_url`` is a page for people; without it the server shows
    ``explanation``. A drill revokes nothing at its end.
    """

    name: Line
    due_at: Moment
    explanation: Text = ""
    explanation_url: Url | UnsetType = UNSET
    drill: bool = False
    profile_id: Id | UnsetType = UNSET
    issuer_id: Id | UnsetType = UNSET
    account_id: Id | UnsetType = UNSET
    serials: Serials | UnsetType = UNSET
    issued_before: Moment | UnsetType = UNSET


class Foreseen(msgspec.Struct, kw_only=True):
    """What a mass renewal would do: how many certificates of how many accounts it asks for, and what to know first."""

    certificates: int
    accounts: int
    warnings: list[str]


class MassRenewalDocument(msgspec.Struct, kw_only=True):
    """A mass renewal. Windows of its certificates lie between ``starts_at`` and ``due_at``."""

    id: str
    name: str
    status: Standing
    drill: bool
    profile_id: str | None
    issuer_id: str | None
    account_id: str | None
    serials: int
    issued_before: datetime
    starts_at: datetime
    due_at: datetime
    explanation: str
    explanation_url: str | None
    created_by: str
    ended_at: datetime | None


class WholeMassRenewal(MassRenewalDocument, kw_only=True):
    """A mass renewal, and how far it has come: certificates by their state, and accounts that have not come.

    All of these numbers are as of ``counted_at``, and 0 while that is null: then they are being counted.
    """

    counted_at: datetime | None
    certificates: int
    come: int
    revoked: int
    expired: int
    waiting: int
    accounts_waiting: int


class MemberDocument(msgspec.Struct, kw_only=True):
    """A certificate that is to be renewed, and the window that its client is told."""

    id: str
    account_id: str
    profile_id: str
    serial: str
    names: list[IdentifierDocument]
    not_after: datetime
    state: CertificateState
    window_start: datetime
    window_end: datetime


class WaitingAccount(msgspec.Struct, kw_only=True):
    """An account that has not come, with how many certificates, and whom to write to."""

    account_id: str
    waiting: int
    contact: list[str]


class MassRenewalQuery(Paging):
    """Which mass renewals are asked for."""

    running: bool | UnsetType = UNSET


class ProgressQuery(Document):
    """Whether the answer waits until all certificates were counted, however many there are."""

    wait: bool = True


class WaitingAccountQuery(Paging):
    """Which part of the accounts is asked for, and whether the answer waits until they were counted."""

    wait: bool = True


class MemberQuery(Following):
    """Which certificates of a mass renewal are asked for."""

    state: CertificateState = "waiting"


class Finishing(Document):
    """What becomes of a mass renewal's certificates at its end. A dry run says how many would be revoked.

    ``waiting`` revokes those that were not replaced, ``all`` the replaced as well.
    """

    revoke: Revoked = "none"
    reason: Reason = "superseded"
    dry_run: bool = True


class Finished(msgspec.Struct, kw_only=True):
    """How many certificates were revoked; or, of a dry run, would be."""

    dry_run: bool
    revoked: int


async def list_mass_renewals(call: Call[Nothing, MassRenewalQuery]) -> Reply:
    """List mass renewals, the newest first."""
    asked, read = call.query, call.administration.database.read
    running = None if isinstance(asked.running, UnsetType) else asked.running
    found = await read(mass_renewals.page(running, asked.per_page, (asked.page - 1) * asked.per_page))
    page = Page(
        data=[MassRenewalDocument(**_members(each)) for each in found],
        total=await read(mass_renewals.count(running)),
        page=asked.page,
        per_page=asked.per_page,
    )
    return Reply(value=page)


async def preview_mass_renewal(call: Call[NewMassRenewal, Nothing]) -> Reply:
    """Say whom a mass renewal would ask to come, and start none."""
    found = await call.administration.mass_renewals.preview(_planned(call))
    return Reply(
        value=Foreseen(
            certificates=found.certificates, accounts=found.accounts, warnings=list(found.warnings)
        )
    )


async def start_mass_renewal(call: Call[NewMassRenewal, Nothing]) -> Reply:
    """Have clients renew: the windows of all certificates that are meant move to the time until it is due."""
    made = await call.administration.mass_renewals.start(call.caller, _planned(call))
    headers = {"Location": f"/api/renewals/{made.id}"}
    return Reply(value=MassRenewalDocument(**_members(made)), status=201, headers=headers)


async def mass_renewal(call: Call[Nothing, ProgressQuery]) -> Reply:
    """Show a mass renewal, and how far it has come, as it was counted not long ago."""
    renewal = await call.administration.mass_renewals.get(call.id)
    return Reply(value=await _whole(call, renewal, None if call.query.wait else PATIENCE))


async def list_mass_renewal_certificates(call: Call[Nothing, MemberQuery]) -> Reply:
    """List the certificates of a mass renewal that are in a state. A part may have less than ``per_page``, or nothing,
    and there is more behind it: the list ends where ``next_cursor`` is null.
    """
    asked, use_cases = call.query, call.administration.mass_renewals
    renewal = await use_cases.get(call.id)
    found, cursor = await use_cases.members(renewal, State(asked.state), asked.cursor, asked.per_page)
    data = [_member(renewal, each) for each in found]
    return Reply(value=Window(data=data, next_cursor=cursor, per_page=asked.per_page))


async def list_mass_renewal_accounts(call: Call[Nothing, WaitingAccountQuery]) -> Reply:
    """List the accounts that have not come, those with most certificates first, as it was counted not long ago."""
    asked, use_cases = call.query, call.administration.mass_renewals
    renewal = await use_cases.get(call.id)
    count = await use_cases.lately(renewal, None if asked.wait else PATIENCE)
    found = {} if count is None else count.progress.waiting
    order = sorted(found, key=lambda id: (-found[id], id))
    data = []
    for id in order[(asked.page - 1) * asked.per_page : asked.page * asked.per_page]:
        account = await call.administration.database.read(accounts.by_id(id))
        contact = [] if account is None else list(account.account.contact)
        data.append(WaitingAccount(account_id=id, waiting=found[id], contact=contact))
    page = Page(data=data, total=len(order), page=asked.page, per_page=asked.per_page)
    return Reply(value=page)


async def cancel_mass_renewal(call: Call[Nothing, Nothing]) -> Reply:
    """Cancel a mass renewal: windows are where they were before."""
    ended = await call.administration.mass_renewals.cancel(call.caller, call.id)
    return Reply(value=await _whole(call, ended, PATIENCE))


async def finish_mass_renewal(call: Call[Finishing, Nothing]) -> Reply:
    """End a mass renewal, and revoke what was not replaced, or all of it; a dry run by default."""
    asked, use_cases = call.body, call.administration.mass_renewals
    renewal, revoking = await use_cases.get(call.id), REVOKED[asked.revoke]
    use_cases.judge_finish(renewal, revoking)
    if asked.dry_run:
        count = await use_cases.lately(renewal)
        states = {} if count is None else count.progress.states
        return Reply(value=Finished(dry_run=True, revoked=sum(states.get(each, 0) for each in revoking)))
    _, revoked = await use_cases.finish(call.caller, renewal, revoking, asked.reason)
    return Reply(value=Finished(dry_run=False, revoked=revoked))


def _planned(call: Call[NewMassRenewal, Nothing]) -> MassRenewal:
    wanted = given(call.body)
    if (url := wanted.get("explanation_url")) is not None and not WEB_URL.match(url):
        raise Refused(Kind.INVALID, "explanation_url: is no http:// or https:// URL")
    if "serials" in wanted:
        wanted["serials"] = tuple(dict.fromkeys(plain_serial(each) for each in wanted["serials"]))
    return call.administration.mass_renewals.plan(call.caller, wanted)


async def _whole(call: Call[Any, Any], renewal: MassRenewal, patience: float | None) -> WholeMassRenewal:
    count = await call.administration.mass_renewals.lately(renewal, patience)
    progress = count.progress if count else Progress({}, {}, "")
    states: dict[str, Any] = {state.value: progress.states.get(state, 0) for state in State}
    return WholeMassRenewal(
        **_members(renewal),
        **states,
        certificates=progress.total,
        accounts_waiting=len(progress.waiting),
        counted_at=count.at if count else None,
    )


def _members(renewal: MassRenewal) -> dict[str, Any]:
    return {
        "id": renewal.id,
        "name": renewal.name,
        "status": "running" if renewal.outcome is None else renewal.outcome.value,
        "drill": renewal.drill,
        "profile_id": renewal.profile_id,
        "issuer_id": renewal.issuer_id,
        "account_id": renewal.account_id,
        "serials": len(renewal.serials),
        "issued_before": renewal.issued_before,
        "starts_at": renewal.starts_at,
        "due_at": renewal.due_at,
        "explanation": renewal.explanation,
        "explanation_url": renewal.explanation_url,
        "created_by": renewal.created_by,
        "ended_at": renewal.ended_at,
    }


def _member(renewal: MassRenewal, found: Member) -> MemberDocument:
    told = renewal.window(found.id)
    return MemberDocument(
        id=found.id,
        account_id=found.account_id,
        profile_id=found.profile_id,
        serial=found.serial,
        names=[IdentifierDocument.of(each) for each in found.names],
        not_after=found.not_after,
        state=found.state.value,
        window_start=told.start,
        window_end=told.end,
    )


OPERATIONS = (
    Operation("GET", "renewals", list_mass_renewals, READ, Page[MassRenewalDocument], query=MassRenewalQuery),
    Operation(
        "POST", "renewals", start_mass_renewal, WORK, MassRenewalDocument, body=NewMassRenewal, status=201
    ),
    Operation("POST", "renewals/preview", preview_mass_renewal, WORK, Foreseen, body=NewMassRenewal),
    Operation("GET", "renewals/<id>", mass_renewal, READ, WholeMassRenewal, query=ProgressQuery),
    Operation(
        "GET",
        "renewals/<id>/certificates",
        list_mass_renewal_certificates,
        READ,
        Window[MemberDocument],
        query=MemberQuery,
    ),
    Operation(
        "GET",
        "renewals/<id>/accounts",
        list_mass_renewal_accounts,
        READ,
        Page[WaitingAccount],
        query=WaitingAccountQuery,
    ),
    Operation("POST", "renewals/<id>/cancel", cancel_mass_renewal, WORK, WholeMassRenewal),
    Operation("POST", "renewals/<id>/finish", finish_mass_renewal, WORK, Finished, body=Finishing),
)
