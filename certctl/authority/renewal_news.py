"""What may change renewal information: revocations, mass renewals, profiles, issuers; known a second late."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from twisted.internet.defer import Deferred

from certctl.acme.mass_renewal import MassRenewal
from certctl.acme.objects import Profile
from certctl.authority.issuers import Issuers
from certctl.authority.trail import Seconds
from certctl.storage import issuers, mass_renewals, profiles, revocations
from certctl.storage.database import Database, Unavailable

FRESH = 1.0  # seconds for which what was read is taken to be so


class RenewalNews:
    """Asks the database once a second at most, and only if somebody wants to know.

    ``edition`` is a number that changes with all of it: what was made of one edition holds until there is another.
    """

    def __init__(self, database: Database, clock: Seconds, held: Issuers) -> None:
        self._database = database
        self._issuers = held
        self._clock = clock
        self.edition = 0
        self.running: tuple[MassRenewal, ...] = ()
        self.profiles: Mapping[str, Profile] = {}
        self.retiring: Mapping[str, tuple[datetime, datetime]] = {}  # from when to when, by issuer
        self._versions: Mapping[str, int] = {}
        self._revoked: Mapping[str, int] = {}
        self._known_at: float | None = None
        self._waiting: list[Deferred[None]] | None = None  # who waits for the reading that is under way

    async def fresh(self) -> int:
        """Return the edition of a second ago at most. Raise Unavailable if nothing was ever read."""
        if self._known_at is not None and self._clock.seconds() - self._known_at < FRESH:
            return self.edition
        if self._waiting is not None:
            self._waiting.append(waiting := Deferred[None]())
            await waiting
            if self._known_at is None:
                raise Unavailable("nothing is known of renewals yet")
            return self.edition
        self._waiting = []
        try:
            await self._learn()
        except Unavailable:  # what is known holds meanwhile
            if self._known_at is None:
                raise
        finally:
            waiting_for, self._waiting = self._waiting, None
            for each in waiting_for:
                each.callback(None)
        return self.edition

    async def _learn(self) -> None:
        asked = self._clock.seconds()
        read = self._database.read
        revoked = await read(revocations.newest_of_each())
        found = {each.id: each for each in await read(profiles.everyone())}
        running = self.running
        if await read(mass_renewals.running_ids()) != tuple(each.id for each in running):
            others = await read(mass_renewals.running())
            running = tuple(others)
        versions = await read(issuers.versions())
        if versions != self._versions:
            await self._issuers.refresh()
        known = (revoked, found, running, versions)
        if known != (self._revoked, self.profiles, self.running, self._versions):
            self.edition += 1
        self._revoked, self.profiles, self.running, self._versions = known
        self.retiring = {each: span for each in versions if (span := self._issuers.renewal(each)) is not None}
        self._known_at = asked
