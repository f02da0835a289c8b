"""``certctl migrate``: the database's schema, brought up to this version before its servers are."""

from __future__ import annotations

from pathlib import Path

import click

from certctl.cli.failures import Exit, Failure
from certctl.cli.session import session, with_json
from certctl.settings import Settings
from certctl.storage import schema
from certctl.storage.database import Unavailable
from certctl.storage.inspection import DatabaseHeld
from certctl.storage.migrations import Migration, SchemaTooNew
from certctl.storage.schema import Lack


@click.command()
@click.option("--dry-run", is_flag=True, help="Show the SQL that would run, and change nothing.")
@with_json
def migrate(dry_run: bool) -> None:
    """Bring the database's schema up to this version of certctl.

    A server does the same when it starts. On PostgreSQL this is for a role that may change the schema where that of
    the server may not, and for whoever wants it done before the first server of a new version starts.
    """
    current = session()
    where = place(current.settings)
    found = judged(where)
    if not dry_run and found.pending:
        run(where)
    if current.output.as_json:
        current.output.json(_document(found, dry_run))
        return
    if not found.pending:
        more = ", which is newer than this certctl, who can live with it" if found.is_newer else ""
        current.output.done(f"Nothing to do: the schema has version {found.version}{more}.")
    elif dry_run:
        current.output.plain("\n".join(f"{_heading(each)}\n{found.script(each)}" for each in found.pending))
    else:
        for each in found.pending:
            current.output.done(_heading(each).removeprefix("-- "))
        current.output.done(
            f"The schema had version {found.version} and has {found.pending[-1].version} now."
        )


def place(settings: Settings) -> Path | str:
    """Where the settings say that the database is."""
    if settings.on_postgres and settings.database_url is not None:
        return settings.database_url
    return settings.sqlite_path


def judged(where: Path | str) -> Lack:
    """What the database there lacks; raise Failure if it cannot be told, or if the schema is too new."""
    if isinstance(where, Path) and not where.exists():
        raise Failure(f"There is no database at {where} yet: the server's first start makes it.", Exit.ABSENT)
    try:
        return schema.lack(where)
    except SchemaTooNew as error:
        words = str(error)
        raise Failure(f"{words[0].upper()}{words[1:]}.", Exit.CONFLICT) from None
    except Unavailable as error:
        raise Failure(
            f"The database cannot be read ({error}): see CERTCTL_DATABASE_URL.", Exit.USAGE
        ) from None


def run(where: Path | str) -> None:
    """Make the schema this version's; raise Failure if that cannot be."""
    try:
        if isinstance(where, Path):
            schema.make_up(where)
        else:
            session().run(lambda reactor: schema.make_up_together(where, reactor))
    except DatabaseHeld:
        raise Failure("The server runs: stop it first (systemctl stop certctl).", Exit.CONFLICT) from None
    except Unavailable as error:
        raise Failure(f"The schema cannot be changed, and is as it was: {error}.") from None


def _heading(migration: Migration) -> str:
    who = f"code that knows {migration.oldest_code} or newer can live with it"
    return f"-- {migration.version:04} {migration.name}: {who}"


def _document(found: Lack, dry_run: bool) -> dict[str, object]:
    listed = [
        {
            "version": each.version,
            "name": each.name,
            "oldest_code": each.oldest_code,
            "sql": found.script(each),
        }
        for each in found.pending
    ]
    return {"version": found.version, "dry_run": dry_run, "migrations": listed}
