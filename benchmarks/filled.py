"""What a certificate costs in a database of years: ``python -m benchmarks.filled DIRECTORY``."""

from __future__ import annotations

import argparse
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from urllib.request import urlopen

import psycopg2

from benchmarks.compare import table, told
from benchmarks.load import add_work, load_of
from benchmarks.postgres import SETTINGS, Postgres, postgresql
from benchmarks.report import Figures, figures
from benchmarks.servers import Certctl, Running, started
from benchmarks.workers import Plan, run

DESCRIPTION = """\
Fill a PostgreSQL in DIRECTORY with certificates of the last 90 days, each with what certctl
keeps beside it, and with events of the audit trail; a directory that is filled already is taken
as it is. Then let a certctl on it and one on an empty database take turns.

Every fourth certificate is the first of its names, the others are renewals; one in a hundred is
revoked; ten belong to an account. The rows are made by SQL, indexes that nothing hangs on are made
after them, and they are no certificates that anybody asked for: their audit trail does not verify.
"""
OF_AN_ACCOUNT = 10  # certificates
ROWS = 50_000  # certificates in one statement
# While it fills: a database that a power cut spoils is filled again.
FILLING = {**SETTINGS, "fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_wal_size": "16GB"}
FILLING |= {"wal_level": "minimal", "max_wal_senders": "0"}
PIECE = Path(__file__).with_suffix(".sql").read_text()
BEFORE = """
-- Asking for each row that another refers to would take longer than all the rest.
SET session_replication_role = replica;
SET synchronous_commit = off;
SET maintenance_work_mem = '1GB';
INSERT INTO acme_accounts (id, profile_id, thumbprint, jwk, contact, status, terms_agreed, created_at, updated_at)
SELECT 'acme-acc-' || lpad(to_hex(i), 12, '0') || md5(i || 'u'), 'prof-default', md5(i::text), '{}',
    jsonb_build_array('mailto:host-' || i || '@team-' || mod(i, 500) || '.filled.internal'),
    CASE WHEN mod(i, 100) = 99 THEN 'deactivated' ELSE 'valid' END, TRUE, %(now)s, %(now)s
FROM generate_series(0, %(accounts)s - 1) i;
INSERT INTO acme_account_contacts
SELECT id, convert_to(reverse(contact ->> 0), 'UTF8') FROM acme_accounts WHERE contact ->> 0 LIKE '%%.filled.internal';
"""
# Indexes that are no constraint's. They are dropped, and made again behind the rows, which takes a fifth of the time.
INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM pg_index JOIN pg_stat_user_tables ON relid = indrelid
WHERE NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid) ORDER BY 1
"""
# Batches of the audit trail over all events that are in none, so that the server does not begin with making them.
AFTER = """
INSERT INTO audit_batches
SELECT b, now() - interval '1 hour', jsonb_build_array(jsonb_build_array(last - 499, last)), last,
    (SELECT string_agg(sha256((b || '-' || n)::bytea), '') FROM generate_series(1, 500) n),
    sha256((b - 1)::text::bytea), sha256(b::text::bytea)
FROM (SELECT coalesce(max(last_event_id), 0) AS done FROM audit_batches) batches,
    (SELECT max(id) AS newest FROM audit_events) events,
    generate_series(done + 500, newest + 499, 500) WITH ORDINALITY AS ends (last_of_500, number),
    LATERAL (SELECT least(last_of_500, newest) AS last) l,
    LATERAL (SELECT number + (SELECT coalesce(max(id), 0) FROM audit_batches) AS b) numbered
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.filled",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_filling(parser)
    add = parser.add_argument
    add("--rounds", type=int, default=3, metavar="N", help="turns that each server gets; 0: fill alone (3)")
    add_work(parser)
    return parser


def add_filling(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which database is filled, and with how much."""
    add = parser.add_argument
    add("directory", type=Path, metavar="DIRECTORY", help="where the filled database is, or is made")
    add("--filling", type=int, default=1_000_000, metavar="N", help="certificates in it (1000000)")
    add("--events", type=int, default=5, metavar="N", help="events for each of them, 5 at most (5)")


@contextmanager
def filled(server: Certctl, directory: Path) -> Iterator[Running]:
    """Run a server with the state in a directory, which stays."""
    yield from server.running(directory)


def fill(url: str, certificates: int, events: int, tell: Callable[[str], object] = print) -> None:
    """Put all rows into a database that has certctl's schema, and tell how long each part took."""
    accounts = max(1, certificates // OF_AN_ACCOUNT)
    values: dict[str, Any] = {"certificates": certificates, "accounts": accounts, "events": events}
    values["now"] = datetime.now(UTC)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        done = partial(_run, cursor, tell)
        cursor.execute(INDEXES)
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX {name}")
        done("accounts", BEFORE, values)
        for first in range(1, certificates + 1, ROWS):
            last = min(first + ROWS - 1, certificates)
            done(f"{last} certificates", PIECE, {**values, "first": first, "last": last})
        for name, sql in indexes:
            done(name, sql)
        for sql in (AFTER, "VACUUM (ANALYZE)", "CHECKPOINT"):
            done(sql.split()[0], sql)


def _run(
    cursor: Any, tell: Callable[[str], object], name: str, sql: str, values: Mapping[str, Any] | None = None
) -> None:
    began = time.monotonic()
    cursor.execute(sql, values)
    tell(f"{name} ({time.monotonic() - began:.1f} s)")


def make(certctl: Certctl, directory: Path, certificates: int, events: int) -> None:
    """Make a filled database in a directory that has none yet."""
    if (directory / "filled").exists():
        return
    directory.mkdir(exist_ok=True)
    with filled(certctl, directory) as server:
        _wait_until_ready(server)  # so that there is the schema, and what a first start makes
    began = time.monotonic()
    with postgresql(directory / "postgres", FILLING) as database:
        fill(database.url, certificates, events)
    print(f"filled in {time.monotonic() - began:.0f} s", file=sys.stderr)
    (directory / "filled").touch()


def _wait_until_ready(server: Running) -> None:
    """Return when the server has made all that it begins with."""
    context = ssl.create_default_context(cafile=str(server.ca))
    while True:
        try:
            urlopen(urljoin(server.directory, "/ready"), context=context).close()
            return
        except OSError:
            time.sleep(0.1)


def sizes(database: Postgres) -> Iterator[str]:
    """Yield how large the database is, and its tables with their indexes."""
    ((size, certificates, events),) = database.sql(
        "SELECT pg_database_size(current_database()), (SELECT count(*) FROM certificate_versions),"
        " (SELECT count(*) FROM audit_events)"
    )
    each = f"{size / certificates:.0f} octets for each certificate"
    yield f"{certificates} certificates, {events} events: {size / 1e6:.0f} MB, {each}"
    for name, rows, heap, indexes in database.sql(
        "SELECT relname, n_live_tup, pg_table_size(relid), pg_indexes_size(relid) FROM pg_stat_user_tables"
        " ORDER BY pg_total_relation_size(relid) DESC LIMIT 10"
    ):
        yield f"  {name:<28}{rows:>10} rows {heap / 1e6:>8.1f} MB, indexes {indexes / 1e6:>8.1f} MB"


def measure(server: Running, options: argparse.Namespace) -> Figures:
    """Put the load on a server."""
    plan = Plan(
        directory=server.directory,
        ca=server.ca,
        root=server.root,
        pids=server.pids,
        database_pids=server.database_pids,
        **load_of(options),
    )
    return figures(plan, run(plan))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(arguments)
    certctl = Certctl(postgres=True)
    directory: Path = options.directory
    make(certctl, directory, options.filling, options.events)
    with postgresql(directory / "postgres") as database:
        print("\n".join(sizes(database)), flush=True)
    runs: dict[str, list[Figures]] = {"filled": [], "empty": []}
    for number in range(1, options.rounds + 1):
        for name, server in (("filled", filled(certctl, directory)), ("empty", started(certctl))):
            with server as target:
                runs[name].append(measure(target, options))
            print(f"round {number}, {name}: {told(runs[name][-1])}", file=sys.stderr)
    if options.rounds:
        print("\n".join(table(runs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
