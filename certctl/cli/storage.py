"""``certctl storage``: the database as a whole."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from certctl.acme.audit_verification import Report
from certctl.cli import audit, migrate
from certctl.cli.failures import Exit, Failure
from certctl.cli.output import Output
from certctl.cli.session import Group, session, with_json
from certctl.settings import Settings
from certctl.storage import copying
from certctl.storage.copying import Copied, Refused
from certctl.storage.database import Unavailable
from certctl.storage.inspection import DatabaseHeld

EMBEDDED = "certctl.sqlite"  # in the state directory
SCHEMES = ("postgresql://", "postgres://")


@click.group(cls=Group)
def storage() -> None:
    r"""The database as a whole.

    \b
    Examples:
      systemctl stop certctl    # and set CERTCTL_DATABASE_URL=postgresql://...
      certctl storage copy
      systemctl start certctl
    """


@storage.command("copy")
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The SQLite file; else the one in the state directory.",
)
@click.option("--to", "target", metavar="URL", help="The PostgreSQL database; else CERTCTL_DATABASE_URL.")
@with_json
def copy(source: Path | None, target: str | None) -> None:
    """Copy everything from the SQLite file of a stopped server to an empty PostgreSQL database.

    All of it is read back and compared before any of it counts. Where the command is interrupted, or finds a
    difference, the PostgreSQL database stays empty, and it can be run again. The SQLite file is not changed.
    """
    current = session()
    source, target = _places(current.settings, source, target)
    _make_ready(source, target)
    known = audit.known_keys(current.settings, ())
    try:
        with copying.copied(source, target, _progress(current.output)) as (done, there):
            report, _ = audit.examine(current, there, known)
    except Refused as error:
        raise Failure(f"Nothing was copied: {error}.", Exit.CONFLICT) from None
    except DatabaseHeld:
        raise Failure("The server runs: stop it first (systemctl stop certctl).", Exit.CONFLICT) from None
    except Unavailable as error:
        raise Failure(f"Nothing was copied: {error}.") from None
    _tell(current.output, done, report)


def _places(settings: Settings, source: Path | None, target: str | None) -> tuple[Path, str]:
    """From where to where; raise Failure if one of them is not said."""
    if target is None:
        if not settings.on_postgres:
            raise Failure(
                "Where to? Set CERTCTL_DATABASE_URL to the PostgreSQL database, or give --to.", Exit.USAGE
            )
        target = settings.database_url or ""
    elif not target.startswith(SCHEMES):
        raise Failure("--to is a URL that begins with postgresql://.", Exit.USAGE)
    if source is None:
        source = settings.state_dir / EMBEDDED if settings.on_postgres else settings.sqlite_path
    if not source.exists():
        raise Failure(f"There is no SQLite database at {source}: give --from.", Exit.ABSENT)
    return source, target


def _make_ready(source: Path, target: str) -> None:
    """Give the target its schema; raise Failure if it is somebody else's, or if the source is of another version."""
    if (found := migrate.judged(source)).pending:
        raise Failure(
            f"The SQLite database has schema version {found.version}, and this certctl {found.pending[-1].version}: run"
            f" CERTCTL_DATABASE_URL=sqlite:///{source.absolute()} certctl migrate first.",
            Exit.CONFLICT,
        )
    try:
        if others := copying.strangers(target):
            raise Failure(
                f"The PostgreSQL database has tables that are not certctl's ({', '.join(others[:3])}): give an empty"
                " one.",
                Exit.CONFLICT,
            )
    except Unavailable as error:
        raise Failure(f"The PostgreSQL database cannot be read: {error}.", Exit.USAGE) from None
    migrate.run(target)


def _progress(output: Output) -> Callable[[str, int], None]:
    """Show how far it is: on a terminal on one line for each table, else not at all until its end."""
    before = [""]

    def tell(what: str, rows: int) -> None:
        if output.as_json or not sys.stderr.isatty():
            return
        start = "\r" if what == before[0] else "\n" if before[0] else ""
        click.echo(f"{start}{what}: {rows} rows", err=True, nl=False)
        before[0] = what

    return tell


def _tell(output: Output, done: list[Copied], report: Report) -> None:
    tables = [
        {"table": each.table.name, "rows": each.rows, "sha256": each.digest, "replaced": each.replaced}
        for each in done
    ]
    trail = {"intact": report.intact, "events": report.events, "batches": report.batches}
    if output.as_json:
        output.json({"tables": tables, "audit": trail})
        return
    output.rows(tables, (("table", "table"), ("rows", "rows"), ("sha256", "sha256")), "")
    rows = sum(each.rows for each in done)
    output.done(f"{rows} rows of {len(done)} tables were copied, read back, and are the same.")
    for each in done:
        if each.replaced:
            output.warn(
                f"{each.replaced} rows of {each.table.name} have characters that PostgreSQL does not keep (NUL,"
                " halves of surrogate pairs): U+FFFD stands in their place"
            )
    if report.intact:
        output.done(f"The audit trail is intact there: {report.events} events in {report.batches} batches.")
    else:
        output.warn("the audit trail does not verify: run certctl audit verify, and on the SQLite file too")
