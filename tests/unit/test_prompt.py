"""How octets leave: over a real pair of sockets, with a reactor that only notes what it is asked."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import error
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Port
from twisted.trial.unittest import SynchronousTestCase

from certctl.listening import PromptServer

HERE = ("127.0.0.1", 1)


class Noting:
    """What a connection asks of a reactor."""

    def __init__(self) -> None:
        self.writers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        """Nobody reads here."""

    removeReader = addReader

    def addWriter(self, writer: Any) -> None:
        """Note who waits until it may write."""
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        """Note who waits no more."""
        self.writers.discard(writer)


class PromptTests(SynchronousTestCase):
    def setUp(self) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.settimeout(10)
        self.addCleanup(self.peer.close)
        self.addCleanup(ours.close)
        self.reactor = Noting()
        port: Any = Port(0, Factory(), reactor=self.reactor)
        self.connection: Any = PromptServer(ours, Protocol(), HERE, port, 0, port.reactor)

    def received(self, count: int) -> bytes:
        """The next octets that the peer gets."""
        found = b""
        while len(found) < count and (more := self.peer.recv(count - len(found))):
            found += more
        return found

    def test_sent_at_once(self) -> None:
        """What the socket takes is sent before the reactor turns, which has nothing to wait for."""
        self.connection.write(b"an answer")
        self.assertEqual(self.received(9), b"an answer")
        self.assertEqual(self.reactor.writers, set())

    def test_rest_waits(self) -> None:
        """What a full socket does not take is sent later, in its order, and what is written meanwhile behind it."""
        large = bytes(range(256)) * 20_000
        self.connection.write(large)
        self.assertEqual(self.reactor.writers, {self.connection})
        self.connection.write(b"the end")
        found = b""
        while self.reactor.writers:
            found += self.peer.recv(1 << 20)
            self.assertIsNone(self.connection.doWrite())
        found += self.received(len(large) + 7 - len(found))
        self.assertEqual(found, large + b"the end")

    def test_peer_gone(self) -> None:
        """A connection that is broken is found out by the reactor, and nothing is raised into who writes."""
        self.peer.close()
        self.connection.write(b"an answer")
        self.assertEqual(self.reactor.writers, {self.connection})
        self.assertIs(self.connection.doWrite(), CONNECTION_LOST)
        self.assertIsInstance(CONNECTION_LOST, error.ConnectionLost)

    def test_nothing_after_the_end(self) -> None:
        """What is written to a connection that has ended goes nowhere."""
        self.connection.connected = False
        self.connection.write(b"too late")
        self.peer.setblocking(False)
        self.assertRaises(BlockingIOError, self.peer.recv, 1)
