"""``certctl audit``: whether the audit trail is what it was, its checkpoints, and the trail itself.

It reads the database on the server's host, and asks no server: whether a trail was rewritten is not to be learnt from
who may have rewritten it.
"""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import click

from certctl.acme.audit_chain import (
    Batch,
    Checkpoint,
    Damaged,
    Entry,
    batch_of,
    checkpoint_of,
    checkpoint_of_row,
)
from certctl.acme.audit_verification import Damage, Finding, Kind, Report, Witness, verify
from certctl.authority import witness
from certctl.cli.failures import Exit, Failure
from certctl.cli.session import Group, Session, session, session_of, with_json
from certctl.cli.values import moment
from certctl.issuance.issuer import IssuerError
from certctl.settings import Settings
from certctl.storage import audit_chain, offline
from certctl.storage.database import Row, Unavailable

SHOWN = 200  # findings; the others are counted
STEP = 1000  # events between two looks at the progress bar
FIELDS = ("id", "created_at", "actor", "action", "resource_type", "resource_id", "details")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_PUBLIC_KEY = re.compile(r"[0-9a-f]{64}\Z")


@click.group(cls=Group)
@click.option("--settings", type=FILE, help="The server's settings file, on its host.")
@click.pass_context
def audit(context: click.Context, settings: Path | None) -> None:
    r"""The audit trail, read from the database on the server's host.

    \b
    Examples:
      certctl audit verify
      certctl audit verify --checkpoints kept-elsewhere.jsonl
      certctl audit checkpoint --all >> kept-elsewhere.jsonl
      certctl audit export --format csv --since -30d > audit.csv
    """
    current = session_of(context)
    given = current.given
    current.given = attrs.evolve(
        given, settings=settings or given.settings, environ=given.environ or dict(os.environ)
    )


@audit.command("verify")
@click.option(
    "--checkpoints",
    "files",
    type=FILE,
    multiple=True,
    help="A file of checkpoints that was kept elsewhere, as lines of JSON. May be repeated.",
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    help="A public key, in hexadecimal, whose checkpoints count beside this server's. May be repeated.",
)
@with_json
def verify_trail(files: tuple[Path, ...], keys: tuple[str, ...]) -> None:
    """Say whether the trail is what it was; if not, what was changed, removed, reordered or inserted.

    Exit status: 0 intact, 1 tampered with, 2 wrong usage.
    """
    current = session()
    settings = current.settings
    known = known_keys(settings, keys)
    with _opened(settings) as database:
        report, signers = examine(current, database, known, files)
    _tell(current, report, signers, compared=bool(known))
    if not report.intact:
        click.get_current_context().exit(int(Exit.FAILED))


@audit.command("checkpoint")
@click.option("--new", "make", is_flag=True, help="Sign the chain's end now, with this server's key.")
@click.option("--all", "every", is_flag=True, help="Write all checkpoints, the oldest first.")
def checkpoint(make: bool, every: bool) -> None:
    """Write the last checkpoint, or all of them, as lines of JSON, to be kept where nobody can change them."""
    current = session()
    settings = current.settings
    with _opened(settings) as database:
        if make:
            _sign(settings, database)
    with _opened(settings) as database:
        stored, damaged = _stored_checkpoints(database)
    for each in damaged:
        current.output.warn(each.words)
    if not stored:
        raise Failure("There is no checkpoint yet: the server makes the first one soon after its start.")
    current.output.plain("".join(each.line() for each in (stored if every else stored[-1:])))


@audit.command("export")
@click.option(
    "--format", "as_format", type=click.Choice(["json", "csv"]), default="json", help="json: a line for each."
)
@click.option("--since", metavar="WHEN", help="From then on: 2027-01-31, 2027-01-31T12:00:00Z, -30d.")
@click.option("--until", metavar="WHEN", help="Before then.")
def export(as_format: str, since: str | None, until: str | None) -> None:
    """Write the events, the oldest first, as lines of JSON or as CSV."""
    query = audit_chain.between(
        *(datetime.fromisoformat(moment(at)) if at else None for at in (since, until))
    )
    with _opened(session().settings) as database:
        events = (_event(Entry._make(row)) for row in database.stream(query))
        if as_format == "json":
            for each in events:
                click.echo(_line(each))
            return
        writer = csv.DictWriter(sys.stdout, FIELDS, lineterminator="\n")
        writer.writeheader()
        for each in events:
            writer.writerow({**each, "details": _line(each["details"])})


def examine(
    current: Session, database: offline.Snapshot, known: frozenset[bytes], files: tuple[Path, ...] = ()
) -> tuple[Report, list[str]]:
    """Hold the trail of a database against its chain, and against all checkpoints at hand; return who signed these."""
    stored, damaged = _stored_checkpoints(database)
    witnesses = [Witness(each, "database") for each in stored]
    for path in (*_own_file(current.settings), *files):
        seen = {each.checkpoint for each in witnesses}
        kept = _kept_checkpoints(current, path, strict=path in files)
        witnesses += [Witness(each, str(path)) for each in kept if each not in seen]
    total = database.read(audit_chain.count())
    with _progress(_entries(database), total, quiet=current.output.as_json) as entries:
        report = verify(_batches(database), entries, witnesses, datetime.now(UTC), known)
    report.findings.extend(damaged)
    return report, sorted({each.checkpoint.public_key.hex() for each in witnesses})


def _event(entry: Entry) -> dict[str, Any]:
    return {"id": entry.id, **entry.document()}


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=False, separators=(",", ":"), default=repr)


@contextmanager
def _opened(settings: Settings) -> Iterator[offline.Snapshot]:
    try:
        with offline.snapshot(_where(settings)) as database:
            yield database
    except Unavailable as error:
        raise Failure(
            f"The database cannot be read ({error}): see CERTCTL_DATABASE_URL and CERTCTL_STATE_DIR, and whether a"
            " server of this version has been started on it.",
            Exit.USAGE,
        ) from None


def _where(settings: Settings) -> Path | str:
    on_postgres = settings.on_postgres and settings.database_url is not None
    return str(settings.database_url) if on_postgres else settings.sqlite_path


def known_keys(settings: Settings, named: tuple[str, ...]) -> frozenset[bytes]:
    """The public keys whose checkpoints count: this server's and those named. None: there is nothing to compare."""
    for each in named:
        if not _PUBLIC_KEY.match(each):
            raise click.BadParameter(
                f"{each!r} is no public key: 64 digits of hexadecimal are", param_hint="--key"
            )
    known = [bytes.fromhex(each) for each in named]
    path = settings.state_dir / witness.KEY
    if os.access(path, os.R_OK):
        known.append(_own_key(path).public_key().public_bytes_raw())
    return frozenset(known)


def _own_key(path: Path) -> Any:
    try:
        return witness.read_key(path)
    except IssuerError as error:
        raise Failure(f"The audit trail's key cannot be used: {error}.", Exit.USAGE) from None


def _own_file(settings: Settings) -> list[Path]:
    path = settings.state_dir / witness.CHECKPOINTS
    return [path] if os.access(path, os.R_OK) else []


def _stored_checkpoints(database: offline.Snapshot) -> tuple[list[Checkpoint], list[Finding]]:
    """The checkpoints of the database, and what there cannot be one."""
    stored, damaged = [], []
    for row in database.stream(audit_chain.all_checkpoints()):
        try:
            stored.append(checkpoint_of_row(row))
        except Damaged as error:
            damaged.append(
                Finding(Kind.CHECKPOINT, f"the checkpoint over batch {row[0]} is damaged: {error}")
            )
    return stored, damaged


def _kept_checkpoints(current: Session, path: Path, *, strict: bool) -> Iterator[Checkpoint]:
    """The checkpoints of a file; in the server's own a line may be torn, by a crash while it was written."""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield checkpoint_of(json.loads(line))
        except (ValueError, TypeError, Damaged):
            words = f"Line {number} of {path} is no checkpoint"
            if strict:
                raise Failure(
                    f"{words}: give a file that certctl audit checkpoint wrote.", Exit.USAGE
                ) from None
            current.output.warn(words)


def _batches(database: offline.Snapshot) -> Iterator[Batch | Damage]:
    for row in database.stream(audit_chain.all_batches()):
        try:
            yield batch_of(row)
        except Damaged as error:
            yield Damage(row[0], str(error))


def _entries(database: offline.Snapshot) -> Iterator[Entry]:
    rows: Iterator[Row] = database.stream(audit_chain.between(None, None))
    return map(Entry._make, rows)


@contextmanager
def _progress(entries: Iterator[Entry], total: int, *, quiet: bool) -> Iterator[Iterator[Entry]]:
    """Show people how far it is."""
    if quiet or not sys.stderr.isatty():
        yield entries
        return
    with click.progressbar(
        entries, length=total, label="events", file=sys.stderr, update_min_steps=STEP
    ) as bar:
        yield iter(bar)


def _sign(settings: Settings, database: offline.Snapshot) -> None:
    """Make a checkpoint over the chain's end, unless the chain is not what was signed before."""
    signer = witness.Witness(
        _own_key(settings.state_dir / witness.KEY), settings.state_dir / witness.CHECKPOINTS
    )
    try:
        tail, before = database.read(audit_chain.last_batch()), signer.last()
    except Damaged as error:
        raise Failure(f"The end of the chain is damaged ({error}): run certctl audit verify.") from None
    if tail is None:
        raise Failure("There is nothing to sign yet: the server makes the first batch soon after its start.")
    if before is not None and database.read(audit_chain.hash_of(before.batch_id)) != before.hash:
        raise Failure(
            "The trail is not the one that this server signed before, and is not signed: run certctl audit verify."
        )
    made = signer.sign(tail, datetime.now(UTC))
    offline.write(_where(settings), audit_chain.keep(made))
    signer.remember(made)


def _tell(current: Session, report: Report, signers: list[str], *, compared: bool) -> None:
    """Say what was found."""
    shown = report.findings[:SHOWN]
    if current.output.as_json:
        findings = [{"kind": each.kind.value, "words": each.words, "events": each.events} for each in shown]
        counts = attrs.asdict(report, filter=lambda field, _: field.name != "findings")
        current.output.json(
            {
                "intact": report.intact,
                **counts,
                "signers": signers,
                "found": len(report.findings),
                "findings": findings,
            }
        )
        return
    held = (
        f"Events as they were: {report.events}; batches: {report.batches}; waiting for a batch: {report.pending};"
        f" checkpoints that hold: {report.checkpoints}."
    )
    if report.intact:
        current.output.done(f"The audit trail is intact. {held}")
    else:
        current.output.done(f"The audit trail was tampered with. {held}")
        current.output.plain("".join(f"  {each.words}\n" for each in shown))
        more = len(report.findings) - len(shown)
        if more or report.unmentioned:
            current.output.plain(f"  and {more} more findings, and {report.unmentioned} more events\n")
    if not signers:
        current.output.warn(
            "no checkpoint vouches for this chain: who can write to the database can have made it"
        )
    elif not compared:
        current.output.warn(
            f"there is no key to compare with: compare these with what you know: {', '.join(signers)}"
        )
