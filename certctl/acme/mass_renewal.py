"""A renewal of many certificates by a time, spread so that not all come at once (RFC 9773 section 4.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

import attrs

from certctl.acme import ids
from certctl.acme.renewal import LEAST, Window

PARTS = 24  # a certificate's window is this part of the time in which all come
SHORTEST = timedelta(minutes=1)  # unless that time is shorter


class State(StrEnum):
    """What became of a certificate that is to be renewed."""

    COME = "come"  # it was replaced
    REVOKED = "revoked"
    EXPIRED = "expired"
    WAITING = "waiting"  # for its client


class Outcome(StrEnum):
    """How a mass renewal ended."""

    FINISHED = "finished"
    CANCELLED = "cancelled"


class Renewable(Protocol):
    """What decides whether a certificate is meant."""

    @property
    def id(self) -> str: ...
    @property
    def profile_id(self) -> str: ...
    @property
    def issuer_id(self) -> str: ...
    @property
    def account_id(self) -> str: ...
    @property
    def serial(self) -> str: ...


@attrs.frozen(kw_only=True)
class MassRenewal:
    """Which certificates are to be renewed between two times, and why. None stands for any."""

    id: str
    name: str
    drill: bool = False  # to see who would come: nothing is revoked at its end
    profile_id: str | None = None
    issuer_id: str | None = None
    account_id: str | None = None
    serials: tuple[str, ...] = ()  # empty: whatever their serial is
    issued_before: datetime
    starts_at: datetime
    due_at: datetime
    explanation: str = ""  # for people who ask why
    explanation_url: str | None = None
    created_by: str
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    _serials: frozenset[str] = attrs.field(init=False, repr=False, eq=False)

    @_serials.default
    def _as_set(self) -> frozenset[str]:
        return frozenset(self.serials)

    @property
    def ids_before(self) -> str:
        """What the ids of the certificates that are meant sort before: ids have the time in front."""
        return ids.least(ids.CERTIFICATE, min(self.issued_before, self.starts_at))

    @property
    def new_ids_from(self) -> str:
        """From which id on certificates were issued since the start."""
        return ids.least(ids.CERTIFICATE, self.starts_at)

    def means(self, certificate: Renewable) -> bool:
        """Whether a certificate is to be renewed."""
        wanted = (self.profile_id, self.issuer_id, self.account_id)
        found = (certificate.profile_id, certificate.issuer_id, certificate.account_id)
        return (
            certificate.id < self.ids_before
            and all(one in (None, other) for one, other in zip(wanted, found, strict=True))
            and (not self._serials or certificate.serial in self._serials)
        )

    def window(self, certificate_id: str) -> Window:
        """When a certificate is to be renewed: the same on every server, and spread evenly over the certificates."""
        span = self.due_at - self.starts_at
        width = max(span / PARTS, min(span, SHORTEST), LEAST)
        digest = hashlib.sha256(f"{self.id}|{certificate_id}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        start = (self.starts_at + (span - width) * place).replace(microsecond=0)
        return Window(start, start + timedelta(seconds=int(width.total_seconds())))


def moved(
    renewals: Collection[MassRenewal], certificate: Renewable, usual: Window
) -> tuple[Window, MassRenewal] | None:
    """The window to which mass renewals move that of a certificate, if to an earlier time, and the one that does."""
    found = [(each.window(certificate.id), each) for each in renewals if each.means(certificate)]
    earliest = min(found, key=lambda each: each[0].start, default=None)
    return earliest if earliest is not None and earliest[0].start < usual.start else None
