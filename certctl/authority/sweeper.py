"""What time leaves behind is put in order: spent nonces, expired orders and authorizations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from certctl.acme import lifecycle
from certctl.acme.nonces import NonceMint
from certctl.authority.authorizations import PAUSE_LASTS
from certctl.authority.trail import GC, Action, Event, Trail
from certctl.storage import authorizations, console_sessions, failures, limits, orders
from certctl.storage.database import Conflict, Database, Statement

BATCH = 500  # rows at a time, so that no request waits long behind the sweeper
BATCHES = 200  # in one sweep; what is left waits for the next


class Sweeper:
    """Sweeps once when called."""

    def __init__(self, database: Database, trail: Trail, nonces: NonceMint) -> None:
        self._database = database
        self._trail = trail
        self._nonces = nonces

    async def sweep(self) -> int:
        """Move on all orders and authorizations whose time is over; return how many rows were moved or deleted."""
        seconds = self._trail.now().timestamp()
        floor = self._nonces.floor(seconds)
        await self._database.look_after_nonce_keys(seconds, floor)
        swept = await self._database.forget_nonces(floor)
        long_ago = self._trail.now() - PAUSE_LASTS
        if await self._database.read(failures.any_old(long_ago)):
            await self._database.write(failures.forget_old(long_ago))
        now = self._trail.now()
        if await self._database.read(limits.any_empty(now)):
            await self._database.write(limits.forget_empty(now))
        if await self._database.read(console_sessions.any_over(now)):
            await self._database.write(console_sessions.forget_over(now))
        for batch in (self._orders, self._authorizations):
            swept += await self._all(batch)
        return swept

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
