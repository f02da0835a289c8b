"""A database whose answers are timed."""

from __future__ import annotations

from time import perf_counter
from typing import Protocol

from certctl.acme.nonces import NonceKeys
from certctl.storage.database import A, B, Database, Query, Statement, T, Unavailable


class Meter(Protocol):
    """Who wants to know how long the database takes."""

    def asked(self, operation: str, seconds: float) -> None:
        """The database took so long for a ``read``, ``redeem`` or ``write``, whatever it said."""

    def unavailable(self, operation: str) -> None:
        """The database did not answer."""


class MeasuredDatabase:
    """Another Database, seen through a meter. What changes nothing and asks nothing is not measured.

    It does not inherit the protocol: a method that is added to that and not here is a type error, not a silence.
    """

    def __init__(self, database: Database, meter: Meter) -> None:
        self._database = database
        self._meter = meter

    @property
    def nonce_keys(self) -> NonceKeys:
        """See Database."""
        return self._database.nonce_keys

    async def read(self, query: Query[T]) -> T:
        """See Database."""
        began = perf_counter()
        try:
            return await self._database.read(query)
        except Unavailable:
            self._meter.unavailable("read")
            raise
        finally:
            self._meter.asked("read", perf_counter() - began)

    async def redeem(self, nonce: bytes, first: Query[A], second: Query[B]) -> tuple[A, B]:
        """See Database."""
        began = perf_counter()
        try:
            return await self._database.redeem(nonce, first, second)
        except Unavailable:
            self._meter.unavailable("redeem")
            raise
        finally:
            self._meter.asked("redeem", perf_counter() - began)

    async def write(self, *statements: Statement) -> None:
        """See Database."""
        began = perf_counter()
        try:
            await self._database.write(*statements)
        except Unavailable:
            self._meter.unavailable("write")
            raise
        finally:
            self._meter.asked("write", perf_counter() - began)

    async def look_after_nonce_keys(self, now: float, floor: bytes) -> None:
        """See Database."""
        await self._database.look_after_nonce_keys(now, floor)

    async def forget_nonces(self, floor: bytes) -> int:
        """See Database."""
        return await self._database.forget_nonces(floor)

    async def lead(self) -> bool:
        """See Database."""
        return await self._database.lead()

    async def close(self) -> None:
        """See Database."""
        await self._database.close()
