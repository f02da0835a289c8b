"""Accounts of ACME, as operators see them (``/api/accounts``)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from certctl.authority.authorizations import PAUSE_LASTS
from certctl.storage.search import accounts
from certctl.storage.search.accounts import AccountFilter, Failures, SeenAccount
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import READ, WORK, Operation
from certctl.web.api.schema import Document, Id, Line, Name, Page, Paging, given, identifier, merged, paged

AccountStatus = Literal["valid", "deactivated", "revoked"]


class AccountDocument(msgspec.Struct, kw_only=True):
    """An account: who asks for certificates under a profile (RFC 8555 section 7.1.2)."""

    id: str
    profile_id: str
    status: AccountStatus
    contact: list[str]
    terms_agreed: bool
    thumbprint: str
    eab_key_id: str | None
    policy: dict[str, Any]
    paused_at: datetime | None
    created_at: datetime
    updated_at: datetime


class AccountQuery(Paging):
    """Which accounts are asked for. ``contact`` is the end of one, in whatever case."""

    profile_id: Id | UnsetType = UNSET
    status: AccountStatus | UnsetType = UNSET
    thumbprint: Id | UnsetType = UNSET
    contact: Line | UnsetType = UNSET
    eab_key_id: Id | UnsetType = UNSET


class AccountChanges(Document):
    """A JSON merge patch (RFC 7396) of an account. Only these members can be changed."""

    paused: bool | UnsetType = UNSET
    policy: dict[str, Any] | UnsetType = UNSET


class PauseDocument(msgspec.Struct, kw_only=True):
    """A name of which an account failed to show control, and until when it is paused for that."""

    identifier: str
    failures: int
    last_failed_at: datetime
    paused: bool
    until: datetime


class Unpausing(Document):
    """Which name is to be paused no more; all of the account's if none is named."""

    identifier: Name | UnsetType = UNSET


async def list_accounts(call: Call[Nothing, AccountQuery]) -> Reply:
    """List accounts, the newest first."""
    asked, read = call.query, call.administration.database.read
    wanted = AccountFilter(
        **given(asked, "profile_id", "status", "thumbprint", "contact", "eab_key_id"),
    )
    found = await read(accounts.page(wanted, asked.per_page, (asked.page - 1) * asked.per_page))
    page = Page(
        data=[_document(each) for each in found],
        total=await read(accounts.count(wanted)),
        page=asked.page,
        per_page=asked.per_page,
    )
    return Reply(value=page)


async def account(call: Call[Nothing, Nothing]) -> Reply:
    """Show an account."""
    return _reply(await call.administration.supervision.by_id(call.id))


async def change_account(call: Call[AccountChanges, Nothing]) -> Reply:
    """Pause an account, let it go on, or change its policy, which narrows the profile's."""
    supervision = call.administration.supervision
    seen = await supervision.by_id(call.id)
    call.must_match(_etag(seen))
    changes = given(call.body)
    if "policy" in changes:
        changes["policy"] = merged(seen.account.policy, changes["policy"])
    return _reply(await supervision.change(call.caller, seen, **changes))


async def deactivate_account(call: Call[Nothing, Nothing]) -> Reply:
    """Deactivate an account for good; its open orders end, its certificates stay."""
    supervision = call.administration.supervision
    return _reply(await supervision.deactivate(call.caller, await supervision.by_id(call.id)))


async def list_pauses(call: Call[Nothing, Paging]) -> Reply:
    """List the names of which an account failed to show control, and which of them are paused."""
    seen = await call.administration.supervision.by_id(call.id)
    found = await call.administration.database.read(accounts.failures(seen.account.id))
    return Reply(value=paged([_pause(each, call) for each in found], call.query))


async def unpause_account(call: Call[Unpausing, Nothing]) -> Reply:
    """Let names of an account be ordered again that are paused after failed validations."""
    supervision = call.administration.supervision
    name = identifier(call.body.identifier, "identifier")
    await supervision.unpause(call.caller, await supervision.by_id(call.id), name.value if name else None)
    return Reply(status=204)


def _etag(seen: SeenAccount) -> str:
    return f'"{seen.updated_at.timestamp():.6f}"'


def _document(seen: SeenAccount) -> AccountDocument:
    account = seen.account
    return AccountDocument(
        id=account.id,
        profile_id=account.profile_id,
        status=account.status.value,  # type: ignore[arg-type]
        contact=list(account.contact),
        terms_agreed=account.terms_agreed,
        thumbprint=account.thumbprint,
        eab_key_id=account.eab_key_id,
        policy=dict(account.policy),
        paused_at=account.paused_at,
        created_at=account.created_at,
        updated_at=seen.updated_at,
    )


def _pause(found: Failures, call: Call[Any, Any]) -> PauseDocument:
    limit, until = call.administration.pause_after, found.updated_at + PAUSE_LASTS
    return PauseDocument(
        identifier=found.identifier,
        failures=found.failures,
        last_failed_at=found.updated_at,
        paused=0 < limit <= found.failures and call.administration.now() <= until,
        until=until,
    )


def _reply(seen: SeenAccount) -> Reply:
    return Reply(value=_document(seen), headers={"ETag": _etag(seen)})


OPERATIONS = (
    Operation("GET", "accounts", list_accounts, READ, Page[AccountDocument], query=AccountQuery),
    Operation("GET", "accounts/<id>", account, READ, AccountDocument),
    Operation("PATCH", "accounts/<id>", change_account, WORK, AccountDocument, body=AccountChanges),
    Operation("POST", "accounts/<id>/deactivate", deactivate_account, WORK, AccountDocument),
    Operation("GET", "accounts/<id>/pauses", list_pauses, READ, Page[PauseDocument], query=Paging),
    Operation("POST", "accounts/<id>/unpause", unpause_account, WORK, None, body=Unpausing, status=204),
)
