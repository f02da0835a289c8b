"""How many octets of the database a certificate takes, and each table's part: ``python -m benchmarks.size``.

A real server on each engine gives certificates for one name each, in trust mode, to one account.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from tests.integration.acme import Session
from tests.integration.postgres import shared
from tests.integration.server import RunningServer

WARM = 50  # certificates before the first look
DATABASE = "size"
_TABLES = (
    "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
    " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
)
_PAGES = (
    "SELECT coalesce(m.tbl_name, s.name), sum(s.pgsize - s.unused) FROM dbstat s"
    " LEFT JOIN sqlite_master m ON m.name = s.name GROUP BY 1"
)


def on_postgres() -> dict[str, float]:
    """Each table's octets, with its indexes."""
    shared().sql("CHECKPOINT", DATABASE)
    return {name: float(size) for name, size in shared().sql(_TABLES, DATABASE)}


def in_file(path: Path) -> dict[str, float]:
    """Each table's octets, with its indexes; the whole file if this SQLite cannot tell."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            return {name: float(size) for name, size in connection.execute(_PAGES)}
        except sqlite3.OperationalError:
            return {"all": float(path.stat().st_size)}


def measure(server: RunningServer, count: int, look: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    """Octets that a certificate adds to each table."""
    session = Session(server)
    session.register()
    for number in range(WARM):
        session.certificate(f"warm-{number:06}.corp.example")
    before = look()
    for number in range(count):
        session.certificate(f"host-{number:06}.corp.example")
    session.close()
    server.stop()  # what is in no batch of the audit trail comes into one
    after = look()
    return {name: (size - before.get(name, 0)) / count for name, size in after.items()}


def main() -> None:
    """Measure both engines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificates", type=int, default=2000)
    count = parser.parse_args().certificates
    with tempfile.TemporaryDirectory() as directory:
        for engine in ("sqlite", "postgresql"):
            url = {"CERTCTL_DATABASE_URL": shared().database(DATABASE)} if engine == "postgresql" else {}
            server = RunningServer(Path(directory) / engine, url)
            server.start()
            path = server.state / "certctl.sqlite"
            found = measure(server, count, partial(in_file, path) if engine == "sqlite" else on_postgres)
            print(f"\n{engine}: {sum(found.values()):.0f} octets for a certificate")
            for name, size in sorted(found.items(), key=lambda each: -each[1]):
                if size:
                    print(f"{size:8.0f}  {name}")


if __name__ == "__main__":
    main()
