"""The issuers of the database, and with which of them this server can sign.

Profiles name issuers by their ids, and all servers on one database have the same issuers. Keys are each server's own
matter: one that lacks the key of an issuer says so, and refuses what that issuer would have to sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache

import attrs
from cryptography import x509
from twisted.logger import Logger

from certctl.acme.problems import Problem, ProblemType
from certctl.authority.trail import Trail
from certctl.issuance.issuer import (
    INTERNAL_ISSUER_ID,
    Issuer,
    IssuerError,
    IssuerUnavailable,
    Keyring,
    StatusSigner,
)
from certctl.issuance.profile import authority_key_identifier
from certctl.storage import issuers
from certctl.storage.database import Database
from certctl.storage.issuers import IssuerRecord

ASK_AGAIN = timedelta(seconds=30)  # until an order for an issuer is tried again whose key is not here
ENDS_SOON = timedelta(days=30)  # an issuer that ends within that certifies the server no more
LOOK_AGAIN = timedelta(seconds=1)
Chain = tuple[bytes, ...]


@attrs.frozen(kw_only=True)
class Held:
    """An issuer, and what this server has of it."""

    record: IssuerRecord
    alternates: tuple[Chain, ...] = ()
    issuer: Issuer | None = None  # None: it cannot sign here
    signer: StatusSigner | None = None
    lacks: str = ""  # why it cannot

    @property
    def signs(self) -> bool:
        """Whether certificates can be had from it here."""
        return self.issuer is not None and self.record.retired_at is None


class Issuers(Mapping[str, Issuer]):
    """Those that sign certificates here, by their ids; and what is known of all others."""

    _log = Logger(namespace="certctl")

    def __init__(
        self,
        database: Database,
        trail: Trail,
        given: Mapping[str, Issuer],
        signers: Mapping[str, StatusSigner],
        keyring: Keyring | None,
    ) -> None:
        self._database = database
        self._trail = trail
        self._given = given
        self._signers = signers
        self._keyring = keyring
        self._held: dict[str, Held] = {
            id: Held(record=_unrecorded(each, trail.now()), issuer=each, signer=signers.get(id))
            for id, each in given.items()
        }
        self._known: Mapping[str, int] = {}
        self._looked_at: datetime | None = None

    def __getitem__(self, id: str) -> Issuer:
        held = self._held[id]
        if held.issuer is None or held.record.retired_at is not None:
            raise KeyError(id)
        return held.issuer

    def __iter__(self) -> Iterator[str]:
        return iter([id for id, held in self._held.items() if held.signs])

    def __len__(self) -> int:
        return len(list(iter(self)))

    @property
    def all(self) -> Mapping[str, Held]:
        """All issuers that are known, those too that do not sign here."""
        return self._held

    def is_given(self, id: str) -> bool:
        """Whether an issuer's certificate and key are files that the settings, or the first start, say."""
        return id in self._given

    async def refresh(self) -> None:
        """Learn what other servers and operators changed, and look again for keys that are not here.

        Raises Unavailable; what was known holds then.
        """
        known = await self._database.read(issuers.versions())
        if known == self._known and not any(held.lacks for held in self._held.values()):
            return
        alternates = await self._database.read(issuers.alternates())
        for record in await self._database.read(issuers.everyone()):
            self._held[record.id] = self._hold(record, alternates.get(record.id, ()))
        self._known = known

    async def find(self, id: str) -> Issuer:
        """The issuer that a profile names; raises Problem serverInternal (503) if it cannot sign here."""
        if id not in self:
            await self.refresh()
        held = self._held.get(id)
        if held is not None and held.issuer is not None and held.record.retired_at is None:
            return held.issuer
        why = "there is none" if held is None else held.lacks or "it was retired"
        self._log.error("issuer {issuer} is asked for and cannot sign: {why}", issuer=id, why=why)
        detail = f"issuer {id} cannot sign on this server: its log says why"
        raise Problem(ProblemType.SERVER_INTERNAL, detail, status=503, retry_after=ASK_AGAIN)

    def of_the_server(self) -> Issuer | None:
        """Who certifies the server itself: the first issuer until it is retired or ends soon, then its successor."""
        until, id, seen = self._trail.now() + ENDS_SOON, INTERNAL_ISSUER_ID, set[str]()
        while id in self._held and id not in seen:
            if id in self and self[id].expires_at > until:
                return self[id]
            seen.add(id)
            record = self._held[id].record
            id = record.successor_id or "" if record.switched_at is not None else ""
        return self.get(INTERNAL_ISSUER_ID) or next(iter(self.values()), None)

    async def signer(self, id: str) -> StatusSigner | None:
        """Who signs CRLs and OCSP answers for an issuer, retired or not; None if there is no such issuer.

        Raises IssuerUnavailable if its key is not here, and Unavailable if the database does not say who there is.
        """
        if id not in self._held:
            await self._look_again()
        if id not in self._held:
            return None
        held = self._held[id]
        if held.signer is None:
            raise IssuerUnavailable(held.lacks or f"issuer {id} signs no CRLs here")
        return held.signer

    async def chains(self, id: str) -> tuple[Chain, ...]:
        """What may follow a certificate of an issuer: the usual chain, the same with its root, and the alternates."""
        if id not in self._held:  # it was added on another server a moment ago
            await self.refresh()
        held = self._held[id]
        usual, root = held.record.chain, held.record.root
        rooted = () if root is None else ((*usual, root),)
        return (usual, *rooted, *held.alternates)

    async def _look_again(self) -> None:
        """Refresh for a stranger who names an unknown issuer, once a second at most."""
        now = self._trail.now()
        if self._looked_at is None or not timedelta(0) <= now - self._looked_at < LOOK_AGAIN:
            self._looked_at = now
            await self.refresh()

    def lacking(self) -> Mapping[str, str]:
        """Those that cannot sign here though nobody retired them, and why."""
        return {
            id: held.lacks for id, held in self._held.items() if held.lacks and not held.record.retired_at
        }

    def key_identifiers(self) -> frozenset[bytes]:
        """By which key identifiers their certificates name them (RFC 9773 section 4.1)."""
        return frozenset(key_identifier(held.record.chain[0]) for held in self._held.values())

    def renewal(self, id: str) -> tuple[datetime, datetime] | None:
        """From when to when the certificates of an issuer are to be replaced, if another has taken its place."""
        record = self._held[id].record if id in self._held else None
        if record is None or record.switched_at is None or record.renew_by is None:
            return None
        return record.switched_at, record.renew_by

    def _hold(self, record: IssuerRecord, alternates: tuple[Chain, ...]) -> Held:
        """What this server has of an issuer; opened anew only if its certificates are others than before."""
        before = self._held.get(record.id)
        if record.id in self._given:
            issuer = self._given[record.id]
            record = attrs.evolve(record, chain=issuer.chain, root=issuer.root)
            signer = self._signers.get(record.id)
            return Held(record=record, alternates=alternates, issuer=issuer, signer=signer)
        if before is not None and before.issuer is not None and before.record.chain == record.chain:
            return attrs.evolve(before, record=record, alternates=alternates)
        held = Held(record=record, alternates=alternates)
        if self._keyring is None:
            return attrs.evolve(held, lacks=f"this server has no key of issuer {record.id}")
        try:
            own, status = self._keyring.open(record.id, record.chain, record.root, self._trail.now())
        except IssuerError as error:
            if record.retired_at is None and (before is None or before.lacks != str(error)):
                self._log.error("issuer {issuer} cannot sign here: {why}", issuer=record.id, why=str(error))
            return attrs.evolve(held, lacks=str(error))
        return attrs.evolve(held, issuer=own, signer=status)


@lru_cache(maxsize=256)
def key_identifier(der: bytes) -> bytes:
    """The key identifier by which those that a CA signs name it."""
    found = authority_key_identifier(x509.load_der_x509_certificate(der)).key_identifier
    assert found is not None
    return found


def _unrecorded(issuer: Issuer, now: datetime) -> IssuerRecord:
    return IssuerRecord(id=issuer.id, chain=issuer.chain, root=issuer.root, created_at=now, version=0)
