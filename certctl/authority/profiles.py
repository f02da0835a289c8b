"""Certificate profiles: made, changed, archived and deleted by operators."""

from __future__ import annotations

from typing import Any

import attrs

from certctl.acme.members import PolicyError
from certctl.acme.objects import Profile
from certctl.acme.profile_policy import explain
from certctl.authority.operators import Caller, Kind, Refused, absent
from certctl.authority.profile_rules import check, refusal_of
from certctl.authority.trail import Action, Event, Trail
from certctl.storage import issuers, profiles
from certctl.storage.database import Conflict, Database, Statement

# The members that operators set; the rest of a profile is kept by the server.
WRITABLE = ("name", "description", "issuer_id", "enabled", "acme_auth_mode", "max_ttl_seconds", "policy")


class Profiles:
    """Changes profiles. Whatever is changed holds for the next request: nothing keeps profiles in memory."""

    def __init__(self, database: Database, trail: Trail, *, require_name_policy: bool) -> None:
        self._database = database
        self._trail = trail
        self._require_name_policy = require_name_policy

    async def create(self, caller: Caller, profile: Profile) -> Profile:
        """Add a profile; raises Refused if its id is taken, or its issuer or its policy is none."""
        await self._judge(profile)
        now = self._trail.now()
        event = _event(caller, Action.PROFILE_CREATED, profile, _members(profile))
        try:
            await self._trail.record(now, event, profiles.insert(profile, now))
        except Conflict:
            raise Refused(
                Kind.CONFLICT, f"there is a profile {profile.id} already: choose another id"
            ) from None
        return profile

    async def change(self, caller: Caller, old: Profile, new: Profile) -> Profile:
        """Put ``new`` in the place of ``old``; raises Refused if that was changed since it was read."""
        changes = {
            name: {"old": _members(old)[name], "new": value}
            for name, value in _members(new).items()
            if _members(old)[name] != value
        }
        if not changes:
            return old
        await self._judge(new)
        changed = attrs.evolve(new, version=old.version + 1)
        event = _event(caller, Action.PROFILE_CHANGED, changed, changes)
        await self._replace(old, event, profiles.update(changed, old.version, self._trail.now()))
        return changed

    def explain(self, profile: Profile, requested: Any) -> tuple[bool, str]:
        """Whether a profile allows an identifier here, and the rule; raises Refused if its policy cannot be read."""
        try:
            if refusal := refusal_of(profile, require_name_policy=self._require_name_policy):
                return False, refusal
            return explain(profile, requested)
        except PolicyError as error:
            raise Refused(Kind.CONFLICT, f"the profile's policy cannot be read: {error}") from None

    async def archive(self, caller: Caller, profile: Profile) -> Profile:
        """Let nobody order under a profile any more, and keep it for what hangs on it."""
        if profile.archived_at is not None:
            return profile
        now = self._trail.now()
        archived = attrs.evolve(profile, archived_at=now, version=profile.version + 1)
        event = _event(caller, Action.PROFILE_ARCHIVED, archived)
        await self._replace(profile, event, profiles.update(archived, profile.version, now))
        return archived

    async def delete(self, caller: Caller, profile: Profile) -> None:
        """Delete a profile; raises Refused if accounts, orders or keys hang on it."""
        event = _event(caller, Action.PROFILE_DELETED, profile, _members(profile))
        try:
            await self._trail.record(self._trail.now(), event, profiles.delete(profile))
        except Conflict:
            raise Refused(
                Kind.CONFLICT,
                f"accounts, orders or EAB keys hang on profile {profile.id}, or it was changed meanwhile: "
                "archive it with ?archive=true",
            ) from None

    async def _replace(self, old: Profile, event: Event, *statements: Statement) -> None:
        try:
            await self._trail.record(self._trail.now(), event, *statements)
        except Conflict:
            raise Refused(
                Kind.CHANGED, f"profile {old.id} was changed since you read it: read it again"
            ) from None

    async def _judge(self, profile: Profile) -> None:
        try:
            check(profile, require_name_policy=self._require_name_policy)
        except PolicyError as error:
            raise Refused(Kind.INVALID, str(error)) from None
        issuer = await self._database.read(issuers.by_id(profile.issuer_id))
        if issuer is None:
            raise absent_issuer(profile.issuer_id)
        if issuer.retired_at is not None:
            raise Refused(Kind.INVALID, f"issuer_id: issuer {issuer.id} was retired; name another one")

    async def by_id(self, id: str) -> Profile:
        """The profile of that id; raises Refused if there is none."""
        found = await self._database.read(profiles.by_id(id))
        if found is None:
            raise absent("profile", id)
        return found


def absent_issuer(id: str) -> Refused:
    """A profile names an issuer that is not there, which is the profile's fault."""
    return Refused(Kind.INVALID, f"issuer_id: there is no issuer {id[:64]!r}; GET /api/issuers lists them")


def _members(profile: Profile) -> dict[str, Any]:
    return {name: getattr(profile, name) for name in WRITABLE}


def _event(caller: Caller, action: Action, profile: Profile, details: dict[str, Any] | None = None) -> Event:
    return Event(
        actor=caller.actor,
        action=action,
        resource_type="profile",
        resource_id=profile.id,
        details=details or {},
    )
