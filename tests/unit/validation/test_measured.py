"""A validator seen through a meter is the validator."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.objects import ChallengeType
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.attempt import Attempt, Evidence
from certctl.validation.measured import MeasuredValidator
from tests.unit.validation.responders import attempt

SEEN = Evidence("192.0.2.1", None, '"seen"')


class Notes:
    """A meter that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def began(self, type: ChallengeType) -> None:
        """See Meter."""
        self.told.append(f"{type.value} began")

    def ended(self, type: ChallengeType, *, shown: bool, seconds: float) -> None:
        """See Meter."""
        assert seconds >= 0
        self.told.append(f"{type.value} {'shown' if shown else 'failed'}")


class Waits:
    """A validator that is told."""

    def __init__(self) -> None:
        self.answer: Deferred[Evidence] = Deferred()

    async def validate(self, attempt: Attempt) -> Evidence:
        """See Validator."""
        return await self.answer


class MeterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.meter, self.inner = Notes(), Waits()
        validator = MeasuredValidator(self.inner, self.meter)
        self.found = Deferred.fromCoroutine(validator.validate(attempt("a.example", ChallengeType.HTTP01)))

    def test_shown(self) -> None:
        """The meter hears of the beginning and of the end, and the evidence comes through."""
        self.assertEqual(self.meter.told, ["http-01 began"])
        self.inner.answer.callback(SEEN)
        self.assertIs(self.successResultOf(self.found), SEEN)
        self.assertEqual(self.meter.told, ["http-01 began", "http-01 shown"])

    def test_failed(self) -> None:
        """A problem comes through as well."""
        self.inner.answer.errback(Problem(ProblemType.DNS, "no such name"))
        self.failureResultOf(self.found, Problem)
        self.assertEqual(self.meter.told[-1], "http-01 failed")

    def test_cancelled(self) -> None:
        """What is given up is not under way any more."""
        self.found.cancel()
        self.failureResultOf(self.found, CancelledError)
        self.assertEqual(self.meter.told[-1], "http-01 failed")
