"""Changes to PostgreSQL: those that come while one is under way are made together, as one transaction.

One round trip and one COMMIT cost the same for a change and for twenty. If one of them cannot be made, all are undone;
then each is made by itself, and only the one that cannot be made fails. What leaves in doubt whether a COMMIT arrived
is told to all, and tried by none again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import psycopg2
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from certctl.storage.database import Conflict, Unavailable
from certctl.storage.postgres_pool import Pool
from certctl.storage.postgres_sql import CONFLICT, Command
from certctl.storage.postgres_wire import Wire

COMPANY = 0.003  # seconds that a change waits for the end of one that is under way
MOST = 20  # changes in one transaction, all of which wait for whatever lock one of them waits for
APART = 0.5  # seconds in which changes go by themselves after some could not be made together, as more may be like that
SHORT = 200  # parameters of a change that goes with others; an order of many names goes by itself
ATTEMPTS = 3  # at a change that the server undid because of a deadlock
_DEADLOCKS = ("40001", "40P01")

Change = Sequence[tuple[Command, Sequence[Any]]]


@attrs.define(eq=False)
class _Company:
    """Changes that are going to be made together: the first one, which sees to that, and those that came after it."""

    changes: list[Change]
    made: list[Deferred[bool]] = attrs.field(factory=list)  # for each that came after: whether it was made
    turn: Deferred[None] = attrs.field(factory=Deferred)  # no longer wait for what is under way

    def join(self, change: Change) -> Deferred[bool]:
        """Make a change as well; fires with False if it is to be made by itself."""
        made: Deferred[bool] = Deferred()
        self.changes.append(change)
        self.made.append(made)
        if len(self.changes) == MOST:
            self.go()
        return made

    def go(self) -> None:
        """Wait no longer."""
        if not self.turn.called:
            self.turn.callback(None)


class Changes:
    """Makes the changes of one process."""

    def __init__(self, pool: Pool, reactor: Any) -> None:
        self._pool = pool
        self._reactor = reactor
        self._under_way = 0
        self._gathering: _Company | None = None  # takes more until it has a connection
        self._apart_until = -math.inf

    async def make(self, change: Change) -> None:
        """Make a change durably; raise Conflict, or psycopg2.Error if it breaks a rule of the schema: nothing was
        changed; raise Unavailable if that is not known.
        """
        gathering = self._gathering
        is_long = sum(len(parameters) for _, parameters in change) > SHORT
        if is_long or self._reactor.seconds() < self._apart_until:
            made = False
        elif gathering is None or len(gathering.changes) >= MOST:
            made = await self._lead(_Company([change]))
        else:
            made = await gathering.join(change)
        if not made:
            await self._pool.use(lambda wire: _make(wire, change), quick=False)

    async def _lead(self, company: _Company) -> bool:
        """Make changes together with those that come meanwhile; return whether they were made."""
        self._gathering = company
        try:
            if self._under_way:
                await self._turn(company)
            made = await self._make_together(company)
        except Exception:
            failure = Failure()
            for each in company.made:
                each.errback(failure)
            raise
        for each in company.made:
            each.callback(made)
        return made

    async def _turn(self, company: _Company) -> None:
        """Wait until what is under way has ended, or takes longer than it is worth.

        When that time is over the reactor looks for answers once more, as it may have been busy for all of it.
        """
        late = self._reactor.callLater(COMPANY, self._reactor.callLater, 0, company.go)
        await company.turn
        if late.active():
            late.cancel()

    async def _make_together(self, company: _Company) -> bool:
        self._under_way += 1
        try:
            return await self._pool.use(lambda wire: self._make_all(company, wire), quick=False)
        finally:
            self._under_way -= 1
            self._leave(company)
            if self._gathering is not None:
                self._gathering.go()

    async def _make_all(self, company: _Company, wire: Wire) -> bool:
        self._leave(company)
        if len(company.changes) == 1:
            await _make(wire, company.changes[0])
            return True
        # Servers that change the same rows at once are to lock them in the same order.
        changes = sorted(company.changes, key=_first)
        try:
            await wire.run([command for change in changes for command in change])
        except psycopg2.Error:  # one of them is not possible, so none was made
            self._apart_until = self._reactor.seconds() + APART
            return False
        return True

    def _leave(self, company: _Company) -> None:
        if self._gathering is company:
            self._gathering = None


async def _make(wire: Wire, change: Change) -> None:
    """Make one change, by itself."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await wire.run(change)
            return
        except psycopg2.Error as error:
            if error.pgcode == CONFLICT:
                raise Conflict(error.diag.message_primary) from None
            if error.pgcode not in _DEADLOCKS:
                raise
            if attempt == ATTEMPTS:
                raise Unavailable(f"the database gave up a change: {error}") from error


def _first(change: Change) -> str:
    """What a change names first: the limit that it spends from, or the object."""
    return next((str(value) for _, parameters in change for value in parameters), "")
