"""The line between a worker and the parent that started it: news and questions in both directions.

It is a socket pair that nobody else has. When one end dies, the other hears of it.
"""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import NetstringReceiver
from twisted.python.failure import Failure

from certctl.notify import Notifier

FIGURES = b"figures"  # asked of a worker: its own metrics; of the parent: those of all other workers
RETIRE = b"retire"  # told to a worker: take no more connections, end those that stand, and go
ANSWERS_WITHIN = 2.0  # seconds
_NEWS, _QUESTION, _ANSWER = b".", b"?", b"="


class Line(NetstringReceiver):
    """One end."""

    MAX_LENGTH = 64 * 1024 * 1024  # metrics of a thousand profiles are some MB

    def __init__(self) -> None:
        self.told: Callable[[bytes], object] = lambda _: None
        self.asked: Callable[[bytes], Deferred[bytes]] = lambda _: Deferred()
        self.gone: Callable[[], object] = lambda: None
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, Deferred[bytes]] = {}

    def join(self, reactor: Any, ours: socket.socket) -> None:
        """Be the end that is this socket, of which the line has a copy; the one that was given is closed."""
        reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, _Once(self))
        ours.close()

    def tell(self, news: bytes) -> None:
        """Say something to the other end."""
        self._send(_NEWS + news)

    def ask(self, question: bytes) -> Deferred[bytes]:
        """Ask the other end; fails if it is gone or takes too long."""
        number = b"%d" % next(self._numbers)
        answering: Deferred[bytes] = Deferred(lambda _: self._forget(number))
        self._waiting[number] = answering
        self._send(_QUESTION + number + b" " + question)
        return answering

    def _forget(self, number: bytes) -> None:
        self._waiting.pop(number, None)

    def _send(self, text: bytes) -> None:
        if self.transport is not None and self.connected:
            self.sendString(text)

    def stringReceived(self, string: bytes) -> None:
        """Take what the other end says."""
        kind, text = string[:1], string[1:]
        if kind == _NEWS:
            self.told(text)
            return
        number, _, text = text.partition(b" ")
        if kind == _QUESTION:
            _ = self.asked(text).addCallback(lambda answer: self._send(_ANSWER + number + b" " + answer))
        elif (answering := self._waiting.pop(number, None)) is not None:
            answering.callback(text)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other end is gone."""
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.errback(reason)
        self.gone()


class _Once(Factory):
    """Makes the one line that there is to be."""

    noisy = False

    def __init__(self, line: Line) -> None:
        self._line = line

    def buildProtocol(self, addr: object) -> Line:
        """The line."""
        return self._line


class Parent:
    """The parent, as one of its workers sees it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._line = Line()
        self.notifier = Notifier(self._line.tell)

    def connect(
        self,
        reactor: Any,
        *,
        figures: Callable[[], bytes],
        retire: Callable[[], object],
        gone: Callable[[], object],
    ) -> None:
        """Listen to the parent, which is at the other end of standard input."""
        self._reactor = reactor

        def asked(question: bytes) -> Deferred[bytes]:
            return succeed(figures() if question == FIGURES else b"")

        self._line.asked = asked
        self._line.told = lambda news: retire() if news == RETIRE else None
        self._line.gone = gone
        self._line.join(reactor, socket.fromfd(0, socket.AF_UNIX, socket.SOCK_STREAM))

    async def others(self) -> Mapping[str, bytes]:
        """The metrics of all other workers, by their numbers; those that do not answer are left out."""
        asking = self._line.ask(FIGURES).addTimeout(2 * ANSWERS_WITHIN, self._reactor)
        try:
            found: Mapping[str, str] = json.loads(await asking)
        except (TimeoutError, ConnectionClosed):  # the parent is on its way out
            return {}
        return {number: text.encode() for number, text in found.items()}
