"""Work that outlives the request that began it: kept alive, counted, and waited for when the server stops."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

T = TypeVar("T")


class Background:
    """Runs coroutines to their end, whoever goes away meanwhile."""

    _log = Logger(namespace="certctl")

    def __init__(self) -> None:
        self._running: set[Deferred[Any]] = set()
        self._idle: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._running)

    def run(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """Start work, and return a Deferred of its result. Cancelling that does not reach the work."""
        running = Deferred.fromCoroutine(work)
        shielded: Deferred[T] = Deferred(lambda _: None)
        if running.called:  # the usual case of a read: nothing to keep
            _ = running.addBoth(shielded.callback)
            return shielded
        self._running.add(running)
        _ = running.addBoth(self._done, running, shielded)
        return shielded

    def run_now(self, work: Coroutine[Any, Any, T]) -> T | Deferred[T]:
        """Start work that may well end at once: its result, or a Deferred of it; raises what it raises at once."""
        try:
            awaited = work.send(None)
        except StopIteration as ended:
            result: T = ended.value
            return result
        return self.run(_rest(work, awaited))

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        """Start work of whose result nobody waits; a failure is logged."""
        _ = self.run(work).addErrback(lambda failure: self._log.failure("background work failed", failure))

    def _done(self, result: Any, running: Deferred[Any], shielded: Deferred[Any]) -> None:
        self._running.discard(running)
        if not shielded.called:
            shielded.callback(result)
        elif isinstance(result, Failure):
            self._log.failure("work failed after its client had gone", result)
        if not self._running:
            idle, self._idle = self._idle, []
            for waiting in idle:
                waiting.callback(None)

    def drained(self, reactor: IReactorTime, seconds: float) -> Deferred[None]:
        """Fire when nothing runs any more, or when so many seconds are over."""
        waiting: Deferred[None] = Deferred()
        if not self._running:
            waiting.callback(None)
            return waiting
        self._idle.append(waiting)
        return waiting.addTimeout(seconds, reactor, onTimeoutCancel=lambda *_: None).addErrback(
            lambda _: None
        )


async def _rest(work: Coroutine[Any, Any, T], awaited: Any) -> T:
    """The rest of work that waits for something already."""
    result: T = await _resumed(work, awaited)
    return result


@coroutine
def _resumed(work: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
    while True:
        try:
            came = yield awaited
        except BaseException as error:
            step = partial(work.throw, error)
        else:
            step = partial(work.send, came)
        try:
            awaited = step()
        except StopIteration as ended:
            return ended.value
