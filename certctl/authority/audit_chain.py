"""The audit trail's chain grows: every few seconds what was recorded becomes a batch, now and then its end is signed.

Writers know nothing of it. Of all servers on a database the one whose turn comes first makes the batch, and the others
see that there is a new one; should two be at it together, the batches' primary key lets one of them pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from twisted.logger import Logger

from certctl.acme.audit_chain import Batch, Damaged, Entry
from certctl.acme.audit_coverage import LATEST, Coverage
from certctl.authority.trail import Trail
from certctl.authority.witness import Witness
from certctl.storage import audit_chain
from certctl.storage.database import Conflict, Database, Unavailable

BATCH = 500  # events at a time: some 5 ms in which no request is answered


class Chain:
    """Makes batches and checkpoints."""

    _log = Logger(namespace="certctl")

    def __init__(
        self, database: Database, trail: Trail, witness: Witness, *, interval: timedelta, signing: timedelta
    ) -> None:
        """``interval`` is how often ``beat`` is called, ``signing`` how often the chain's end is signed."""
        self._database = database
        self._trail = trail
        self._witness = witness
        self._interval = interval
        self._signing = signing
        self._signed_at: datetime | None = None
        self._busy = False

    async def beat(self) -> None:
        """Do what is due; what fails is logged, and tried again at the next beat."""
        if self._busy:  # the beat before is still at it
            return
        self._busy = True
        try:
            tail = await self.extend(unless_within=self._interval / 2)
            await self._sign_if_due(tail)
        except Unavailable as error:
            self._log.warn("the audit trail's chain waits for the database", why=str(error))
        except Damaged as error:
            self._log.critical("the audit trail's chain is damaged: run certctl audit verify", why=str(error))
        except Exception:
            self._log.failure("the audit trail's chain cannot grow")
        finally:
            self._busy = False

    async def finish(self) -> None:
        """Before the server stops: put what is in no batch into one. What fails is logged."""
        try:
            await self.extend()
        except Unavailable as error:
            self._log.warn("the audit trail's chain waits for the database", why=str(error))
        except Exception:
            self._log.failure("the audit trail's chain cannot grow")

    async def extend(self, unless_within: timedelta = timedelta(0)) -> Batch | None:
        """Put all that is in no batch into batches, and return the last batch.

        Nothing is done if another server, or this one, made a batch less than ``unless_within`` ago. Raises Damaged
        if the newest batches cannot be read.
        """
        now = self._trail.now()
        recent = await self._database.read(audit_chain.batches_since(now - LATEST))
        tail = recent[-1] if recent else None
        if tail is not None and abs(now - tail.created_at) < unless_within:
            return tail
        coverage = _covered(recent)
        while entries := await self._next(coverage, now):
            batch = Batch.of(entries, tail, now)
            try:
                await self._database.write(audit_chain.append(batch))
            except Conflict:  # another server is at it
                return tail
            tail = batch
            coverage.take(batch)
            if len(entries) < BATCH:
                break
            now = self._trail.now()
        return tail

    async def sign(self, tail: Batch) -> None:
        """Make a checkpoint over the chain's end, unless the chain is not what was signed before."""
        now, before = self._trail.now(), self._witness.last()
        if before is not None:
            if before.batch_id == tail.id and before.hash == tail.hash:
                return
            if await self._database.read(audit_chain.hash_of(before.batch_id)) != before.hash:
                self._log.critical(
                    "the audit trail is not the one that this server signed: no checkpoint is made;"
                    " run certctl audit verify",
                    batch=before.batch_id,
                    signed_at=before.created_at.isoformat(),
                )
                return
        checkpoint = self._witness.sign(tail, now)
        await self._database.write(audit_chain.keep(checkpoint))
        self._witness.remember(checkpoint)
        self._log.info("audit checkpoint", **checkpoint.document())

    async def _sign_if_due(self, tail: Batch | None) -> None:
        now = self._trail.now()
        if tail is None or (self._signed_at is not None and now - self._signed_at < self._signing):
            return
        await self.sign(tail)
        self._signed_at = now

    async def _next(self, coverage: Coverage, now: datetime) -> Sequence[Entry]:
        """The next events for a batch, in order of their ids: those that came late, and those after all others."""
        coverage.close(now)
        late: list[Entry] = []
        for at in range(0, len(coverage.gaps), audit_chain.SPANS):
            spans = coverage.gaps[at : at + audit_chain.SPANS]
            found = await self._database.read(audit_chain.entries_in(spans, BATCH))
            late.extend(found)
            if len(late) >= BATCH:
                return late[:BATCH]
        return late + await self._database.read(audit_chain.entries_after(coverage.last, BATCH - len(late)))


def _covered(recent: Sequence[Batch]) -> Coverage:
    """What the batches of late cover; the first of them stands for all before it, where nothing is open."""
    coverage = Coverage()
    if recent and recent[0].id > 1:
        coverage.last = coverage.closed = recent[0].last_event_id
    for batch in recent:
        if batch.id == 1 or batch is not recent[0]:
            coverage.take(batch)
    return coverage
