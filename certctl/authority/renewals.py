"""Renewal information (RFC 9773 section 4): from memory for a certificate that was asked for lately."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Protocol

import attrs
from cryptography import x509

from certctl.acme.mass_renewal import moved
from certctl.acme.objects import Certificate, Order, Profile
from certctl.acme.policy import judge_profile
from certctl.acme.problems import Problem, ProblemType, malformed
from certctl.acme.renewal import CertID, Window, hurried, key_identifier_of, overdue
from certctl.authority.profile_rules import advertised, renewal_policy
from certctl.authority.renewal_news import RenewalNews
from certctl.authority.revocation import REASONS
from certctl.storage import certificates, revocations
from certctl.storage.database import Database

JITTER = 0.1  # of the poll interval, so that those who asked together do not ask together again
MAX_KEPT = 20_000  # certificates that are remembered, of less than a kilobyte each


@attrs.frozen
class RenewalInfo:
    """When to renew and why then (RFC 9773 section 4.2)."""

    window: Window
    kind: str  # usual: by its life; moved: by an operator; overdue: it was revoked
    why: str  # for people
    explanation_url: str | None


class RenewalObserver(Protocol):
    """Who counts answers."""

    def told(self, kind: str, *, remembered: bool) -> None:
        """Renewal information of that kind was given. Raises nothing."""


@attrs.define
class _Kept:
    """A certificate that was asked for, and what was said of it as of an edition of the news."""

    certificate: Certificate
    edition: int
    info: RenewalInfo


class Renewals:
    """Says when to renew."""

    def __init__(
        self,
        database: Database,
        news: RenewalNews,
        observer: RenewalObserver,
        *,
        enabled: bool,
        poll_interval: timedelta,
    ) -> None:
        self._database = database
        self._news = news
        self._observer = observer
        self._poll_interval = poll_interval.total_seconds()
        self._kept: dict[tuple[str, str], _Kept] = {}
        self.enabled = enabled

    async def profile(self, profile_id: str) -> Profile:
        """The profile as it was a second ago; raise Problem if it is none that answers."""
        await self._news.fresh()
        return judge_profile(self._news.profiles.get(profile_id), profile_id)

    async def info(self, profile: Profile, text: str) -> RenewalInfo:
        """The renewal information of a certificate that this profile issued; raises Problem for any other."""
        if not self.enabled:
            raise Problem(ProblemType.MALFORMED, "this server gives no renewal information", status=404)
        edition = await self._news.fresh()
        kept = self._kept.get((profile.id, text))
        remembered = kept is not None and kept.edition == edition
        if kept is None or not remembered:
            kept = await self._look(profile, text, kept, edition)
        self._observer.told(kept.info.kind, remembered=remembered)
        return kept.info

    @property
    def ask_again(self) -> int:
        """Seconds until a client should ask again (RFC 9773 section 4.3.2); not the same for all."""
        return int(self._poll_interval * (1 - JITTER * random.random()))

    async def of(self, certificate: Certificate) -> RenewalInfo | None:
        """What the client of a certificate is told, for an operator; None if nobody is told anything of it."""
        await self._news.fresh()
        profile = self._news.profiles.get(certificate.profile_id)
        if not self.enabled or profile is None:
            return None
        return self._judge(profile, certificate)

    async def called(self, order: Order) -> bool:
        """Whether a mass renewal asks for what an order would renew: the newest certificate of these very names."""
        await self._news.fresh()
        if not self._news.running:
            return False
        newest = certificates.newest(order.profile_id, order.account_id, order.identifiers)
        found = await self._database.read(newest)
        return found is not None and any(each.means(found) for each in self._news.running)

    async def _look(self, profile: Profile, text: str, kept: _Kept | None, edition: int) -> _Kept:
        """Ask the database what is so now: of a certificate that is known already, what became of it."""
        if kept is None:
            certificate = await find(self._database, parsed(text))
        else:
            certificate = kept.certificate
            fate = await self._database.read(revocations.fate(certificate.issuer_id, certificate.serial))
            if fate is not None:
                certificate = attrs.evolve(
                    certificate, revoked_at=fate.revoked_at, revocation_reason=fate.reason
                )
        if certificate is None or certificate.profile_id not in (profile.id, *advertised(profile)):
            self._kept.pop((profile.id, text), None)
            raise unknown()
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        # Not its octets: they are what is large, and nothing asks for them.
        certificate = attrs.evolve(certificate, der=b"")
        made = _Kept(certificate, edition, self._judge(profile, certificate))
        self._kept[profile.id, text] = made
        return made

    def _judge(self, profile: Profile, certificate: Certificate) -> RenewalInfo:
        if certificate.revoked_at is not None:
            reason = REASONS.get(certificate.revocation_reason or 0, "unspecified")
            why = f"it was revoked on {_day(certificate.revoked_at)} ({reason}): replace it now"
            return RenewalInfo(overdue(certificate.revoked_at), "overdue", why, None)
        policy = renewal_policy(profile)
        usual = policy.window(certificate.not_before, certificate.not_after)
        found = moved(self._news.running, certificate, usual)
        window, why, url = self._hurried(certificate, usual)
        if found is not None and found[0].start < window.start:
            window, renewal = found
            why = f"many certificates are to be renewed by {_day(renewal.due_at)}: {renewal.explanation}"
            url = renewal.explanation_url
        if window is usual:
            why = "it has come to, or will then have come to, the part of its life in which it should be renewed"
            return RenewalInfo(usual, "usual", why, policy.explanation_url)
        return RenewalInfo(window, "moved", why, url)

    def _hurried(self, certificate: Certificate, usual: Window) -> tuple[Window, str, str | None]:
        """The window of a certificate whose issuer another has taken the place of; else the usual one."""
        retiring = self._news.retiring.get(certificate.issuer_id)
        if retiring is None:
            return usual, "", None
        why = f"another issuer has taken the place of its own, whose certificates go by {_day(retiring[1])}"
        return hurried(usual, *retiring), why, None


async def find(database: Database, cert_id: CertID) -> Certificate | None:
    """The certificate of a certID; None if there is none."""
    for certificate in await database.read(certificates.by_serial(cert_id.serial)):
        signed_by = key_identifier_of(x509.load_der_x509_certificate(certificate.der))
        if signed_by == cert_id.key_identifier:
            return certificate
    return None


def parsed(text: str) -> CertID:
    """Read a certID; raise Problem malformed for what is none (RFC 9773 section 4.1)."""
    try:
        return CertID.parse(text)
    except ValueError as error:
        raise malformed(str(error)) from None


def unknown() -> Problem:
    """What is said of a certificate that this profile has not issued."""
    detail = "this profile has issued no such certificate"
    return Problem(ProblemType.MALFORMED, detail, status=404)


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
