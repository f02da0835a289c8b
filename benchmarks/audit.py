"""What the audit trail's chain costs: putting events into batches, and verifying them. On SQLite, in a new file.

Run ``python -m benchmarks.audit 100000``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from certctl.acme.audit_chain import Entry, batch_of
from certctl.acme.audit_verification import verify
from certctl.authority.audit_chain import Chain
from certctl.authority.trail import Trail
from certctl.authority.witness import Witness
from certctl.storage import audit, audit_chain, offline
from certctl.storage.sqlite import SqliteDatabase

NAMES = ["www.corp.example", "mail.corp.example"]


def main(count: int) -> None:
    """Measure with so many events."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "certctl.sqlite"
        database, clock = SqliteDatabase(path), Clock()
        clock.advance(time.time())
        _record(database, count)
        second = timedelta(seconds=1)
        witness = Witness.open(Path(directory))
        chain = Chain(database, Trail(database, clock), witness, interval=second, signing=second)
        _timed("put into batches", count, lambda: _result(chain.extend()))
        _result(database.close())
        _timed("verified", count, lambda: _verify(path))


def _record(database: SqliteDatabase, count: int) -> None:
    now = datetime.now(UTC)
    for start in range(0, count, 1000):
        rows = [
            audit.insert(
                created_at=now,
                actor="acme:acme-acc-019a0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e",
                action="acme_order_created",
                resource_type="acme_order",
                resource_id=f"acme-ord-019a0b1c2d3e{number:032x}",
                details={"profile": "prof-default", "mode": "challenge", "identifiers": NAMES},
            )
            for number in range(start, min(start + 1000, count))
        ]
        _result(database.write(*rows))


def _verify(path: Path) -> None:
    with offline.snapshot(path) as database:
        batches = (batch_of(row) for row in database.stream(audit_chain.all_batches()))
        entries = map(Entry._make, database.stream(audit_chain.between(None, None)))
        report = verify(batches, entries, [], datetime.now(UTC))
    assert report.intact and not report.pending


def _timed(what: str, count: int, work: Callable[[], Any]) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    each = used / count * 1e6
    print(f"{count} events {what} in {seconds:.2f} s, {used:.2f} s of CPU ({each:.1f} us for each)")


def _result(work: Coroutine[Any, Any, Any]) -> Any:
    outcome: list[Any] = []
    _ = Deferred.fromCoroutine(work).addBoth(outcome.append)
    if hasattr(outcome[0], "raiseException"):
        outcome[0].raiseException()
    return outcome[0]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
