"""One issuer in the place of another: planned, done at its time, taken back, and the old one retired."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import attrs
from twisted.logger import Logger

from certctl.acme.objects import Profile
from certctl.authority.issuers import Issuers
from certctl.authority.operators import Caller, Kind, Refused, absent
from certctl.authority.trail import Action, Event, Trail
from certctl.storage import issuers, profiles
from certctl.storage.database import Conflict, Database, Statement
from certctl.storage.issuers import IssuerRecord

CLOCK = "acme-system:issuers"  # who switches at a time that an operator named
TRIES = 5  # while profiles change under a switch


class Rotation:
    """Switches from an issuer to its successor, and retires it.

    A switch is one transaction: the old issuer's row, the row of each profile that names it, and their events. So a
    server that is killed has switched, or has not.
    """

    _log = Logger(namespace="certctl")

    def __init__(self, database: Database, trail: Trail, held: Issuers) -> None:
        self._database = database
        self._trail = trail
        self._held = held
        self._told: dict[str, str] = {}  # why a switch that is due cannot be done

    async def switch(
        self, caller: Caller, old: IssuerRecord, to: str, at: datetime | None, renew_by: datetime | None
    ) -> IssuerRecord:
        """Let another issuer take the place of one, now or at a time; raises Refused.

        From then on the profiles that named the old one name the other. By ``renew_by`` clients are to have replaced
        what the old one signed (RFC 9773); if it is not given, nobody is told to hurry.
        """
        now = self._trail.now()
        new = await self._successor(old, to)
        starts = now if at is None else at
        if renew_by is not None and renew_by <= starts:
            raise Refused(Kind.INVALID, "renew_by lies after the switch")
        if at is None or at <= now:
            return await self._perform(caller.actor, old, new, renew_by)
        planned = attrs.evolve(old, successor_id=new.id, switch_at=at, switched_at=None, renew_by=renew_by)
        event = _event(caller.actor, Action.ISSUER_SWITCH_PLANNED, old.id, to=new.id, **_times(planned))
        await self._change(event, old, issuers.plan(planned))
        return await self._again(old.id)

    async def cancel(self, caller: Caller, old: IssuerRecord) -> IssuerRecord:
        """Take back a switch that is to come; raises Refused if there is none."""
        if old.switch_at is None or old.switched_at is not None:
            raise Refused(Kind.CONFLICT, f"no switch of issuer {old.id} is to come")
        event = _event(caller.actor, Action.ISSUER_SWITCH_CANCELLED, old.id, to=str(old.successor_id))
        await self._change(event, old, issuers.plan(_at_rest(old)))
        return await self._again(old.id)

    async def retire(self, caller: Caller, old: IssuerRecord, *, even_with_live: bool) -> IssuerRecord:
        """Let an issuer sign no certificates any more; raises Refused while profiles, or live certificates, hang on it.

        CRLs and OCSP answers are signed by it for as long as its key is there and its own certificate holds.
        """
        now = self._trail.now()
        if old.retired_at is not None:
            return old
        count, last = await self._database.read(issuers.live(old.id, now))
        event = _event(caller.actor, Action.ISSUER_RETIRED, old.id, live_certificates=count)
        try:
            await self._trail.record(now, event, issuers.retire(old, now, even_with_live=even_with_live))
        except Conflict:
            raise await self._why_not(old, count, last, even_with_live=even_with_live) from None
        return await self._again(old.id)

    async def keep_time(self) -> None:
        """Learn what others changed, and do the switches whose time has come; raises Unavailable."""
        await self._held.refresh()
        now = self._trail.now()
        for held in list(self._held.all.values()):
            old = held.record
            due = old.switch_at is not None and old.switch_at <= now and old.switched_at is None
            if due and old.successor_id is not None and old.retired_at is None:
                await self._keep(old, old.successor_id)

    async def _keep(self, old: IssuerRecord, to: str) -> None:
        """Do a switch whose time has come; if it cannot be done, say so once: another server may be able to."""
        try:
            await self._perform(CLOCK, old, await self._successor(old, to), old.renew_by)
        except Refused as refused:
            if refused.kind is not Kind.CHANGED and self._told.get(old.id) != str(refused):
                self._told[old.id] = str(refused)
                self._log.error("issuer {issuer} cannot be switched: {why}", issuer=old.id, why=str(refused))
        else:
            self._told.pop(old.id, None)

    async def by_id(self, id: str) -> IssuerRecord:
        """The issuer of that id; raises Refused if there is none."""
        found = await self._database.read(issuers.by_id(id))
        if found is None:
            raise absent("issuer", id)
        return found

    async def _successor(self, old: IssuerRecord, to: str) -> IssuerRecord:
        """The issuer that is to take the place of one, if it can; raises Refused."""
        await self._held.refresh()
        found = await self._database.read(issuers.by_id(to))
        if found is None:
            raise Refused(Kind.INVALID, f"to: there is no issuer {to[:64]!r}")
        if old.retired_at is not None:
            raise Refused(Kind.CONFLICT, f"issuer {old.id} was retired")
        if to == old.id:
            raise Refused(Kind.INVALID, "to: an issuer cannot take its own place")
        if found.retired_at is not None:
            raise Refused(Kind.CONFLICT, f"issuer {to} was retired")
        if to not in self._held:
            why = self._held.lacking().get(to, "it cannot sign here")
            raise Refused(Kind.CONFLICT, f"issuer {to} cannot sign on this server: {why}")
        if self._held[to].expires_at <= self._trail.now() + timedelta(days=1):
            raise Refused(Kind.CONFLICT, f"issuer {to} ends within a day")
        return found

    async def _perform(
        self, actor: str, old: IssuerRecord, new: IssuerRecord, renew_by: datetime | None
    ) -> IssuerRecord:
        for _ in range(TRIES):
            now = self._trail.now()
            moved = [
                each for each in await self._database.read(profiles.everyone()) if each.issuer_id == old.id
            ]
            done = attrs.evolve(
                old, successor_id=new.id, switch_at=old.switch_at or now, switched_at=now, renew_by=renew_by
            )
            names = [each.id for each in moved]
            event = _event(actor, Action.ISSUER_SWITCHED, old.id, to=new.id, profiles=names, **_times(done))
            try:
                await self._trail.record(
                    now,
                    [event, *(_moved(actor, each, new.id) for each in moved)],
                    issuers.plan(done),
                    issuers.plan(new if new.switched_at is None else _at_rest(new)),
                    *(_move(each, new.id, now) for each in moved),
                )
            except Conflict:
                if (await self.by_id(old.id)).version != old.version or (
                    await self.by_id(new.id)
                ).version != new.version:
                    raise _changed(old.id) from None
            else:
                return await self._again(old.id)
        raise _changed(old.id)

    async def _change(self, event: Event, old: IssuerRecord, statement: Statement) -> None:
        try:
            await self._trail.record(self._trail.now(), event, statement)
        except Conflict:
            raise _changed(old.id) from None

    async def _why_not(
        self, old: IssuerRecord, count: int, last: datetime | None, *, even_with_live: bool
    ) -> Refused:
        named = [
            each.id
            for each in await self._database.read(profiles.everyone())
            if each.issuer_id == old.id and each.archived_at is None
        ]
        if named:
            detail = f"profiles name issuer {old.id}: {', '.join(named[:10])}; switch it to another first"
            return Refused(Kind.CONFLICT, detail)
        if count and not even_with_live:
            detail = (
                f"{count} certificates of issuer {old.id} live, the last until {last:%Y-%m-%d %H:%MZ}: wait, revoke"
                " them, or say that it shall be retired all the same"
            )
            return Refused(Kind.CONFLICT, detail)
        if (await self.by_id(old.id)).version == old.version:
            detail = f"another issuer is to be switched to {old.id}, or orders wait for it: see to that first"
            return Refused(Kind.CONFLICT, detail)
        return _changed(old.id)

    async def _again(self, id: str) -> IssuerRecord:
        await self._held.refresh()
        return await self.by_id(id)


def _at_rest(record: IssuerRecord) -> IssuerRecord:
    """An issuer that is to go on."""
    return attrs.evolve(record, successor_id=None, switch_at=None, switched_at=None, renew_by=None)


def _move(profile: Profile, to: str, now: datetime) -> Statement:
    moved = attrs.evolve(profile, issuer_id=to, version=profile.version + 1)
    return profiles.update(moved, profile.version, now)


def _moved(actor: str, profile: Profile, to: str) -> Event:
    return Event(
        actor=actor,
        action=Action.PROFILE_CHANGED,
        resource_type="profile",
        resource_id=profile.id,
        details={"issuer_id": {"old": profile.issuer_id, "new": to}},
    )


def _changed(id: str) -> Refused:
    return Refused(Kind.CHANGED, f"issuer {id} was changed since you read it: read it again")


def _times(record: IssuerRecord) -> dict[str, str]:
    times = {"at": record.switch_at, "renew_by": record.renew_by}
    return {name: each.isoformat() for name, each in times.items() if each is not None}


def _event(actor: str, action: Action, id: str, **details: Any) -> Event:
    return Event(actor=actor, action=action, resource_type="issuer", resource_id=id, details=details)
