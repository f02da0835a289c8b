"""Turns: so many at once, account by account, and no stack of those that end at once."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from certctl.authority.turns import Turns


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock, 2)
        self.begun: list[str] = []

    def take(self, account: str) -> None:
        """Ask for a turn that is given back by the test."""

        async def taking() -> None:
            await self.turns.take(account)
            self.begun.append(account)

        _ = Deferred.fromCoroutine(taking())

    def test_so_many_at_once(self) -> None:
        """The third waits until one is given back."""
        for account in "abc":
            self.take(account)
        self.assertEqual((self.begun, self.turns.waiting), (["a", "b"], 1))
        self.turns.give_back()
        self.assertEqual((self.begun, self.turns.waiting), (["a", "b", "c"], 0))

    def test_given_back_with_nobody_waiting(self) -> None:
        """A turn that nobody waits for is there for the next, and no more than there were."""
        self.take("a")
        self.turns.give_back()
        for account in "bcd":
            self.take(account)
        self.assertEqual(self.begun, ["a", "b", "c"])

    def test_account_by_account(self) -> None:
        """One account's many let another's few pass, and lose nothing by it."""
        for account in "aaaaaaabcb":
            self.take(account)
        for _ in range(8):
            self.turns.give_back()
        self.assertEqual("".join(self.begun), "aaabcabaaa")

    def test_first_come_first_served(self) -> None:
        """Who comes while others wait goes behind them, though a turn may be free at the moment."""
        order: list[str] = []

        async def short(name: str) -> None:
            await self.turns.take(name)
            order.append(name)
            self.turns.give_back()

        self.take("a")
        self.take("b")
        for name in "cde":
            _ = Deferred.fromCoroutine(short(name))
        self.turns.give_back()
        _ = Deferred.fromCoroutine(short("f"))
        self.clock.pump([0] * 5)
        self.assertEqual(order, ["c", "d", "e", "f"])

    def test_thousands_that_end_at_once(self) -> None:
        """They neither overflow the stack nor hold the reactor up: a round of it for each."""
        ended = []

        async def short(number: int) -> None:
            await self.turns.take("a")
            try:
                raise ValueError(number)
            except ValueError:
                ended.append(number)
            finally:
                self.turns.give_back()

        self.take("a")
        self.take("a")
        for number in range(5000):
            _ = Deferred.fromCoroutine(short(number))
        self.turns.give_back()
        self.assertLess(len(ended), 10)
        self.clock.pump([0] * 5000)
        self.assertEqual(ended, list(range(5000)))
        self.take("b")
        self.assertEqual(self.begun, ["a", "a", "b"])
