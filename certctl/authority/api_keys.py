"""Keys of the REST API: who may ask it for what. A key is shown once, and kept as its SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime

import attrs

from certctl.acme import ids
from certctl.authority.operators import Caller, Kind, Refused, Role, absent
from certctl.authority.trail import Action, Event, Trail
from certctl.storage import api_keys
from certctl.storage.api_keys import ApiKey
from certctl.storage.database import Conflict, Database


@attrs.frozen
class FixedKey:
    """A key of the settings, or of the state directory."""

    caller: Caller
    digest: bytes = attrs.field(repr=False)

    @classmethod
    def of(cls, name: str, role: Role, key: str) -> FixedKey:
        """The key as it is kept in memory."""
        return cls(Caller(name, role), digest(key))


def digest(key: str) -> bytes:
    """What is kept of a key. It has 256 random bits, so one round of SHA-256 is enough."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class ApiKeys:
    """Knows callers by their keys; makes keys and revokes them."""

    def __init__(self, database: Database, trail: Trail, fixed: Iterable[FixedKey]) -> None:
        self._database = database
        self._trail = trail
        self._fixed = tuple(fixed)

    async def caller(self, key: str) -> Caller | None:
        """Who holds a key; None if nobody does, or nobody may any more."""
        return await self.caller_by(digest(key))

    async def caller_by(self, seen: bytes) -> Caller | None:
        """Who holds the key of a digest; None as for ``caller``."""
        # All of them, and in constant time: how long it takes says nothing of a key.
        fixed = [each.caller for each in self._fixed if hmac.compare_digest(each.digest, seen)]
        if fixed:
            return fixed[0]
        found = await self._database.read(api_keys.by_digest(seen))
        if found is None or not found.is_good(self._trail.now()):
            return None
        return Caller(found.name, Role(found.role))

    async def create(
        self, caller: Caller, name: str, role: Role, expires_at: datetime | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key; return how it is kept, and the key itself, which is never to be seen again.

        Raises Refused for a name that two good keys have already, or that is one of the settings', and for a time that
        has passed.
        """
        now = self._trail.now()
        if expires_at is not None and expires_at <= now:
            raise Refused(Kind.INVALID, "expires_at is a time to come")
        if any(each.caller.name == name for each in self._fixed):
            raise Refused(Kind.CONFLICT, f"the settings have a key of the name {name}: choose another name")
        secret = secrets.token_urlsafe(32)
        key = ApiKey(
            id=ids.new(ids.API_KEY, now),
            name=name,
            role=role.value,
            digest=digest(secret),
            created_by=caller.actor,
            created_at=now,
            expires_at=expires_at,
        )
        try:
            await self._trail.record(
                now, _event(caller, Action.API_KEY_CREATED, key), api_keys.insert(key, now)
            )
        except Conflict:
            detail = f"two keys of the name {name} are good already: revoke one of them first"
            raise Refused(Kind.CONFLICT, detail) from None
        return key, secret

    async def revoke(self, caller: Caller, id: str) -> ApiKey:
        """Revoke a key, from now on and for ever; raises Refused if there is none, or it was revoked before."""
        key = await self._database.read(api_keys.by_id(id))
        if key is None:
            raise absent("API key", id)
        now = self._trail.now()
        try:
            await self._trail.record(
                now, _event(caller, Action.API_KEY_REVOKED, key), api_keys.revoke(id, now)
            )
        except Conflict:
            raise Refused(Kind.CONFLICT, f"the API key {id} was revoked before") from None
        return attrs.evolve(key, revoked_at=now)


def _event(caller: Caller, action: Action, key: ApiKey) -> Event:
    return Event(
        actor=caller.actor,
        action=action,
        resource_type="api_key",
        resource_id=key.id,
        details={"name": key.name, "role": key.role},
    )
