"""Which of all processes on a database looks after it: the one whose session holds an advisory lock.

PostgreSQL gives the lock free when the session ends, whatever ended it, and the next process that asks has it: at once
if a process dies, within half a minute if its host vanishes. The session is one connection beside those of the pool,
kept by the one process that has the lock.
"""

from __future__ import annotations

from typing import Any

from certctl.storage.database import Unavailable
from certctl.storage.postgres_pool import OVERDUE, Pool
from certctl.storage.postgres_schema import LOCK
from certctl.storage.postgres_wire import Wire

LEADING = LOCK + 1  # the number of the lock
# A host that vanishes says nothing of it, and the server would ask after two hours: so it is told to ask after seconds.
_TRY = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;"
    f" SELECT pg_try_advisory_lock({LEADING})"
)
_STILL = "SELECT TRUE"  # a session that answers has what it has


class Leading:
    """The lock, as one process sees it."""

    def __init__(self, pool: Pool, reactor: Any) -> None:
        self._pool = pool
        self._reactor = reactor
        self._wire: Wire | None = None  # whose session has the lock
        self._ended = False

    async def is_ours(self) -> bool:
        """Whether this process has the lock, by now if it was free; raise Unavailable."""
        if self._wire is not None and self._wire.alive:
            try:
                if await self._ask(self._wire, _STILL):
                    return True
            except Unavailable:  # the session is over, and so perhaps is the database
                pass
            self._wire.end()
        self._wire = None
        wire = await self._pool.connect()
        if self._ended or not await self._ask(wire, _TRY):
            wire.end()
            return False
        self._wire = wire
        return True

    def end(self) -> None:
        """Give the lock free."""
        self._ended = True
        if self._wire is not None:
            self._wire.end()

    async def _ask(self, wire: Wire, question: str) -> bool:
        """The answer to a question about the lock; a server that says nothing is given up."""
        late = self._reactor.callLater(OVERDUE, wire.end)
        try:
            ((answer,),) = (await wire.query(question)).fetchall()
        finally:
            if late.active():
                late.cancel()
        return bool(answer)
