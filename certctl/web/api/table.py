"""The operations of the REST API. From this table come the routes and the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from certctl.authority.operators import Role
from certctl.web.api import keys as key_resources
from certctl.web.api import profiles as profile_resources
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.keys import KeyDocument, MadeKey, NewKey
from certctl.web.api.profiles import Deletion, NewProfile, ProfileChanges, ProfileDocument, ProfileFilter
from certctl.web.api.schema import Page, Paging

Handler = Callable[[Call[Any, Any]], Awaitable[Reply]]


@attrs.frozen
class Operation:
    """What may be asked: how, by whom, with what, and what comes back.

    ``answers`` is the type of the answer's JSON, None where it has none; ``media`` are other types it may have.
    """

    method: str
    path: str
    handler: Handler
    role: Role
    answers: Any
    body: Any = Nothing
    query: Any = Nothing
    status: int = 200
    media: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The operation's name, which is that of its handler."""
        return str(getattr(self.handler, "__name__", ""))

    @property
    def variables(self) -> list[str]:
        """The names of the path's variable parts."""
        return re.findall("<([^>]*)>", self.path)


READ, WORK, ADMIN = Role.READ_ONLY, Role.OPERATOR, Role.ADMIN

OPERATIONS = (
    Operation(
        "GET",
        "profiles",
        profile_resources.list_profiles,
        READ,
        Page[ProfileDocument],
        query=ProfileFilter,
    ),
    Operation(
        "POST",
        "profiles",
        profile_resources.create_profile,
        ADMIN,
        ProfileDocument,
        body=NewProfile,
        status=201,
    ),
    Operation("GET", "profiles/<id>", profile_resources.profile, READ, ProfileDocument),
    Operation(
        "PATCH",
        "profiles/<id>",
        profile_resources.change_profile,
        ADMIN,
        ProfileDocument,
        body=ProfileChanges,
    ),
    Operation(
        "PUT",
        "profiles/<id>",
        profile_resources.replace_profile,
        ADMIN,
        ProfileDocument,
        body=NewProfile,
    ),
    Operation(
        "DELETE",
        "profiles/<id>",
        profile_resources.delete_profile,
        ADMIN,
        ProfileDocument,
        query=Deletion,
    ),
    Operation("GET", "keys", key_resources.list_keys, ADMIN, Page[KeyDocument], query=Paging),
    Operation("POST", "keys", key_resources.create_key, ADMIN, MadeKey, body=NewKey, status=201),
    Operation("GET", "keys/<id>", key_resources.key, ADMIN, KeyDocument),
    Operation("DELETE", "keys/<id>", key_resources.revoke_key, ADMIN, None, status=204),
)
