"""Tests for certctl.validation.attempt and certctl.validation.wire: time limits and closing."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from certctl.acme.objects import ChallengeType
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.addresses import EgressPolicy, Network, Resolvers
from certctl.validation.attempt import Limits, Transient, within
from certctl.validation.special_purpose import IPAddress
from certctl.validation.table import validators
from certctl.validation.wire import CLOSE_SECONDS, Wire

from .responders import Connection, Responder, attempt, reactor


def late() -> Problem:
    """What is raised when the time is up."""
    return Transient(ProblemType.CONNECTION, "late")


class WithinTests(SynchronousTestCase):
    """A time limit that holds whatever the work raises when it is cancelled."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.step: Deferred[str] = Deferred()

    def run_within(self, failure: type[Exception] | None = None) -> Deferred[str]:
        async def work() -> str:
            try:
                return await self.step
            except CancelledError:
                if failure is None:
                    raise
                raise failure from None

        return Deferred.fromCoroutine(within(self.clock, 2.0, work(), late))

    def test_in_time(self) -> None:
        """The result comes through, and no timer is left."""
        running = self.run_within()
        self.clock.advance(1.9)
        self.step.callback("done")
        self.assertEqual(self.successResultOf(running), "done")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failed_in_time(self) -> None:
        running = self.run_within()
        self.step.errback(ValueError())
        self.failureResultOf(running, ValueError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """Also where cancelled work raises something else, as Twisted's HTTP client does."""
        for failure in (None, KeyError):
            self.step = Deferred()
            running = self.run_within(failure)
            self.clock.advance(2)
            self.failureResultOf(running, Transient)

    def test_cancelled_from_outside(self) -> None:
        """That is not being late."""
        running = self.run_within()
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LimitsTests(SynchronousTestCase):
    """The seconds that the documentation states."""

    def test_defaults(self) -> None:
        self.assertEqual(attrs.asdict(Limits()), {"connect": 3.0, "hop": 5.0, "query": 2.0, "total": 12.0})

    def test_validators(self) -> None:
        """One for each challenge type."""
        self.assertEqual(set(validators(Clock(), http01_port=80, tlsalpn01_port=443)), set(ChallengeType))


class CheckTypeTests(TestCase):
    """A type that proves nothing of an identifier is refused whatever the store says, and nobody is asked."""

    async def test_refused(self) -> None:
        known = validators(reactor)
        for name, wildcard, kind in (
            ("a.example", True, ChallengeType.HTTP01),
            ("a.example", True, ChallengeType.TLSALPN01),
            ("10.0.0.1", False, ChallengeType.DNS01),
            ("2001:db8::1", False, ChallengeType.DNS01),
        ):
            try:
                await known[kind].validate(attempt(name, kind, wildcard=wildcard))
            except Problem as problem:
                self.assertIs(problem.type, ProblemType.UNAUTHORIZED)
                self.assertIn(f"{kind.value} does not prove control of", problem.detail)
            else:
                self.fail("validated")


class WireTests(TestCase):
    """Closing."""

    def setUp(self) -> None:
        self.web = Responder()
        self.port = self.web.listen(self)

    def wire(self, **options: Any) -> Wire:
        targets: tuple[IPAddress, ...] = Resolvers.of(["127.0.0.1"]).default[0][:1]
        return Wire(reactor, targets, self.port, 0.5, **options)

    async def test_closed_after_use(self) -> None:
        """What was written before is sent."""
        async with self.wire() as wire:
            protocol: Any = await wire.connect(Factory.forProtocol(Protocol))
            protocol.transport.write(b"last words")
        await self.web.emptied()
        self.assertEqual(self.web.connections[0].received, b"last words")

    async def test_peer_that_does_not_read(self) -> None:
        """Bytes that nobody takes are given up after a moment."""
        self.web.on_connect = lambda connection: connection.transport.pauseProducing()
        started = reactor.seconds()
        async with self.wire() as wire:
            protocol: Any = await wire.connect(Factory.forProtocol(Protocol))
            protocol.transport.write(b"x" * 20_000_000)
        self.assertGreater(reactor.seconds() - started, CLOSE_SECONDS - 0.1)
        self.assertLess(reactor.seconds() - started, CLOSE_SECONDS + 1)

    async def test_reset_after_an_exception(self) -> None:
        """Then at once."""
        self.web.on_connect = lambda connection: connection.transport.pauseProducing()
        started = reactor.seconds()
        try:
            async with self.wire() as wire:
                protocol: Any = await wire.connect(Factory.forProtocol(Protocol))
                protocol.transport.write(b"x" * 20_000_000)
                raise KeyError
        except KeyError:
            pass
        self.assertLess(reactor.seconds() - started, CLOSE_SECONDS / 2)

    async def test_bound(self) -> None:
        """One byte too many, and the connection is cut."""
        for count, overrun in ((100, False), (101, True)):
            data = b"x" * count
            self.web.on_connect = partial(_write, data)
            async with self.wire(max_bytes=100) as wire:
                received = _Counting()
                await wire.connect(_Once(received))
                if not overrun:
                    await received.enough
                else:
                    await received.lost
                self.assertEqual(wire.overrun, overrun)

    async def test_never_connected(self) -> None:
        """Nothing to close."""
        async with self.wire():
            pass

    def test_network(self) -> None:
        """The network of an attempt is a value."""
        network = Network(EgressPolicy(), Resolvers.of(["10.0.0.1"]))
        self.assertEqual(network, Network(EgressPolicy(), Resolvers.of(["10.0.0.1:53"])))


def _write(data: bytes, connection: Connection) -> None:
    connection.transport.write(data)


class _Once(Factory):
    """A factory of one protocol that is there already."""

    def __init__(self, made: Protocol) -> None:
        self._made = made

    def buildProtocol(self, addr: object) -> Protocol:
        return self._made


class _Counting(Protocol):
    def __init__(self) -> None:
        self.count = 0
        self.enough: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.count += len(data)
        if self.count == 100:
            self.enough.callback(None)

    def connectionLost(self, reason: object = None) -> None:
        self.lost.callback(None)
