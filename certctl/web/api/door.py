"""The door to the operations of the API: who may do what, how often, and what is said to whom may not.

Requests over HTTP come through it, and so do the pages of the console.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from certctl.authority.administration import Administration
from certctl.authority.operators import Caller, Kind, Refused
from certctl.web.api import intake
from certctl.web.api.call import ApiError, Call, Nothing, Reply
from certctl.web.api.operation import Operation
from certctl.web.api.table import OPERATIONS
from certctl.web.api.throttle import Throttle

FAILURES_PER_MINUTE = 30  # wrong keys that one address may send
NAMED: Mapping[str, Operation] = {each.name: each for each in OPERATIONS}
_STATUS = {
    Kind.INVALID: (400, "invalid_request"),
    Kind.ABSENT: (404, "not_found"),
    Kind.CONFLICT: (409, "conflict"),
    Kind.CHANGED: (412, "precondition_failed"),
}


class Door:
    """Lets callers in to operations."""

    def __init__(self, administration: Administration, per_minute: int) -> None:
        self.administration = administration
        self._asked = Throttle(per_minute)
        self._failed = Throttle(FAILURES_PER_MINUTE)
        self._per_minute = per_minute

    def must_not_guess(self, peer: str) -> None:
        """Raise ApiError if too many wrong keys came from an address."""
        _must_not_wait(
            self._failed.wait(peer, self.administration.now()), "wrong keys came from this address"
        )

    def guessed(self, peer: str) -> None:
        """Count a wrong key."""
        self._failed.spend(peer, self.administration.now())

    def admit(self, caller: Caller) -> None:
        """Count a request; raise ApiError if the caller asks too often."""
        now = self.administration.now()
        words = f"requests a minute: {self._per_minute} are allowed"
        _must_not_wait(self._asked.wait(caller.name, now), words)
        self._asked.spend(caller.name, now)

    @staticmethod
    def must_include(operation: Operation, caller: Caller) -> None:
        """Raise ApiError if an operation is not for the caller's role."""
        if not caller.role.includes(operation.role):
            raise ApiError(
                403,
                "forbidden",
                f"{operation.name} asks for the role {operation.role}, and {caller.name} is {caller.role}",
            )

    @staticmethod
    async def carry_out(operation: Operation, call: Call[Any, Any]) -> Reply:
        """Do what is asked; raise ApiError if that is refused."""
        try:
            return await operation.handler(call)
        except Refused as error:
            raise ApiError(*_STATUS[error.kind], str(error)) from None

    async def ask(
        self,
        name: str,
        caller: Caller,
        origin: str,
        *,
        id: str | None = None,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        if_match: str | None = None,
    ) -> Reply:
        """Ask for an operation from within the server, as a request by HTTP would; raise ApiError as its answer."""
        operation = NAMED[name]
        self.must_include(operation, caller)
        taken = Nothing() if operation.body is Nothing else intake.document(_json(body), operation)
        call = Call(
            administration=self.administration,
            caller=caller,
            arguments={} if id is None else {"id": id},
            query=intake.members(query or {}, operation),
            body=taken,
            origin=origin,
            if_match=if_match,
        )
        return await self.carry_out(operation, call)


def _json(body: Any) -> bytes:
    try:
        return msgspec.json.encode({} if body is None else body)
    except UnicodeEncodeError:
        raise ApiError(400, "invalid_request", "the text is no Unicode") from None


def _must_not_wait(wait: timedelta, words: str) -> None:
    if wait > timedelta(0):
        seconds = str(int(wait.total_seconds()) + 1)
        raise ApiError(429, "rate_limited", f"too many {words}", {"Retry-After": seconds})
