"""Keys of this API (``/api/keys``)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from certctl.authority.operators import Role, absent
from certctl.storage import api_keys
from certctl.storage.api_keys import ApiKey
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import ADMIN, Operation
from certctl.web.api.schema import Document, Moment, Page, Paging, paged

KeyName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", max_length=63)]


class KeyDocument(msgspec.Struct, kw_only=True):
    """An API key, of which nobody knows more than its name."""

    id: str
    name: str
    role: Role
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class MadeKey(KeyDocument, kw_only=True):
    """An API key that was just made. ``key`` is shown this once."""

    key: str


class NewKey(Document):
    """An API key to be made. Two good keys may have one name, so that one can take the other's place."""

    name: KeyName
    role: Role
    expires_at: Moment | None = None


async def list_keys(call: Call[Nothing, Paging]) -> Reply:
    """List API keys, without those of the settings."""
    found = await call.administration.database.read(api_keys.everyone())
    return Reply(value=paged([_document(each) for each in found], call.query))


async def create_key(call: Call[NewKey, Nothing]) -> Reply:
    """Make an API key; the answer shows it this once."""
    asked = call.body
    key, secret = await call.administration.api_keys.create(
        call.caller, asked.name, asked.role, asked.expires_at
    )
    made = MadeKey(key=secret, **msgspec.structs.asdict(_document(key)))
    return Reply(value=made, status=201, headers={"Location": f"/api/keys/{key.id}"})


async def key(call: Call[Nothing, Nothing]) -> Reply:
    """Show an API key, without the key itself."""
    found = await call.administration.database.read(api_keys.by_id(call.id))
    if found is None:
        raise absent("API key", call.id)
    return Reply(value=_document(found))


async def revoke_key(call: Call[Nothing, Nothing]) -> Reply:
    """Revoke an API key: no request with it is answered any more."""
    await call.administration.api_keys.revoke(call.caller, call.id)
    return Reply(status=204)


def _document(key: ApiKey) -> KeyDocument:
    return KeyDocument(
        id=key.id,
        name=key.name,
        role=Role(key.role),
        created_by=key.created_by,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
    )


OPERATIONS = (
    Operation("GET", "keys", list_keys, ADMIN, Page[KeyDocument], query=Paging),
    Operation("POST", "keys", create_key, ADMIN, MadeKey, body=NewKey, status=201),
    Operation("GET", "keys/<id>", key, ADMIN, KeyDocument),
    Operation("DELETE", "keys/<id>", revoke_key, ADMIN, None, status=204),
)
