"""Revocation by operators: of one certificate, or of all that a filter finds (RFC 5280 section 5.3.1)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from certctl.acme.objects import Certificate
from certctl.authority.operators import Caller, Kind, Refused, absent
from certctl.authority.revocation import REASONS
from certctl.authority.trail import Action, Event, Trail
from certctl.storage import certificates
from certctl.storage.database import Conflict, Database
from certctl.storage.search import certificates as search
from certctl.storage.search.certificates import CertificateFilter, Listed

BATCH = 100  # certificates in one transaction, so that no request waits long behind it
CODES = {name: code for code, name in REASONS.items()}


class Revocable(Protocol):
    """A certificate, as it must be known to be revoked."""

    @property
    def id(self) -> str: ...
    @property
    def profile_id(self) -> str: ...
    @property
    def serial(self) -> str: ...


class Withdrawal:
    """The use cases of operators who revoke."""

    def __init__(self, database: Database, trail: Trail) -> None:
        self._database = database
        self._trail = trail

    async def revoke(self, caller: Caller, certificate_id: str, reason: str) -> Certificate:
        """Revoke a certificate; raises Refused if there is none, or it was revoked before."""
        found = await self._database.read(certificates.by_id(certificate_id))
        if found is None:
            raise absent("certificate", certificate_id)
        now, code = self._trail.now(), CODES[reason]
        event = _revoked(caller, found, reason, {})
        try:
            await self._trail.record(now, event, certificates.revoke(found.id, code, now))
        except Conflict:
            detail = f"certificate {found.id} was revoked before"
            raise Refused(Kind.CONFLICT, detail) from None
        return attrs.evolve(found, revoked_at=now, revocation_reason=code)

    async def preview(self, wanted: CertificateFilter, limit: int) -> tuple[int, list[Listed]]:
        """How many certificates a filter finds that are not revoked yet, and the newest of them."""
        open = attrs.evolve(wanted, not_revoked=True)
        total = await self._database.read(search.count(open, await self._names(open)))
        return total, await self.find(open, None, limit)

    async def find(self, wanted: CertificateFilter, before: str | None, limit: int) -> list[Listed]:
        """Certificates that a filter finds, behind a cursor: the newest first, or the last to end (``by_end``)."""
        return await self._database.read(search.page(wanted, await self._names(wanted), before, limit))

    async def revoke_all(
        self, caller: Caller, wanted: CertificateFilter, reason: str, asked: Mapping[str, Any]
    ) -> int:
        """Revoke all that a filter finds and that is not revoked yet; return how many were.

        ``asked`` is the filter as the trail shows it. What is issued after the beginning stays. If this is interrupted,
        the trail says what was asked for, and asking again goes on where it ended.
        """
        act = f"bulk-{secrets.token_hex(16)}"
        newest = await self._database.read(search.newest_id())
        open = attrs.evolve(wanted, not_revoked=True, newest_id=newest)
        total, _ = await self.preview(open, 1)
        if not total:
            return 0
        begun: tuple[Event, ...] = (_begun(caller, act, reason, total, asked),)
        revoked, before = 0, None
        while batch := await self.find(open, before, BATCH):
            done = await self.revoke_some(caller, batch, reason, {"bulk": act}, begun)
            revoked, before, begun = revoked + done, batch[-1].id, () if done else begun
        return revoked

    async def revoke_some(
        self,
        caller: Caller,
        batch: Sequence[Revocable],
        reason: str,
        more: Mapping[str, Any],
        begun: tuple[Event, ...] = (),
    ) -> int:
        """Revoke these in one change, without those that somebody else revokes at the same moment; return how many
        were. ``more`` is added to the details of each event.
        """
        now = self._trail.now()
        while batch:
            events = [*begun, *(_revoked(caller, each, reason, more) for each in batch)]
            revoking = (certificates.revoke(each.id, CODES[reason], now) for each in batch)
            try:
                await self._trail.record(now, events, *revoking)
            except Conflict:
                batch = await self._still_open(batch)
            else:
                return len(batch)
        return 0

    async def _still_open(self, batch: Sequence[Revocable]) -> list[Revocable]:
        known = [await self._database.read(certificates.by_id(each.id)) for each in batch]
        return [
            each
            for each, found in zip(batch, known, strict=True)
            if found is not None and found.revoked_at is None
        ]

    async def _names(self, wanted: CertificateFilter) -> int:
        return 0 if wanted.name is None else await self._database.read(search.how_many_names(wanted.name))


def _begun(caller: Caller, act: str, reason: str, total: int, asked: Mapping[str, Any]) -> Event:
    return Event(
        actor=caller.actor,
        action=Action.CERTIFICATES_REVOKED,
        resource_type="certificates",
        resource_id=act,
        details={"filter": dict(asked), "reason": reason, "found": total},
    )


def _revoked(caller: Caller, certificate: Revocable, reason: str, more: Mapping[str, Any]) -> Event:
    return Event(
        actor=caller.actor,
        action=Action.CERTIFICATE_REVOKED,
        resource_type="certificate",
        resource_id=certificate.id,
        details={
            "profile": certificate.profile_id,
            "serial": certificate.serial,
            "reason": reason,
            **more,
        },
    )
