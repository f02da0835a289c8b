"""OCSP answers about the certificates of an issuer (RFC 6960), made once and given many times (RFC 5019)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from certctl.authority.revocation_lists import RevocationLists
from certctl.issuance.der import DerError
from certctl.issuance.issuer import IssuerUnavailable, StatusSigner
from certctl.issuance.ocsp import CertID, Error, Request, Status
from certctl.storage import revocations
from certctl.storage.database import Database, Unavailable
from certctl.storage.revocations import Fate

MAX_ANSWERS = 20_000  # that are kept, of about a kilobyte each
AFTERWARDS = timedelta(days=1)  # beyond its end, for which a certificate is still spoken of


@attrs.frozen
class Said:
    """An OCSP response. With no ``next_update`` nobody should keep it."""

    der: bytes
    this_update: datetime | None = None
    next_update: datetime | None = None


@attrs.define
class _Kept:
    """An answer that is given again to the same request."""

    said: Said
    serial: str
    fate: Fate
    revision: int
    renew_at: float


class CertificateStatus:
    """Answers OCSP requests about one issuer's certificates."""

    def __init__(
        self,
        issuer_id: str,
        signer: StatusSigner,
        lists: RevocationLists,
        database: Database,
        reactor: Any,
        lifetime: timedelta,
    ) -> None:
        self._issuer_id = issuer_id
        self._signer = signer
        self._lists = lists
        self._database = database
        self._reactor = reactor
        self._lifetime = lifetime
        self._kept: dict[bytes, _Kept] = {}

    async def answer(self, octets: bytes) -> Said:
        """Return the response to a request, whatever the octets are."""
        try:
            kept = self._kept.get(octets)
            if kept is not None and await self._holds(kept, octets):
                return kept.said
            return await self._answer(octets)
        except DerError:
            return Said(Error.MALFORMED_REQUEST.der)
        except (Unavailable, IssuerUnavailable):
            return Said(Error.TRY_LATER.der)

    async def _holds(self, kept: _Kept, octets: bytes) -> bool:
        """Whether a kept answer is still what would be answered. It is while the database does not answer."""
        if self._reactor.seconds() >= kept.renew_at:
            return False
        revision = await self._lists.fresh()
        if revision == kept.revision:
            return True
        if await self._fate(kept.serial) != kept.fate:
            self._kept.pop(octets, None)
            return False
        kept.revision = revision
        return True

    async def _answer(self, octets: bytes) -> Said:
        request = Request.parse(octets)
        if any(each.issuer not in self._signer.hashes.known for each in request.cert_ids):
            return Said(Error.UNAUTHORIZED.der)
        alone = len(request.cert_ids) == 1 and request.nonce is None
        revision = await self._lists.fresh() if alone else 0  # before the reading, so that nothing is missed
        fates = [await self._fate(f"{each.serial:x}") for each in request.cert_ids]
        now = self._now()
        if any(fate is not None and fate.not_after + AFTERWARDS < now for fate in fates):
            return Said(Error.UNAUTHORIZED.der)  # RFC 5019 section 2.2.3: nothing is known of it any more
        ends = now + self._lifetime
        statuses = [_status(each, fate, ends) for each, fate in zip(request.cert_ids, fates, strict=True)]
        der = await self._signer.sign_ocsp(statuses, now, request.nonce)
        if not alone or fates[0] is None:
            return Said(der)
        said = Said(der, now, ends)
        self._keep(octets, said, statuses[0].cert_id, fates[0], revision)
        return said

    def _keep(self, octets: bytes, said: Said, cert_id: CertID, fate: Fate, revision: int) -> None:
        while len(self._kept) >= MAX_ANSWERS:
            del self._kept[next(iter(self._kept))]
        renew_at = self._reactor.seconds() + self._lifetime.total_seconds() / 2
        self._kept[octets] = _Kept(said, f"{cert_id.serial:x}", fate, revision, renew_at)

    async def _fate(self, serial: str) -> Fate | None:
        return await self._database.read(revocations.fate(self._issuer_id, serial))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(int(self._reactor.seconds()), UTC)


def _status(cert_id: CertID, fate: Fate | None, ends: datetime) -> Status:
    if fate is None:  # it may be issued a moment later
        return Status(cert_id=cert_id, known=False)
    return Status(cert_id=cert_id, revoked_at=fate.revoked_at, reason=fate.reason or 0, next_update=ends)
