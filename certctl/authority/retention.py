"""What ended long ago is deleted: orders with their authorizations, and certificates with their orders.

It walks by pages through the ids, which have the time in front, and goes on at the next sweep where it stopped: so a
sweep costs the same however much there is, and no index is needed that every order would have to be written into.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from certctl.authority.trail import GC, Action, Event, Trail
from certctl.storage import retention
from certctl.storage.database import Conflict, Database, Statement
from certctl.storage.retention import Issued

PAGE = 500  # rows that are looked at together
BATCH = 100  # orders or certificates that are deleted together
IDLE = 4  # pages of a sweep on which nothing is to be deleted
PAGES = 200  # of a sweep at most; what is left waits for the next


class Retention:
    """Deletes what ended longer ago than it is kept. Of several servers one does so at a time."""

    def __init__(self, database: Database, trail: Trail, orders: timedelta, certificates: timedelta) -> None:
        """How long each is kept after its end; nothing is deleted where that is zero."""
        self._database = database
        self._trail = trail
        self._orders = orders
        self._certificates = certificates
        self._last_certificate = ""  # the id up to which was looked
        self._last_authorization = ""

    async def sweep(self) -> int:
        """Delete what is due; return how many orders, certificates and loose authorizations that were."""
        now, deleted = self._trail.now(), 0
        if self._orders:
            deleted += await self._invalid_orders(now - self._orders)
            deleted += await self._loose_authorizations(now - self._orders)
        if self._certificates:
            deleted += await self._ended_certificates(now - self._certificates)
        return deleted

    async def _invalid_orders(self, before: datetime) -> int:
        deleted = 0
        for _ in range(PAGES):
            found = await self._database.read(retention.invalid_orders(before, BATCH))
            if not found:
                break
            hanging = await self._database.read(retention.authorizations_of(found))
            event = _deleted(Action.ORDERS_DELETED, "acme_order", found)
            done = await self._change(
                event,
                *retention.delete_orders(found),
                *retention.delete_authorizations(hanging),
            )
            deleted += len(found) * done
            if len(found) < BATCH or not done:
                break
        return deleted

    async def _loose_authorizations(self, before: datetime) -> int:
        """Delete authorizations that ended and that no order hangs on, such as those that were made in advance."""
        deleted, idle = 0, 0
        for _ in range(PAGES):
            after = self._last_authorization
            page = await self._database.read(retention.loose_authorizations_after(after, before, PAGE))
            found = [id for id, is_loose in page if is_loose]
            if found:
                event = _deleted(Action.AUTHORIZATIONS_DELETED, "acme_authorization", found)
                deleted += len(found) * await self._change(event, *retention.delete_authorizations(found))
            self._last_authorization = page[-1][0] if len(page) == PAGE else ""
            idle += not found
            if len(page) < PAGE or idle == IDLE:
                break
        return deleted

    async def _ended_certificates(self, before: datetime) -> int:
        deleted, idle = 0, 0
        for _ in range(PAGES):
            page = await self._database.read(retention.certificates_after(self._last_certificate, PAGE))
            ended = [each for each in page if each.not_after < before and not each.is_newest_revoked]
            for at in range(0, len(ended), BATCH):
                deleted += await self._delete_certificates(ended[at : at + BATCH], before)
            self._last_certificate = page[-1].id if len(page) == PAGE else ""
            idle += not ended
            if len(page) < PAGE or idle == IDLE:
                break
        return deleted

    async def _delete_certificates(self, ended: Sequence[Issued], before: datetime) -> int:
        orders = [each.order_id for each in ended]
        hanging = await self._database.read(retention.authorizations_of(orders))
        event = _deleted(
            Action.CERTIFICATES_DELETED,
            "certificate",
            [each.id for each in ended],
            serials=[each.serial for each in ended],
        )
        return len(ended) * await self._change(
            event,
            *retention.delete_certificates(ended, before),
            *retention.delete_orders(orders),
            *retention.delete_authorizations(hanging),
        )

    async def _change(self, event: Event, *statements: Statement) -> bool:
        """Make a change; return whether it was made, and not undone because something is not as it was read."""
        try:
            await self._trail.record(self._trail.now(), event, *statements)
        except Conflict:
            return False
        return True


def _deleted(action: Action, resource_type: str, ids: Sequence[str], **more: list[str]) -> Event:
    """One event for all of a batch."""
    details = {"ids": list(ids), **more}
    return Event(
        actor=GC,
        action=action,
        resource_type=resource_type,
        resource_id=f"{len(ids)} together",
        details=details,
    )
