"""The parent of several workers: holds the sockets, starts workers, and replaces those that die.

It answers no request and knows no database. Each worker is a server as one process alone would be, on copies of the
parent's sockets (``workers``); what it has to tell comes over its line (``channel``).
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from certctl import listening, log, notify
from certctl.channel import ANSWERS_WITHIN, FIGURES, RETIRE
from certctl.listening import Sockets
from certctl.settings import Settings
from certctl.workers import Seat, Worker

STARTS_WITHIN = 60.0  # seconds that the successor of a worker has until it is ready
RELOADS_WITHIN = 10.0
ENDS_WITHIN = 28.0  # seconds that workers have to end; requests that run have 20 of them
LIFE = 60.0  # seconds without a sign of life after which a worker is killed, unless systemd says how many


class Supervisor(Service):
    """Keeps as many workers as the settings say."""

    _log = Logger(namespace="certctl")
    _sockets: Sockets

    def __init__(self, settings: Settings, options: Sequence[str], reactor: Any) -> None:
        """``options`` are handed on to each worker."""
        self._settings = settings
        self._options = options
        self._reactor = reactor
        self._notifier = notify.to_systemd(os.environ)
        self._watchdog = notify.watchdog(os.environ, os.getpid())
        self._life = self._watchdog or LIFE
        self._seats = [Seat(number) for number in range(1, settings.server_workers + 1)]
        self._alive: set[Worker] = set()
        self._looking = LoopingCall(self._look)
        self._was_ready = False
        self._is_replacing = False
        self._exit_status = 0
        self._said = ""  # of how the workers are

    def setServiceParent(self, parent: Any) -> None:
        """Join twistd's application, and take over how it logs."""
        log.take_over(parent, self._settings.log_format, self._settings.log_level)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Take the sockets, which may need root; exit with one sentence if that cannot be."""
        self._sockets = listening.take(self._settings, listening.handed_over(os.environ))

    def startService(self) -> None:
        """Start a worker, and the others once it is ready: it finds, or makes, what all of them share."""
        super().startService()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        orders: tuple[tuple[int, Callable[[], object]], ...] = (
            (signal.SIGTERM, self._asked_to_stop),
            (signal.SIGHUP, lambda: _run(self._reload())),
            (signal.SIGUSR2, lambda: _run(self._replace_all())),
        )
        for number, order in orders:
            signal.signal(number, lambda *_, order=order: self._reactor.callFromThread(order))
        self._fill(self._seats[0])
        _ = self._looking.start(min(1.0, self._life / 4))

    # Workers come and go.

    def _start(self, number: int) -> Worker:
        worker = Worker(number, self._reactor.seconds)
        worker.line.asked = lambda question: Deferred.fromCoroutine(self._figures_beside(worker))
        worker.start(self._reactor, self._sockets, self._life, self._options)
        self._alive.add(worker)
        _ = worker.ended.wait().addCallback(lambda _: self._ended(worker))
        return worker

    def _fill(self, seat: Seat) -> None:
        """Start a worker for a seat that nobody has."""
        if self.running and seat.worker is None and seat.successor is None:
            seat.worker = worker = self._start(seat.number)
            _ = worker.ready.wait().addCallback(lambda _: self._ready(worker))

    def _ready(self, worker: Worker) -> None:
        if not worker.answers:
            return
        self._log.info("worker {number} is ready", number=worker.number)
        if not self._was_ready:
            self._was_ready = True
            self._notifier.ready("the first worker answers, the others start")
            for seat in self._seats[1:]:
                self._fill(seat)
        self._tell_status()

    def _tell_status(self) -> None:
        """Say how the workers are, if that is news: how many answer, and what they say of themselves."""
        ready = [each for each in self._seated() if each.answers]
        words = ", ".join(sorted({each.status for each in ready}))
        status = f"{len(ready)} of {len(self._seats)} workers: {words}"
        if status != self._said:
            self._said = status
            self._notifier.status(status)

    def _seated(self) -> Iterator[Worker]:
        return (seat.worker for seat in self._seats if seat.worker is not None)

    def _ended(self, worker: Worker) -> None:
        """See what becomes of a worker's seat."""
        self._alive.discard(worker)
        seat = self._seats[worker.number - 1]
        if worker is not seat.worker:
            return
        seat.worker = None
        if not self.running:
            return
        self._log.error("worker {number} ended {how}", number=worker.number, how=worker.how)
        if not self._was_ready:  # it has said why, and the next one would say the same
            self._exit_status = 1
            self._asked_to_stop()
            return
        self._tell_status()
        self._reactor.callLater(seat.pause(self._reactor.seconds() - worker.born), self._fill, seat)

    def _look(self) -> None:
        """Kill the workers that show no sign of life, and show one."""
        now = self._reactor.seconds()
        for each in self._alive:
            if now - each.seen > (self._life if each.ready.has_come else max(self._life, STARTS_WITHIN)):
                self._log.error("worker {number} shows no sign of life", number=each.number)
                each.send(signal.SIGKILL)
        if self._was_ready:
            self._tell_status()
        if self._watchdog is not None:
            self._notifier.alive()

    # What is asked of the parent.

    async def _reload(self) -> None:
        """Have every worker read the operator's certificate again."""
        self._notifier.reloading()
        reloaded = DeferredList([each.reload() for each in self._seated() if each.answers])
        await _within(reloaded, RELOADS_WITHIN, self._reactor)
        self._notifier.ready(self._said)

    async def _replace_all(self) -> None:
        """Replace each worker by a new one; the old one takes no more connections, and goes when its last is closed."""
        if self._is_replacing or not self._was_ready:
            self._log.warn("workers are not replaced now: they are being started")
            return
        self._is_replacing = True
        self._notifier.reloading()
        for seat in self._seats:
            if self.running and not await self._replace(seat):
                self._log.error("worker {number} is not replaced: its successor ended", number=seat.number)
                break
        self._is_replacing = False
        self._notifier.ready(self._said)

    async def _replace(self, seat: Seat) -> bool:
        """Whether a new worker has taken a seat."""
        seat.successor = successor = self._start(seat.number)
        await _within(successor.ready.wait(), STARTS_WITHIN, self._reactor)
        seat.successor = None
        if not successor.answers:
            successor.send(signal.SIGKILL)
            self._fill(seat)  # should the old one have ended meanwhile
            return False
        self._log.info("worker {number} is replaced", number=seat.number)
        old, seat.worker = seat.worker, successor
        if old is not None:
            old.line.tell(RETIRE)
        return True

    async def _figures_beside(self, asking: Worker) -> bytes:
        """The metrics of all workers but the one that asks."""
        others = [each for each in self._seated() if each.answers and each.number != asking.number]
        answers = DeferredList(
            [each.line.ask(FIGURES).addTimeout(ANSWERS_WITHIN, self._reactor) for each in others],
            consumeErrors=True,
        )
        found = zip(others, await answers, strict=True)
        return json.dumps({each.number: text.decode() for each, (well, text) in found if well}).encode()

    # The end.

    def _asked_to_stop(self) -> None:
        with suppress(ReactorNotRunning):  # it may have been asked twice
            self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop; fires when all workers have ended."""
        super().stopService()
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        """Take no more connections, and let workers end what they have begun."""
        self._notifier.stopping()
        self._sockets.close()
        for how in (signal.SIGTERM, signal.SIGKILL):
            for each in self._alive:
                each.send(how)
            ends = DeferredList([each.ended.wait() for each in self._alive])
            await _within(ends, ENDS_WITHIN, self._reactor)
        if self._looking.running:
            self._looking.stop()
        self._log.info("certctl has stopped")
        if self._exit_status:
            self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, self._exit_status)


def _run(work: Any) -> None:
    """Begin something of whose result nobody waits."""
    _ = Deferred.fromCoroutine(work).addErrback(
        lambda failure: Supervisor._log.failure("the parent of the workers stumbled", failure)
    )


async def _within(waiting: Deferred[Any], seconds: float, reactor: Any) -> None:
    """Wait for something, but not longer than so many seconds."""
    await waiting.addTimeout(seconds, reactor, onTimeoutCancel=lambda *_: None)
