"""What time leaves behind is put in order: spent nonces, expired orders and authorizations, what ended long ago."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from certctl.acme import lifecycle
from certctl.acme.nonces import NonceMint
from certctl.authority.authorizations import PAUSE_LASTS
from certctl.authority.retention import Retention
from certctl.authority.trail import GC, Action, Event, Trail
from certctl.storage import authorizations, console_sessions, failures, limits, orders
from certctl.storage.database import Conflict, Database, Query, Statement

BATCH = 500  # rows at a time, so that no request waits long behind the sweeper
BATCHES = 200  # in one sweep; what is left waits for the next


class Sweeper:
    """Sweeps once when called. Of all servers on a database one does so at a time: the one that leads."""

    def __init__(self, database: Database, trail: Trail, nonces: NonceMint, retention: Retention) -> None:
        self._database = database
        self._trail = trail
        self._nonces = nonces
        self._retention = retention

    async def take_turn(self) -> int | None:
        """Know the nonces' keys of the coming days, as every server must, and sweep if it is this one that leads.

        Returns how many rows were moved or deleted; None if another server sweeps.
        """
        now = self._trail.now().timestamp()
        await self._database.look_after_nonce_keys(now, self._nonces.floor(now))
        return await self.sweep() if await self._database.lead() else None

    async def sweep(self) -> int:
        """Move on all orders and authorizations whose time is over, and delete what ended long ago.

        Returns how many rows were moved or deleted.
        """
        now = self._trail.now()
        swept = await self._database.forget_nonces(self._nonces.floor(now.timestamp()))
        long_ago = now - PAUSE_LASTS
        await self._forget(failures.any_old(long_ago), failures.forget_old(long_ago, BATCH))
        await self._forget(limits.any_empty(now), limits.forget_empty(now, BATCH))
        await self._forget(console_sessions.any_over(now), console_sessions.forget_over(now))
        for batch in (self._orders, self._authorizations):
            swept += await self._all(batch)
        return swept + await self._retention.sweep()

    async def _forget(self, any_left: Query[bool], forgetting: Statement) -> None:
        """Forget what is no record of anything, batch by batch."""
        for _ in range(BATCHES):
            if not await self._database.read(any_left):
                break
            await self._database.write(forgetting)

    async def _all(self, batch: Callable[[], Awaitable[int]]) -> int:
        swept = 0
        for _ in range(BATCHES):
            done = await batch()
            swept += done
            if done < BATCH:
                break
        return swept

    async def _orders(self) -> int:
        now = self._trail.now()
        expired = await self._database.read(orders.expired(now, BATCH))
        events = [
            Event(actor=GC, action=Action.ORDER_EXPIRED, resource_type="acme_order", resource_id=each)
            for each in expired
        ]
        return await self._move(now, events, orders.expire(expired, lifecycle.EXPIRED.document(), now))

    async def _authorizations(self) -> int:
        now = self._trail.now()
        expired = await self._database.read(authorizations.expired(now, BATCH))
        # One event for all of a batch: nearly every authorization ends so, and nobody did it.
        event = Event(
            actor=GC,
            action=Action.AUTHORIZATIONS_EXPIRED,
            resource_type="acme_authorization",
            resource_id=f"{len(expired)} together",
            details={"ids": expired},
        )
        return await self._move(now, [event] if expired else [], authorizations.expire(expired, now))

    async def _move(self, now: datetime, events: list[Event], statement: Statement) -> int:
        """Make the change if there is one to make, and return how many rows it moved."""
        if not events:
            return 0
        try:
            await self._trail.record(now, events, statement)
        except Conflict:  # one of them was given up since it was read: the next sweep sees the rest
            return 0
        return statement.rows or 0
