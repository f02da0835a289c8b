"""Certificate profiles (``/api/profiles``)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import attrs
import msgspec
from msgspec import UNSET, Meta, UnsetType

from certctl.acme import ids
from certctl.acme.objects import AuthMode, Profile
from certctl.storage import profiles
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.schema import Document, Id, Line, Page, Paging, Text, paged

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


async def list_profiles(call: Call[Nothing, ProfileFilter]) -> Reply:
    """List profiles."""
    found = await call.administration.database.read(profiles.everyone())
    documents = [_document(each, call.origin) for each in found if call.query.admits(each)]
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
            **_given(asked, "name", "description", "issuer_id", "enabled", "max_ttl_seconds", "policy"),
        ),
    )
    return _reply(made, call.origin, status=201, Location=f"/api/profiles/{made.id}")


async def profile(call: Call[Nothing, Nothing]) -> Reply:
    """Show a profile."""
    return _reply(await call.administration.profiles.by_id(call.id), call.origin)


async def change_profile(call: Call[ProfileChanges, Nothing]) -> Reply:
    """Change members of a profile; those of its policy too are merged, and null removes one."""
    old = await call.administration.profiles.by_id(call.id)
    call.must_match(_etag(old))
    changes = _given(call.body, *call.body.__struct_fields__)
    if "policy" in changes:
        changes["policy"] = _merged(old.policy, changes["policy"])
    changed = await call.administration.profiles.change(call.caller, old, attrs.evolve(old, **changes))
    return _reply(changed, call.origin)


async def replace_profile(call: Call[NewProfile, Nothing]) -> Reply:
    """Put a profile in the place of another; its id stays, and what is not named has its default."""
    old = await call.administration.profiles.by_id(call.id)
    call.must_match(_etag(old))
    changes = _given(call.body, *call.body.__struct_fields__)
    changes.setdefault("acme_auth_mode", call.administration.default_mode)
    changes["id"] = old.id
    changed = await call.administration.profiles.change(call.caller, old, attrs.evolve(old, **changes))
    return _reply(changed, call.origin)


async def delete_profile(call: Call[Nothing, Deletion]) -> Reply:
    """Delete a profile, or archive one on which accounts or orders hang."""
    old = await call.administration.profiles.by_id(call.id)
    call.must_match(_etag(old))
    if call.query.archive:
        return _reply(await call.administration.profiles.archive(call.caller, old), call.origin)
    await call.administration.profiles.delete(call.caller, old)
    return Reply(status=204)


def _given(document: msgspec.Struct, *names: str) -> dict[str, Any]:
    """The members that a request has."""
    return {name: value for name in names if (value := getattr(document, name)) is not UNSET}


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7396 section 2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _etag(profile: Profile) -> str:
    return f'"{profile.version}"'


def _document(profile: Profile, origin: str) -> ProfileDocument:
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
        archived_at=profile.archived_at,
        directory_url=f"{origin}/acme/profile/{profile.id}/directory",
        warnings=[],
    )


def _reply(profile: Profile, origin: str, status: int = 200, **headers: str) -> Reply:
    value = _document(profile, origin)
    return Reply(value=value, status=status, headers={"ETag": _etag(profile), **headers})
