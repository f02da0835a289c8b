"""Keys for external account bindings: made, revoked, and asked for at newAccount (RFC 8555 section 7.3.4)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
from twisted.logger import Logger

from certctl.acme import eab, ids
from certctl.acme.eab import Binding, EabKey, Standing
from certctl.acme.encoding import base64url
from certctl.acme.keys import PublicKey
from certctl.acme.members import PolicyError
from certctl.acme.objects import Profile
from certctl.acme.problems import Problem, ProblemType
from certctl.authority.operators import Caller, Kind, Refused, absent
from certctl.authority.profile_rules import check_account
from certctl.authority.trail import Action, Event, Trail, stranger_to
from certctl.sealing import Seal, SealError
from certctl.storage import eab_keys, profiles
from certctl.storage.database import Conflict, Database

MAX_NAME = 200  # characters
SHOWN = 100  # characters of a kid that a stranger sent
# The client is told no more, so that nobody learns which keys there are: the trail says which it was.
REFUSED = (
    "the external account binding is refused: its key identifier is unknown here, or its key has expired, was revoked "
    "or was used, or its MAC is wrong; ask the operator of this CA for a new key"
)
_UNKNOWN, _WRONG_MAC = "unknown key", "wrong MAC"


class Bindings:
    """The use cases of keys that bind accounts."""

    _log = Logger(namespace="certctl")

    def __init__(self, database: Database, trail: Trail, seal: Seal) -> None:
        self._database = database
        self._trail = trail
        self._seal = seal

    async def create(
        self,
        caller: Caller,
        *,
        profile_id: str,
        name: str,
        single_use: bool = False,
        expires_at: datetime | None = None,
        policy: Mapping[str, Any] | None = None,
    ) -> tuple[EabKey, str]:
        """Make a key; return it, and its MAC key in base64url, which nobody can be told again. Raises Refused."""
        now = self._trail.now()
        profile = await self._database.read(profiles.by_id(profile_id))
        if profile is None:
            raise absent("profile", profile_id)
        _judge(name, expires_at, policy or {}, profile, now)
        id, mac_key = ids.new(ids.EAB_KEY, now), secrets.token_bytes(eab.MAC_KEY)
        key = EabKey(
            id=id,
            profile_id=profile_id,
            name=name,
            sealed_key=self._seal.seal(mac_key, *_bound_to(profile_id, id)),
            single_use=single_use,
            policy=policy or {},
            created_by=caller.actor,
            created_at=now,
            expires_at=expires_at,
        )
        await self._trail.record(now, _made(caller, key), eab_keys.insert(key))
        return key, base64url(mac_key)

    async def revoke(self, caller: Caller, key_id: str) -> EabKey:
        """Let a key bind no more accounts; those that it bound stay. Raises Refused if there is no such key.

        A key that was revoked before stays as it is, and nothing is recorded.
        """
        now = self._trail.now()
        key = await self._database.read(eab_keys.by_id(key_id))
        if key is None:
            raise absent("EAB key", key_id)
        event = Event(
            actor=caller.actor,
            action=Action.EAB_KEY_REVOKED,
            resource_type="eab_key",
            resource_id=key.id,
            details={"profile": key.profile_id, "name": key.name},
        )
        try:
            await self._trail.record(now, event, eab_keys.revoke(key.id, now))
        except Conflict:
            return await self._database.read(eab_keys.by_id(key_id)) or key
        return attrs.evolve(key, revoked_at=now)

    async def admit(self, profile: Profile, url: str, account_key: PublicKey, sent: object) -> EabKey:
        """Return the key that vouches for an account's key by the binding that was sent to ``url``.

        Raises Problem if there is none. The key has still to be used, in the change that makes the account.
        """
        try:
            binding = eab.read(sent, url, account_key)
        except Problem as problem:
            await self._refuse(profile, None, problem.detail)
            raise
        key = await self._database.read(eab_keys.by_id(binding.key_id))
        why = self._judge(profile, key, binding)
        if key is None or why is not None:
            raise await self.refused(profile, binding.key_id, why or _UNKNOWN)
        return key

    def _judge(self, profile: Profile, key: EabKey | None, binding: Binding) -> str | None:
        """Say what is wrong with a binding by that key, or None if nothing is."""
        if key is None:
            return _UNKNOWN
        if key.profile_id != profile.id:
            return "key of another profile"
        if not binding.is_by(self._opened(key)):
            return _WRONG_MAC
        standing = key.standing(self._trail.now())
        return None if standing is Standing.ACTIVE else standing.value

    def _opened(self, key: EabKey) -> bytes:
        try:
            return self._seal.open(key.sealed_key, *_bound_to(key.profile_id, key.id))
        except SealError as error:
            self._log.error("{why}", why=str(error))
            detail = (
                "this server cannot open the key of the binding: its operator finds in its log what to do"
            )
            raise Problem(ProblemType.SERVER_INTERNAL, detail) from None

    async def refused(self, profile: Profile, key_id: str, why: str | None = None) -> Problem:
        """Record that a binding is refused, and return what the client is told: the same, whatever was wrong.

        Without ``why`` the key was good when it was read, and could not be used any more.
        """
        if why is None:
            key = await self._database.read(eab_keys.by_id(key_id))
            why = _UNKNOWN if key is None else key.standing(self._trail.now()).value
        await self._refuse(profile, key_id, why)
        return Problem(ProblemType.UNAUTHORIZED, REFUSED)

    async def _refuse(self, profile: Profile, key_id: str | None, why: str) -> None:
        named = {} if key_id is None else {"kid": key_id[:SHOWN]}
        await self._trail.refuse(
            Event(
                actor=stranger_to(profile.id),
                action=Action.BINDING_REFUSED,
                resource_type="profile",
                resource_id=profile.id,
                details={**named, "why": why},
            )
        )


def _bound_to(profile_id: str, key_id: str) -> tuple[str, str, str]:
    """What a sealed MAC key opens for: a row that was moved to another profile or id opens for nobody."""
    return "eab-key", profile_id, key_id


def _judge(
    name: str, expires_at: datetime | None, policy: Mapping[str, Any], profile: Profile, now: datetime
) -> None:
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise Refused(Kind.INVALID, f"name is printable text of 1 to {MAX_NAME} characters")
    if expires_at is not None and expires_at <= now:
        raise Refused(Kind.INVALID, "expires_at lies in the past")
    if profile.archived_at is not None:
        raise Refused(Kind.CONFLICT, f"profile {profile.id} is archived")
    try:
        check_account(policy)
    except PolicyError as error:
        raise Refused(Kind.INVALID, str(error)) from None


def _made(caller: Caller, key: EabKey) -> Event:
    expires = {} if key.expires_at is None else {"expires_at": key.expires_at.isoformat()}
    return Event(
        actor=caller.actor,
        action=Action.EAB_KEY_CREATED,
        resource_type="eab_key",
        resource_id=key.id,
        details={
            "profile": key.profile_id,
            "name": key.name,
            "single_use": key.single_use,
            "policy": dict(key.policy),
            **expires,
        },
    )
