"""Shows whoever watches over the server that it lives, twice within the time that is given."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from certctl.notify import Notifier
from certctl.storage import profiles
from certctl.storage.database import Database, Unavailable

WELL = "answers requests"


class Life:
    """Tells that the reactor turns, once the database has answered, or has said in time that it cannot.

    A server whose PostgreSQL is away waits for it. One whose calls never come back, or whose own file cannot be read,
    is to be restarted.
    """

    def __init__(self, notifier: Notifier, database: Database, *, may_come_back: bool) -> None:
        """``may_come_back`` says of the database whether to wait for it is of use."""
        self._notifier = notifier
        self._database = database
        self._may_come_back = may_come_back
        self._showing = LoopingCall(lambda: Deferred.fromCoroutine(self.show()))

    def begin(self, within: float | None) -> None:
        """Tell that the server is ready; within so many seconds it is to be heard of again and again, if at all."""
        self._notifier.ready(WELL)
        if within is not None:
            _ = self._showing.start(within / 2)

    def end(self) -> None:
        """Show nothing more."""
        if self._showing.running:
            self._showing.stop()

    async def show(self) -> None:
        """Look at the database, and tell."""
        try:
            await self._database.read(profiles.everyone())
        except Unavailable:
            self._notifier.status("the database does not answer")
            if not self._may_come_back:
                return
        else:
            self._notifier.status(WELL)
        self._notifier.alive()
