"""A validator whose attempts are timed."""

from __future__ import annotations

from time import perf_counter
from typing import Protocol

from certctl.acme.objects import ChallengeType
from certctl.validation.attempt import Attempt, Evidence, Validator


class Meter(Protocol):
    """Who wants to know of attempts at a validation."""

    def began(self, type: ChallengeType) -> None:
        """An attempt has begun."""

    def ended(self, type: ChallengeType, *, shown: bool, seconds: float) -> None:
        """It has ended; whether control was shown by it."""


class MeasuredValidator(Validator):
    """Another Validator, seen through a meter."""

    def __init__(self, validator: Validator, meter: Meter) -> None:
        self._validator = validator
        self._meter = meter

    async def validate(self, attempt: Attempt) -> Evidence:
        """See Validator."""
        began, shown = perf_counter(), False
        self._meter.began(attempt.type)
        try:
            evidence = await self._validator.validate(attempt)
            shown = True
            return evidence
        finally:
            self._meter.ended(attempt.type, shown=shown, seconds=perf_counter() - began)
