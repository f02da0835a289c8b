"""What counting costs a request: ``python -m benchmarks.metrics``. Prints microseconds, the best of several rounds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from time import process_time
from timeit import repeat
from typing import Any

from twisted.web.http_headers import Headers

from certctl.authority.trail import Action, Event
from certctl.background import Background
from certctl.storage.database import NOTHING, A, B, Query, Statement, T
from certctl.storage.measured import MeasuredDatabase
from certctl.web.metrics import Metrics

CALLS = 200  # in a round: short enough that some rounds are not interrupted, on a busy machine too
ROUNDS = 300
AGENT = b"CertbotACMEClient/2.11.0 (certbot; Debian GNU/Linux 12) Authenticator/standalone"
CREATED = Event(
    actor="acme:acme-acc-1",
    action=Action.ORDER_CREATED,
    resource_type="acme_order",
    resource_id="acme-ord-1",
    details={"profile": "prof-default", "mode": "trust_authenticated", "identifiers": ["a.example"]},
)


class Nothing:
    """A database that has nothing and takes no time."""

    nonce_keys = ()

    async def read(self, query: Query[T]) -> T:
        """Find nothing."""
        return query.build([])

    async def redeem(self, nonce: bytes, first: Query[A], second: Query[B]) -> tuple[A, B]:
        """Find nothing twice."""
        return first.build([]), second.build([])

    async def write(self, *statements: Statement) -> None:
        """Write nothing."""

    async def look_after_nonce_keys(self, now: float, floor: bytes) -> None:
        """Keep nothing."""

    async def lead(self) -> bool:
        """Be alone."""
        return True

    async def forget_nonces(self, floor: bytes) -> int:
        """Forget nothing."""
        return 0

    async def close(self) -> None:
        """Close nothing."""


class Counted:
    """What a newOrder brings: two calls of the database, an event, and the request."""

    def __init__(self) -> None:
        self.metrics = Metrics(Background(), lambda: 0.0, timedelta(minutes=1))
        self.headers = Headers({b"user-agent": [AGENT]})
        self.bare = Nothing()
        self.measured = MeasuredDatabase(self.bare, self.metrics.database)

    def calls(self, database: Any) -> None:
        """Call the database as a newOrder does."""
        for work in (database.redeem(b"", NOTHING, NOTHING), database.write()):
            try:
                work.send(None)
            except StopIteration:
                continue

    def request(self) -> None:
        """Count the request, whose client is looked up in its headers."""
        client = self.headers.getRawHeaders(b"user-agent", [b""])[0]
        self.metrics.request("new-order", "ok", "prof-default", client, 0.005)

    def event(self) -> None:
        """Count the event."""
        self.metrics.recorded(CREATED)

    def whole(self) -> float:
        """Microseconds that all of it takes."""
        calls = microseconds(lambda: self.calls(self.measured)) - microseconds(lambda: self.calls(self.bare))
        return calls + microseconds(self.event) + microseconds(self.request)


def microseconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    work()
    return min(repeat(work, timer=process_time, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def main() -> None:
    """Print the figures."""
    counted = Counted()
    print(f"the request alone         {microseconds(counted.request):6.2f} us")
    print(f"an event                  {microseconds(counted.event):6.2f} us")
    print(f"a newOrder, all together  {counted.whole():6.2f} us")
    print(
        f"a scrape                  {min(repeat(counted.metrics.answer, number=20, repeat=3)) / 20 * 1e3:6.2f} ms"
    )


if __name__ == "__main__":
    main()
