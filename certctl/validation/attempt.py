"""An attempt to validate a challenge, what it finds, and who can make it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from certctl.acme.challenges import types_for
from certctl.acme.identifiers import Identifier
from certctl.acme.objects import ChallengeType
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.addresses import Network

# Bytes of a stranger's answer that are shown to the client: more would leak more (RFC 8555 section 10.4).
MAX_SEEN = 64

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Attempt:
    """One try at one challenge."""

    identifier: Identifier  # the authorization's, without an asterisk
    wildcard: bool
    type: ChallengeType
    token: str
    key_authorization: str
    network: Network

    def check_type(self) -> None:
        """Raise Problem if this type proves nothing of the identifier: a wildcard by http-01, an address by
        dns-01.

        No such challenge is ever offered; were there one all the same, it would stop here.
        """
        covered = Identifier(self.identifier.type, "*." * self.wildcard + self.identifier.value)
        if self.type not in types_for(covered):
            raise Problem(
                ProblemType.UNAUTHORIZED, f"{self.type.value} does not prove control of {covered.value}"
            )


@attrs.frozen
class Evidence:
    """What was seen when control was shown; goes into the audit trail as JSON."""

    address: str | None
    url: str | None
    seen: str  # printable, MAX_SEEN characters and a few words at most


class Validator(Protocol):
    """Shows or disproves control of an identifier, and writes nothing."""

    async def validate(self, attempt: Attempt) -> Evidence:
        """Return what was seen if control was shown; raise Problem, worded for the client, if not.

        Ends within the validator's total time whatever the peer does, leaves no socket and no timer behind,
        and may be cancelled. Raises Transient where another try soon may see something else (RFC 8555
        section 8.2).
        """


class Transient(Problem):
    """A problem that another try soon may not meet: refused, timed out, SERVFAIL, a server's error."""


@attrs.frozen(kw_only=True)
class Limits:
    """How long a validation may take, in seconds."""

    connect: float = 3.0  # for each address dialled
    hop: float = 5.0  # from dialling to the end of the answer, for each hop
    query: float = 2.0  # for each query to each resolver
    total: float = 12.0  # for the whole validation, lookups and redirects included


def printable(data: bytes, limit: int = MAX_SEEN) -> str:
    """Return the first bytes in double quotes, everything but plain ASCII escaped."""
    shown = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in data[:limit]
    )
    return f'"{shown}"' + ("..." if len(data) > limit else "")


async def within(
    clock: IReactorTime, seconds: float, work: Coroutine[Deferred[Any], Any, T], late: Callable[[], Exception]
) -> T:
    """Await ``work``; cancel it after ``seconds`` and raise ``late()``, whatever the cancelled work raises
    then.

    Twisted's HTTP client tells of a cancelled request with a ResponseNeverReceived, so that the exception's
    type alone does not show that the time was up.
    """
    task = Deferred.fromCoroutine(work)
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = clock.callLater(seconds, expire)
    try:
        return await task
    except Exception:
        if expired:
            raise late() from None
        raise
    finally:
        if timer.active():
            timer.cancel()
