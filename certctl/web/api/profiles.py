"""Certificate profiles (``/api/profiles``)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import attrs
import msgspec
from msgspec import UNSET, Meta, UnsetType

from certctl.acme import ids
from certctl.acme.objects import AuthMode, Profile
from certctl.acme.profile_policy import warnings
from certctl.authority.operators import absent
from certctl.storage.search import profiles
from certctl.storage.search.profiles import DatedProfile
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import ADMIN, READ, Operation
from certctl.web.api.schema import Document, Id, Line, Page, Paging, Text, given, merged, paged

ProfileId = Annotated[str, Meta(pattern=r"^prof-[A-Za-z0-9][A-Za-z0-9._-]{0,58}$", max_length=64)]
Seconds = Annotated[int, Meta(ge=60, le=100 * 366 * 86400)]


class ProfileDocument(msgspec.Struct, kw_only=True):
    """A certificate profile as it is."""

    id: str
    name: str
    description: str
    issuer_id: str
    enabled: bool
    acme_auth_mode: AuthMode
    max_ttl_seconds: int
    policy: dict[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None
    directory_url: str
    warnings: list[str]


class NewProfile(Document):
    """A profile to be made, or to be put in the place of one."""

    name: Line
    issuer_id: Id
    max_ttl_seconds: Seconds
    id: ProfileId | UnsetType = UNSET
    description: Text = ""
    enabled: bool = True
    acme_auth_mode: AuthMode | UnsetType = UNSET
    policy: dict[str, Any] = msgspec.field(default_factory=dict)


class ProfileChanges(Document):
    """A JSON merge patch (RFC 7396) of a profile; what it does not name stays."""

    name: Line | UnsetType = UNSET
    issuer_id: Id | UnsetType = UNSET
    max_ttl_seconds: Seconds | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    acme_auth_mode: AuthMode | UnsetType = UNSET
    policy: dict[str, Any] | UnsetType = UNSET


class ProfileFilter(Paging):
    """Which profiles are asked for."""

    enabled: bool | UnsetType = UNSET
    acme_auth_mode: AuthMode | UnsetType = UNSET
    issuer_id: Id | UnsetType = UNSET
    archived: bool | UnsetType = UNSET

    def admits(self, profile: Profile) -> bool:
        """Whether a profile is one of them."""
        return (
            self.enabled in (UNSET, profile.enabled)
            and self.acme_auth_mode in (UNSET, profile.acme_auth_mode)
            and self.issuer_id in (UNSET, profile.issuer_id)
            and self.archived in (UNSET, profile.archived_at is not None)
        )


class Deletion(Document):
    """How a profile goes."""

    archive: bool = False


class AskedName(Document):
    """An identifier as an order names it: of type ``dns`` or ``ip``."""

    type: Literal["dns", "ip"]
    value: Annotated[str, Meta(max_length=300)]


class Check(Document):
    """Names of which it is asked whether a profile allows them."""

    identifiers: Annotated[list[AskedName], Meta(min_length=1, max_length=200)]


class CheckedName(msgspec.Struct, kw_only=True):
    """Whether a profile allows a name, and the rule that says so."""

    identifier: AskedName
    allowed: bool
    rule: str


class Checked(msgspec.Struct, kw_only=True):
    """What a profile says of names."""

    data: list[CheckedName]


async def list_profiles(call: Call[Nothing, ProfileFilter]) -> Reply:
    """List profiles."""
    found = await call.administration.database.read(profiles.everyone())
    documents = [_document(each, call.origin) for each in found if call.query.admits(each.profile)]
    page: Page[ProfileDocument] = paged(documents, call.query)
    return Reply(value=page)


async def create_profile(call: Call[NewProfile, Nothing]) -> Reply:
    """Make a profile."""
    asked, administration = call.body, call.administration
    made = await administration.profiles.create(
        call.caller,
        Profile(
            id=ids.new(ids.PROFILE, administration.now()) if asked.id is UNSET else asked.id,
            acme_auth_mode=administration.default_mode
            if asked.acme_auth_mode is UNSET
            else asked.acme_auth_mode,
            **given(asked, "name", "description", "issuer_id", "enabled", "max_ttl_seconds", "policy"),
        ),
    )
    return await _reply(call, made.id, status=201, Location=f"/api/profiles/{made.id}")


async def profile(call: Call[Nothing, Nothing]) -> Reply:
    """Show a profile."""
    return await _reply(call, call.id)


async def change_profile(call: Call[ProfileChanges, Nothing]) -> Reply:
    """Change members of a profile; those of its policy too are merged, and null removes one."""
    old = await call.administration.profiles.by_id(call.id)
    call.must_match(_etag(old))
    changes = given(call.body)
    if "policy" in changes:
        changes["policy"] = merged(old.policy, changes["policy"])
    changed = await call.administration.profiles.change(call.caller, old, attrs.evolve(old, **changes))
    return await _reply(call, changed.id)


async def replace_profile(call: Call[NewProfile, Nothing]) -> Reply:
    """Put a profile in the place of another; its id stays, and what is not named has its default."""
    old = await call.administration.profiles.by_id(call.id)
    call.must_match(_etag(old))
    changes = given(call.body)
    changes.setdefault("acme_auth_mode", call.administration.default_mode)
    changes["id"] = old.id
    changed = await call.administration.profiles.change(call.caller, old, attrs.evolve(old, **changes))
    return await _reply(call, changed.id)


async def delete_profile(call: Call[Nothing, Deletion]) -> Reply:
    """Delete a profile, or archive one on which accounts or orders hang."""
    old = await call.administration.profiles.by_id(call.id)
    call.must_match(_etag(old))
    if call.query.archive:
        await call.administration.profiles.archive(call.caller, old)
        return await _reply(call, old.id)
    await call.administration.profiles.delete(call.caller, old)
    return Reply(status=204)


async def check_names(call: Call[Check, Nothing]) -> Reply:
    """Say of names whether a profile's policy allows them, and by which rule."""
    found = await call.administration.profiles.by_id(call.id)
    data = []
    for each in call.body.identifiers:
        asked = {"type": each.type, "value": each.value}
        allowed, rule = call.administration.profiles.explain(found, asked)
        data.append(CheckedName(identifier=each, allowed=allowed, rule=rule))
    return Reply(value=Checked(data=data))


def _etag(profile: Profile) -> str:
    return f'"{profile.version}"'


def _document(dated: DatedProfile, origin: str) -> ProfileDocument:
    profile = dated.profile
    return ProfileDocument(
        id=profile.id,
        name=profile.name,
        description=profile.description,
        issuer_id=profile.issuer_id,
        enabled=profile.enabled,
        acme_auth_mode=profile.acme_auth_mode,
        max_ttl_seconds=profile.max_ttl_seconds,
        policy=dict(profile.policy),
        version=profile.version,
        created_at=dated.created_at,
        updated_at=dated.updated_at,
        archived_at=profile.archived_at,
        directory_url=f"{origin}/acme/profile/{profile.id}/directory",
        warnings=warnings(profile),
    )


async def _reply(call: Call[Any, Any], id: str, status: int = 200, **headers: str) -> Reply:
    dated = await call.administration.database.read(profiles.by_id(id))
    if dated is None:
        raise absent("profile", id)
    headers["ETag"] = _etag(dated.profile)
    return Reply(value=_document(dated, call.origin), status=status, headers=headers)


OPERATIONS = (
    Operation("GET", "profiles", list_profiles, READ, Page[ProfileDocument], query=ProfileFilter),
    Operation("POST", "profiles", create_profile, ADMIN, ProfileDocument, body=NewProfile, status=201),
    Operation("GET", "profiles/<id>", profile, READ, ProfileDocument),
    Operation("PATCH", "profiles/<id>", change_profile, ADMIN, ProfileDocument, body=ProfileChanges),
    Operation("PUT", "profiles/<id>", replace_profile, ADMIN, ProfileDocument, body=NewProfile),
    Operation("DELETE", "profiles/<id>", delete_profile, ADMIN, ProfileDocument, query=Deletion),
    Operation("POST", "profiles/<id>/check", check_names, READ, Checked, body=Check),
)
