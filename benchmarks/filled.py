"""What a certificate costs in a database of years: ``python -m benchmarks.filled DIRECTORY``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2

from benchmarks.compare import table, told
from benchmarks.load import add_work, load_of
from benchmarks.postgres import Postgres, postgresql
from benchmarks.report import Figures, figures
from benchmarks.servers import Certctl, Running, started
from benchmarks.workers import Plan, run

DESCRIPTION = """\
Fill a PostgreSQL in DIRECTORY with certificates of the last 90 days, each with what certctl
keeps beside it, and with events of the audit trail; a directory that is filled already is taken
as it is. Then let a certctl on it and one on an empty database take turns.

Every fourth certificate is the first of its names, the others are renewals; one in a hundred is
revoked. The rows are made by SQL, with all indexes in place, and are no certificates that
anybody asked for: their audit trail does not verify.
"""
ACCOUNTS = 1000
ROWS = 50_000  # certificates in one statement
PIECE = Path(__file__).with_suffix(".sql").read_text()
BEFORE = """
-- Asking for each row that another refers to would take longer than all the rest.
SET session_replication_role = replica;
SET synchronous_commit = off;
INSERT INTO acme_accounts (id, profile_id, thumbprint, jwk, contact, status, terms_agreed, created_at, updated_at)
SELECT 'acme-acc-' || lpad(to_hex(i), 44, '0'), 'prof-default', md5(i::text), '{}', '[]', 'valid', TRUE, now(), now()
FROM generate_series(0, %(accounts)s - 1) i;
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
    add = parser.add_argument
    add("directory", type=Path, metavar="DIRECTORY", help="where the filled database is, or is made")
    add("--filling", type=int, default=1_000_000, metavar="N", help="certificates in it (1000000)")
    add("--events", type=int, default=5, metavar="N", help="events for each of them, 5 at most (5)")
    add("--rounds", type=int, default=3, metavar="N", help="turns that each server gets; 0: fill alone (3)")
    add_work(parser)
    return parser


@contextmanager
def filled(server: Certctl, directory: Path) -> Iterator[Running]:
    """Run a server with the state in a directory, which stays."""
    yield from server.running(directory)


def fill(database: Postgres, certificates: int, events: int) -> None:
    """Put all rows into a database that has certctl's schema."""
    values = {"certificates": certificates, "accounts": ACCOUNTS, "events": events}
    with closing(psycopg2.connect(database.url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(BEFORE, values)
        for first in range(1, certificates + 1, ROWS):
            began = time.monotonic()
            last = min(first + ROWS - 1, certificates)
            cursor.execute(PIECE, {**values, "first": first, "last": last})
            print(f"{last} certificates ({time.monotonic() - began:.1f} s)", file=sys.stderr)
        for each in (AFTER, "VACUUM (ANALYZE)", "CHECKPOINT"):
            cursor.execute(each)


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
    if not (directory / "filled").exists():
        directory.mkdir(exist_ok=True)
        with filled(certctl, directory):
            pass  # which makes the schema and what a first start makes
        with postgresql(directory / "postgres") as database:
            fill(database, options.filling, options.events)
        (directory / "filled").touch()
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
