"""The CRLs of an issuer: kept in memory, made again when somebody was revoked and when their time has come.

The database numbers revocations in the order of their commits. A list knows all up to a number and asks for what came
after, once a second at most and only if somebody asks for a list or an answer. What it keeps of a revoked certificate
are the octets of its entry, gathered by the day on which the certificate ends, so that the expired go by the day.

All servers on one database make the same list: its time is that of the newest revocation, or of the beginning of the
slot in which there was none, and its number is that time with the newest revocation's number. A database that was put
back from a backup has forgotten revocations; so the time is not before that either, and numbers go on (RFC 5280 section
5.2.3).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from certctl.issuance.crl import MAX_SHARDS, RevocationList, entry
from certctl.issuance.issuer import StatusSigner, StatusUrls
from certctl.storage import restores, revocations
from certctl.storage.database import Database, Unavailable
from certctl.storage.revocations import Revoked

FRESH = 1.0  # seconds for which the newest revocation is taken to be known
PAGE = 200  # revocations that are read at once, so that nobody waits long meanwhile
SLOTS = 4  # CRLs that are made, at least, until the first of them ends
DAY = 86_400
NUMBER_BITS = 32  # of a CRL's number, for the number of the newest revocation


@attrs.frozen
class Published:
    """A signed CRL."""

    der: bytes
    number: int
    this_update: datetime
    next_update: datetime


class RevocationLists:
    """The CRLs of one issuer."""

    def __init__(
        self,
        issuer_id: str,
        signer: StatusSigner,
        urls: StatusUrls | None,
        database: Database,
        reactor: Any,
        lifetime: timedelta,
    ) -> None:
        self._issuer_id = issuer_id
        self._signer = signer
        self._urls = urls
        self._database = database
        self._reactor = reactor
        self._clock: IReactorTime = reactor
        self._lifetime = lifetime
        self.revision = 0  # the number of the newest revocation that is known
        self._last = datetime.fromtimestamp(0, UTC)  # when that was, or a later one
        self._entries: dict[
            tuple[int, int], bytearray
        ] = {}  # by shard, and by the day on which certificates end
        self._signed: dict[tuple[int, int], Published] = {}
        self._restored_at = restores.NEVER
        self._known_at: float | None = None
        self._waiting: list[Deferred[None]] | None = None  # who waits for the reading that is under way

    async def fresh(self) -> int:
        """Learn what was revoked until a second ago, and return the newest revocation's number.

        Raise Unavailable if the database does not say and nothing at all is known yet; what is known holds otherwise.
        """
        if self._known_at is not None and self._clock.seconds() - self._known_at < FRESH:
            return self.revision
        if self._waiting is not None:
            self._waiting.append(waiting := Deferred[None]())
            await waiting
            return self.revision
        self._waiting = []
        failure: Exception | None = None
        try:
            await self._learn()
        except Exception as error:
            failure = error
        waiting_for, self._waiting = self._waiting, None
        for each in waiting_for:
            each.callback(None)
        if failure is not None and (self._known_at is None or not isinstance(failure, Unavailable)):
            raise failure
        return self.revision

    async def get(self, shards: int, index: int) -> Published:
        """Return a list as it must be now; raise Unavailable or IssuerUnavailable."""
        await self.fresh()
        if self._known_at is None:
            raise Unavailable("the revocations could not be read")
        this_update = self._this_update()
        number = int(this_update.timestamp()) << NUMBER_BITS | self.revision
        found = self._signed.get((shards, index))
        if found is not None and found.number == number:
            return found
        crl = RevocationList(
            number=number,
            this_update=this_update,
            next_update=this_update + self._lifetime,
            entries=self._gathered(shards, index),
            scope=None if shards == 1 or self._urls is None else self._urls.list(shards, index),
        )
        made = Published(await self._signer.sign_crl(crl), number, this_update, crl.next_update)
        self._signed[shards, index] = made
        return made

    async def _learn(self) -> None:
        """Read all revocations above the known ones, by pages, with a pause after each."""
        asked = self._clock.seconds()
        newest = await self._database.read(revocations.newest(self._issuer_id))
        self._restored_at = await self._database.read(restores.last())
        keep_from = self._keep_from()
        while self.revision < newest:
            page = await self._database.read(revocations.after(self._issuer_id, self.revision, PAGE))
            if not page:
                break
            for each in page:
                self._take(each, keep_from)
            self.revision = page[-1].number
            if len(page) == PAGE:
                await deferLater(self._reactor, 0)
        self._known_at = asked

    def _take(self, revoked: Revoked, keep_from: int) -> None:
        day = int(revoked.not_after.timestamp()) // DAY
        if day < keep_from:
            return
        serial = int(revoked.serial, 16)
        octets = entry(serial, revoked.at, revoked.reason)
        self._entries.setdefault((serial % MAX_SHARDS, day), bytearray()).extend(octets)
        self._last = max(self._last, revoked.at)

    def _gathered(self, shards: int, index: int) -> tuple[bytes, ...]:
        """The entries of a list, without those of certificates that have long ended."""
        keep_from = self._keep_from()
        for key in [each for each in self._entries if each[1] < keep_from]:
            del self._entries[key]
        return tuple(bytes(octets) for (shard, _), octets in self._entries.items() if shard % shards == index)

    def _slot(self) -> int:
        """When the current slot began, in seconds."""
        length = max(1, int(self._lifetime.total_seconds()) // SLOTS)
        return int(self._clock.seconds()) // length * length

    def _this_update(self) -> datetime:
        last = max(self._last, self._restored_at).replace(microsecond=0)
        return max(datetime.fromtimestamp(self._slot(), UTC), last)

    def _keep_from(self) -> int:
        """The first day whose certificates are listed.

        An entry stays until a list was made after the certificate's end (RFC 5280 section 3.3): for a list's lifetime,
        and a day, as only the day of the end is kept.
        """
        return (self._slot() - int(self._lifetime.total_seconds())) // DAY - 1


def shards_allowed(shards: int, index: int) -> bool:
    """Whether there is such a list: revocations are split by powers of two, so that each split is of the same parts."""
    return 1 <= shards <= MAX_SHARDS and shards & (shards - 1) == 0 and 0 <= index < shards
