"""Whose validation is next: so many at once, and every account in its turn."""

from __future__ import annotations

from collections import OrderedDict, deque

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime


class Turns:
    """So many turns at once. Who waits is served account by account, one turn each.

    So the many of one account, each of which may last until its time limit, do not stand before the few of another.
    """

    def __init__(self, reactor: IReactorTime, number: int) -> None:
        self._reactor = reactor
        self._free = number
        self._queues: OrderedDict[str, deque[Deferred[None]]] = (
            OrderedDict()
        )  # by account, the next one first
        self._handing_out = False
        self.waiting = 0

    async def take(self, account_id: str) -> None:
        """Return when it is the account's turn, which it gives back."""
        if self._free and not self._queues:
            self._free -= 1
            return
        turn: Deferred[None] = Deferred()
        self._queues.setdefault(account_id, deque()).append(turn)
        self.waiting += 1
        await turn

    def give_back(self) -> None:
        """Let somebody else have the turn."""
        self._free += 1
        if not self._handing_out:
            self._hand_out()
        elif self._queues:
            # This turn ended as soon as it began. Thousands of such must neither lie on the stack one above the
            # other nor keep the reactor from everything else.
            self._reactor.callLater(0, self._hand_out)

    def _hand_out(self) -> None:
        self._handing_out = True
        try:
            for _ in range(min(self._free, self.waiting)):
                self._free -= 1
                self._next().callback(None)
        finally:
            self._handing_out = False

    def _next(self) -> Deferred[None]:
        account_id, queue = self._queues.popitem(last=False)
        turn = queue.popleft()
        self.waiting -= 1
        if queue:
            self._queues[account_id] = queue
        return turn
