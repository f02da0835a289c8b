"""Workers, as the parent that starts them sees them: a process each, and what its line tells."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from certctl.channel import Line
from certctl.listening import Sockets
from certctl.notify import MILLION

FIRST = 3  # the descriptor of the first socket that is handed over (man 3 sd_listen_fds)
STEADY = 10.0  # seconds: who lived so long was well
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before the third in a row that was not, doubled each time
_FOR_THIS_PROCESS = ("LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_")  # of the environment


class Moment:
    """Something that comes once; whoever waits for it is told, sooner or later."""

    def __init__(self) -> None:
        self.has_come = False
        self._waiting: list[Deferred[None]] = []

    def come(self) -> None:
        """It is there."""
        self.has_come = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def wait(self) -> Deferred[None]:
        """Fires when it comes, or at once."""
        waiting: Deferred[None] = Deferred()
        waiting.callback(None) if self.has_come else self._waiting.append(waiting)
        return waiting


class Worker(ProcessProtocol):
    """One process that answers requests."""

    def __init__(self, number: int, now: Callable[[], float]) -> None:
        self.number = number
        self.line = Line()
        self.line.told = self._told
        self.born = self.seen = now()
        self.ready, self.ended = Moment(), Moment()
        self.status = ""  # what it says of itself
        self.how = ""  # it ended
        self._now = now
        self._reloaded = Moment()

    def start(self, reactor: Any, sockets: Sockets, life: float, options: Sequence[str]) -> Worker:
        """Start it on copies of the sockets; within ``life`` seconds it has to show each time that it lives."""
        ours, theirs = socket.socketpair()
        handed = list(sockets.named())
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_FOR_THIS_PROCESS)
        }
        environment |= {
            "CERTCTL_SERVER_WORKERS": "1",
            "LISTEN_FDS": str(len(handed)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in handed),
            "WATCHDOG_USEC": str(int(life * MILLION)),
        }
        descriptors = {0: theirs.fileno(), 1: 1, 2: 2}
        descriptors |= {FIRST + number: each.fileno() for number, (_, each) in enumerate(handed)}
        arguments = [sys.executable, "-P", "-m", "certctl.worker", "--worker", str(self.number), *options]
        reactor.spawnProcess(self, sys.executable, arguments, environment, childFDs=descriptors)
        theirs.close()
        self.line.join(reactor, ours)
        return self

    def _told(self, news: bytes) -> None:
        """Hear of it what systemd would hear of a server."""
        self.seen = self._now()
        lines = news.decode("utf-8", "replace").split("\n")
        for line in lines:
            if line.startswith("STATUS="):
                self.status = line.removeprefix("STATUS=")
        if "READY=1" not in lines:
            return
        self._reloaded.come()
        if not self.ready.has_come:
            self.ready.come()

    def reload(self) -> Deferred[None]:
        """Have it read the operator's certificate again; fires when it has, or has ended."""
        self._reloaded = Moment()
        self.send(signal.SIGHUP)
        return self._reloaded.wait()

    def send(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        try:
            if self.transport is not None and self.transport.pid is not None:
                os.kill(self.transport.pid, number)
        except (ProcessLookupError, ProcessExitedAlready):
            pass

    @property
    def answers(self) -> bool:
        """Whether requests may come to it."""
        return self.ready.has_come and not self.ended.has_come

    def processEnded(self, reason: Failure) -> None:
        """Its end was seen."""
        how: Any = reason.value
        self.how = f"by signal {how.signal}" if how.signal else f"with status {how.exitCode}"
        self.ended.come()
        self._reloaded.come()
        self.ready.come()  # so that nobody waits for it any more


@attrs.define(eq=False)
class Seat:
    """A place for a worker: who has it, who is to have it, and how often in a row it was lost early."""

    number: int
    worker: Worker | None = None
    successor: Worker | None = None
    losses: int = 0

    def pause(self, lived: float) -> float:
        """The seconds until the next one may come, after one that lived so long."""
        self.losses = 0 if lived >= STEADY else self.losses + 1
        return 0.0 if self.losses < 2 else min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (self.losses - 2))
