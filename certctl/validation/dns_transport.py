"""Brings questions to a resolver and waits for what answers them, by UDP and by TCP."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from certctl.validation.addresses import Server
from certctl.validation.dns_messages import Answer, Query, answering

MAX_DATAGRAM = 4096  # bytes; what is longer is cut off and then does not parse


class NoAnswer(Exception):
    """One resolver gave nothing usable; the text says what."""


REFUSED = NoAnswer("refused")


@implementer(IReadDescriptor)
class Datagrams:
    """Questions that went out from one socket, and what answers them; all else that arrives is dropped.

    The port is one that the kernel picks at random, connected to this resolver alone. A socket of our own because one
    of ``listenUDP`` is closed only later, and costs as much as all the rest of a lookup.
    """

    def __init__(self, reactor: Any, server: Server, queries: Sequence[Query], exact: bool) -> None:
        """Ask; raises OSError."""
        self._reactor = reactor
        self._exact = exact
        self._queries = {query.id: query for query in queries}
        self._answers: dict[int, Answer] = {}
        self.outcomes: Deferred[list[Answer | NoAnswer]] = Deferred()
        family = socket.AF_INET6 if server[0].version == 6 else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._descriptor = self._socket.fileno()
        try:
            self._socket.connect((str(server[0]), server[1]))
            for query in queries:
                self._socket.send(query.wire)
        except OSError:
            self._socket.close()
            raise
        reactor.addReader(self)

    def doRead(self) -> None:
        """Take a datagram; whether there is another the reactor will say."""
        try:
            datagram = self._socket.recv(MAX_DATAGRAM)
        except BlockingIOError:
            return
        except OSError:
            self.end(REFUSED)
            return
        id = int.from_bytes(datagram[:2], "big")
        if id not in self._queries or id in self._answers:
            return
        answer = answering(datagram, self._queries[id], self._exact)
        if answer is not None:
            self._answers[id] = answer
            if len(self._answers) == len(self._queries):
                self.end()

    def end(self, reason: NoAnswer = REFUSED) -> None:
        """Wait no longer; what has no answer has none for this reason."""
        if not self.outcomes.called:
            self.outcomes.callback([self._answers.get(id, reason) for id in self._queries])

    def close(self) -> None:
        """Let go of the socket."""
        self._reactor.removeReader(self)
        self._socket.close()

    def connectionLost(self, reason: Failure) -> None:
        """An ICMP error, which epoll reports as a hang-up, or the reactor's own end."""
        self.end(REFUSED)

    def fileno(self) -> int:
        """The number of the socket, closed or not: the reactor would take another for a fault."""
        return self._descriptor

    def logPrefix(self) -> str:
        return "resolver"


class Stream(Int16StringReceiver):
    """Sends the query and waits for its answer (RFC 7766 section 8)."""

    noisy = False

    def __init__(self, query: Query, exact: bool) -> None:
        self._query, self._exact = query, exact
        self.answer: Deferred[Answer] = Deferred()

    def connectionMade(self) -> None:
        self.sendString(self._query.wire)

    def stringReceived(self, string: bytes) -> None:
        answer = answering(string, self._query, self._exact)
        if answer is not None and not self.answer.called:
            self.answer.callback(answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.errback(Failure(NoAnswer("closed without an answer")))
