"""Who is signed in at the console. A session is a random token, kept as its digest, and good only while its API key is.

Every request asks for session and key anew, on every server: signing out, and revoking the key, hold at once.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

import attrs

from certctl.authority.api_keys import ApiKeys, digest
from certctl.authority.operators import Caller
from certctl.authority.trail import Action, Event, Trail
from certctl.storage import console_sessions
from certctl.storage.console_sessions import ConsoleSession
from certctl.storage.database import Conflict, Database

OFTEN = timedelta(minutes=1)  # a session's end is moved on at most so often
STRANGER = "console-stranger"


@attrs.frozen
class SignedIn:
    """A session, and who has it."""

    caller: Caller
    session: ConsoleSession


class ConsoleSessions:
    """Opens sessions, knows them again, and ends them."""

    def __init__(
        self, database: Database, trail: Trail, api_keys: ApiKeys, *, idle: timedelta, longest: timedelta
    ) -> None:
        """``idle`` is how long a session stays open unused, ``longest`` how long however it is used."""
        self._database = database
        self._trail = trail
        self._api_keys = api_keys
        self._idle = idle
        self._longest = longest

    async def sign_in(self, key: str, peer: str) -> tuple[SignedIn, str] | None:
        """Open a session by an API key, and return it with its token; None if the key is not good."""
        caller = await self._api_keys.caller(key)
        if caller is None:
            await self._trail.refuse(_event(STRANGER, Action.CONSOLE_SIGN_IN_REFUSED, peer))
            return None
        now, token = self._trail.now(), secrets.token_urlsafe(32)
        ends_at = now + self._longest
        session = ConsoleSession(
            digest=_digest(token),
            key_digest=digest(key),
            began_at=now,
            good_until=min(now + self._idle, ends_at),
            ends_at=ends_at,
        )
        event = _event(caller.actor, Action.CONSOLE_SIGNED_IN, session.name, address=peer)
        await self._trail.record(now, event, console_sessions.insert(session))
        return SignedIn(caller, session), token

    async def known(self, token: str) -> SignedIn | None:
        """Who has a session of that token; None if it is over, or its key is not good any more."""
        session = await self._database.read(console_sessions.good(_digest(token), self._trail.now()))
        if session is None:
            return None
        caller = await self._api_keys.caller_by(session.key_digest)
        return None if caller is None else SignedIn(caller, session)

    async def used(self, session: ConsoleSession) -> None:
        """Let a session that a person used go on for as long as one may stay unused."""
        good_until = min(self._trail.now() + self._idle, session.ends_at)
        if good_until - session.good_until >= min(OFTEN, self._idle / 10):
            await self._database.write(console_sessions.prolong(session, good_until))

    async def sign_out(self, signed_in: SignedIn, *, everywhere: bool) -> None:
        """End a session; or all sessions of its key, on every machine that has one."""
        session, actor = signed_in.session, signed_in.caller.actor
        event = _event(actor, Action.CONSOLE_SIGNED_OUT, session.name, everywhere=everywhere)
        ending = console_sessions.end_all(session.key_digest) if everywhere else console_sessions.end(session)
        try:
            await self._trail.record(self._trail.now(), event, ending)
        except Conflict:  # it was ended at the same moment
            return


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _event(actor: str, action: Action, resource_id: str, **details: object) -> Event:
    return Event(
        actor=actor, action=action, resource_type="console_session", resource_id=resource_id, details=details
    )
