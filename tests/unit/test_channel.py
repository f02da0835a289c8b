"""The line between a worker and its parent."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from certctl.channel import Line


class LineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ends = Line(), Line()
        for each in self.ends:
            each.makeConnection(StringTransport())

    def exchange(self) -> None:
        """Bring what each end has said to the other."""
        for end, other in (self.ends, self.ends[::-1]):
            said = end.transport.value()  # type: ignore[union-attr]
            end.transport.clear()  # type: ignore[union-attr]
            for octet in said:  # however it is cut
                other.dataReceived(bytes([octet]))

    def test_news(self) -> None:
        """What one end tells, the other hears, whatever octets it has."""
        heard: list[bytes] = []
        self.ends[1].told = heard.append
        self.ends[0].tell(b"READY=1\nSTATUS=x")
        self.ends[0].tell(bytes(range(256)))
        self.exchange()
        self.assertEqual(heard, [b"READY=1\nSTATUS=x", bytes(range(256))])

    def test_answers_find_their_questions(self) -> None:
        """Answers that come in another order than the questions are told apart."""
        answering: dict[bytes, Deferred[bytes]] = {b"one": Deferred(), b"two": Deferred()}
        self.ends[1].asked = answering.__getitem__
        one, two = self.ends[0].ask(b"one"), self.ends[0].ask(b"two")
        self.exchange()
        answering[b"two"].callback(b"2 = two")
        answering[b"one"].callback(b"")
        self.exchange()
        self.exchange()
        self.assertEqual((self.successResultOf(one), self.successResultOf(two)), (b"", b"2 = two"))

    def test_other_end_is_gone(self) -> None:
        """Who waits for an answer is told, and whoever cares for the end."""
        gone: list[bool] = []
        self.ends[0].gone = lambda: gone.append(True)
        waiting = self.ends[0].ask(b"one")
        self.ends[0].connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(waiting, ConnectionDone)
        self.assertEqual(gone, [True])

    def test_answer_that_comes_too_late(self) -> None:
        """It is nobody's business any more."""
        answering: Deferred[bytes] = Deferred()
        self.ends[1].asked = lambda _: answering
        waiting = self.ends[0].ask(b"one")
        self.exchange()
        waiting.cancel()
        self.failureResultOf(waiting)
        answering.callback(b"late")
        self.exchange()
