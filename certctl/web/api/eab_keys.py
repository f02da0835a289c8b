"""Keys for external account bindings (``/api/eab-keys``)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from certctl.acme.eab import EabKey, Standing
from certctl.authority.operators import absent
from certctl.storage import eab_keys
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import READ, WORK, Operation
from certctl.web.api.schema import Document, Id, Line, Moment, Page, Paging, given


class EabKeyDocument(msgspec.Struct, kw_only=True):
    """A key that binds accounts of a profile. Its id is the key identifier (``kid``) that clients send."""

    id: str
    profile_id: str
    name: str
    status: Standing
    single_use: bool
    uses: int
    policy: dict[str, Any]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class MadeEabKey(EabKeyDocument, kw_only=True):
    """A key that was just made. ``mac_key``, in base64url, is shown this once."""

    mac_key: str


class NewEabKey(Document):
    """A key to be made. Accounts that it binds inherit its policy."""

    profile_id: Id
    name: Line
    single_use: bool = False
    expires_at: Moment | None = None
    policy: dict[str, Any] = msgspec.field(default_factory=dict)


class EabKeyQuery(Paging):
    """Which keys are asked for."""

    profile_id: Id | UnsetType = UNSET
    status: Standing | UnsetType = UNSET


async def list_eab_keys(call: Call[Nothing, EabKeyQuery]) -> Reply:
    """List keys for external account bindings, the newest first."""
    asked, read, now = call.query, call.administration.database.read, call.administration.now()
    wanted = given(asked, "profile_id")
    if not isinstance(asked.status, UnsetType):
        wanted["standing"] = asked.status
    offset = (asked.page - 1) * asked.per_page
    found = await read(eab_keys.page(now, **wanted, limit=asked.per_page, offset=offset))
    page = Page(
        data=[EabKeyDocument(**_members(each, now)) for each in found],
        total=await read(eab_keys.count(now, **wanted)),
        page=asked.page,
        per_page=asked.per_page,
    )
    return Reply(value=page)


async def create_eab_key(call: Call[NewEabKey, Nothing]) -> Reply:
    """Make a key for external account bindings; the answer shows its MAC key this once."""
    key, mac_key = await call.administration.bindings.create(call.caller, **given(call.body))
    made = MadeEabKey(mac_key=mac_key, **_members(key, call.administration.now()))
    return Reply(value=made, status=201, headers={"Location": f"/api/eab-keys/{key.id}"})


async def eab_key(call: Call[Nothing, Nothing]) -> Reply:
    """Show a key, without its MAC key."""
    found = await call.administration.database.read(eab_keys.by_id(call.id))
    if found is None:
        raise absent("EAB key", call.id)
    return Reply(value=EabKeyDocument(**_members(found, call.administration.now())))


async def revoke_eab_key(call: Call[Nothing, Nothing]) -> Reply:
    """Revoke a key: it binds no account any more; accounts that it bound stay."""
    await call.administration.bindings.revoke(call.caller, call.id)
    return Reply(status=204)


def _members(key: EabKey, now: datetime) -> dict[str, Any]:
    return {
        "id": key.id,
        "profile_id": key.profile_id,
        "name": key.name,
        "status": key.standing(now),
        "single_use": key.single_use,
        "uses": key.uses,
        "policy": dict(key.policy),
        "created_by": key.created_by,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


OPERATIONS = (
    Operation("GET", "eab-keys", list_eab_keys, READ, Page[EabKeyDocument], query=EabKeyQuery),
    Operation("POST", "eab-keys", create_eab_key, WORK, MadeEabKey, body=NewEabKey, status=201),
    Operation("GET", "eab-keys/<id>", eab_key, READ, EabKeyDocument),
    Operation("DELETE", "eab-keys/<id>", revoke_eab_key, WORK, None, status=204),
)
