"""``certctl backup`` and ``certctl restore``: all that a server keeps, as one file."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import click

from certctl.cli import archive
from certctl.cli.archive import DATABASE, STATE, Member
from certctl.cli.failures import Exit, Failure
from certctl.cli.session import session, with_json
from certctl.settings import Settings
from certctl.start import RESTORED
from certctl.storage import inspection, offline
from certctl.storage.database import Unavailable

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=FILE, required=False)
@with_json
def backup(file: Path | None) -> None:
    """Write the state directory and a copy of the database to one new file, while the server runs.

    Without FILE its name has the time. Whoever has the file has the CA's keys: keep it where nobody else can read it.
    """
    current = session()
    settings = current.settings
    file = file or Path(f"certctl-backup-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz")
    state = _readable(settings.state_dir)
    if file.exists():
        raise Failure(f"{file} is there already: give the name of a new file.", Exit.CONFLICT)
    with tempfile.TemporaryDirectory(prefix="certctl-", dir=_roomy(file)) as scratch:
        database = None if settings.on_postgres else settings.sqlite_path
        found = [_settled(each, Path(scratch)) for each in archive.members(state, database)]
        if database is not None:
            found.append(Member(DATABASE, _copied(database, Path(scratch) / DATABASE), archive.FILE_MODE))
        try:
            manifest = archive.write(
                file, found, {"database": "postgresql" if settings.on_postgres else "sqlite"}
            )
        except BaseException as error:
            file.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise Failure(f"{file} cannot be written: {error.strerror}.") from None
            raise
    notes = [*_notes(settings, file)]
    if current.output.as_json:
        current.output.json({"file": str(file), "manifest": manifest, "notes": notes})
        return
    size = file.stat().st_size
    current.output.done(
        f"{file}: {len(manifest['files'])} files, {size} octets, digests in {archive.MANIFEST}."
    )
    for note in notes:
        current.output.warn(note)


def _readable(state: Path) -> Path:
    if not os.access(state, os.R_OK | os.X_OK):
        raise Failure(
            f"The state directory {state} cannot be read: run this as root on the server's host.", Exit.USAGE
        )
    return state


def _roomy(file: Path) -> Path:
    """Where the copy of the database is made: beside the backup, as /tmp may be small or lie in memory."""
    if not os.access(file.absolute().parent, os.W_OK):
        raise Failure(f"{file.absolute().parent} cannot be written: give a FILE elsewhere.")
    return file.absolute().parent


def _settled(member: Member, scratch: Path) -> Member:
    """A copy of a file, which nobody changes while it is digested and written."""
    to = scratch / member.name
    to.parent.mkdir(mode=archive.DIRECTORY_MODE, parents=True, exist_ok=True)
    try:
        shutil.copyfile(member.path, to)
    except OSError as error:
        raise Failure(
            f"{member.path} cannot be read: {error.strerror}; run this as root.", Exit.USAGE
        ) from None
    return Member(member.name, to, member.mode)


def _copied(database: Path, to: Path) -> Path:
    """A copy of the database that was checked."""
    try:
        inspection.copy(database, to)
        with offline.snapshot(to) as copy:
            wrong = copy.read(inspection.integrity())
    except Unavailable as error:
        raise Failure(f"The database cannot be copied ({error}): see CERTCTL_DATABASE_URL.") from None
    if wrong:
        raise Failure(f"The database is damaged ({wrong[0]}): restore an earlier backup.")
    return to


def _notes(settings: Settings, file: Path) -> list[str]:
    """What is not in the backup, and how to keep it."""
    notes = []
    if settings.on_postgres:
        dump = shlex.join(
            ["pg_dump", "--format=custom", f"--file={file}.pgdump", _without_password(settings)]
        )
        notes.append(f"the database is PostgreSQL and not in this file; run this too: {dump}")
    given = (
        settings.ca_cert_path,
        settings.ca_key_path,
        settings.server_tls_cert_path,
        settings.server_tls_key_path,
    )
    inside = settings.state_dir.resolve()
    elsewhere = [str(each) for each in given if each is not None and inside not in each.resolve().parents]
    if elsewhere:
        notes.append(f"not in this file, as they lie elsewhere: {', '.join(elsewhere)}")
    notes.append("not in this file: the settings")
    return notes


def _without_password(settings: Settings) -> str:
    split = urlsplit(settings.database_url or "")
    user, _, host = split.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}@{host}" if user else host
    return urlunsplit(split._replace(netloc=netloc))


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Put aside what is there already.")
@click.option("--check", is_flag=True, help="Check the backup, and restore nothing.")
@with_json
def restore(file: Path, force: bool, check: bool) -> None:
    """Put back what a backup has: into the state directory, and the database file, of a server that is stopped."""
    current = session()
    settings = current.settings
    if not check:
        _must_be_free(settings, force)
    state = settings.state_dir
    place = Path(tempfile.mkdtemp(prefix=".restore-", dir=None if check else _made(state)))
    try:
        manifest = archive.unpack(file, place)
        _check_database(place / DATABASE, manifest, settings, file)
        if not check:
            _put(place, settings)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if current.output.as_json:
        current.output.json({"file": str(file), "restored": not check, "manifest": manifest})
        return
    words = "is whole" if check else f"is restored to {state}"
    current.output.done(f"{file}, made {manifest['made_at']} by certctl {manifest['certctl']}, {words}.")
    if manifest["database"] == "postgresql":
        url = _without_password(settings) or "URL"
        current.output.warn(
            f"the database is PostgreSQL and not in this file; run this too: pg_restore --clean --if-exists"
            f" --no-owner --dbname={shlex.quote(url)} {shlex.quote(str(file))}.pgdump"
        )
    elif not check:
        current.output.done("Start the server, and run: certctl doctor", {})


def _must_be_free(settings: Settings, force: bool) -> None:
    """Raise Failure where a server runs, or where there is something already that nobody said to put aside."""
    database = None if settings.on_postgres else settings.sqlite_path
    if (database is not None and inspection.in_use(database)) or _answers(settings):
        raise Failure("The server runs: stop it first (systemctl stop certctl).", Exit.CONFLICT)
    there = [*archive.contents(settings.state_dir)]
    if database is not None and database.exists() and database not in there:
        there.append(database)
    if there and not force:
        raise Failure(
            f"There is something in {settings.state_dir} already ({there[0].name}): with --force it is put aside.",
            Exit.CONFLICT,
        )


def _answers(settings: Settings) -> bool:
    """Whether something listens where the server would."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.server_host, settings.server_host)
    try:
        with socket.create_connection((host, settings.server_port), timeout=2):
            return True
    except OSError:
        return False


def _made(state: Path) -> Path:
    try:
        state.mkdir(mode=archive.DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"{state} cannot be made: {error.strerror}; run this as root.") from None
    if not os.access(state, os.W_OK):
        raise Failure(f"{state} cannot be written: run this as root.", Exit.USAGE)
    return state


def _check_database(database: Path, manifest: dict[str, Any], settings: Settings, file: Path) -> None:
    """Raise Failure for a backup whose database is damaged, or is for another engine than the settings name."""
    engine = "postgresql" if settings.on_postgres else "sqlite"
    if manifest["database"] != engine:
        raise Failure(
            f"{file} is of a server on {manifest['database']}, and CERTCTL_DATABASE_URL names {engine}: set it as it"
            " was.",
            Exit.USAGE,
        )
    if engine == "sqlite":
        try:
            with offline.snapshot(database) as copy:
                wrong = copy.read(inspection.integrity())
        except Unavailable as error:
            wrong = [str(error)]
        if wrong:
            raise Failure(f"The database in {file} is damaged ({wrong[0]}): take another backup.")


def _put(place: Path, settings: Settings) -> None:
    """Put what was unpacked where it belongs, and what was there aside."""
    state = settings.state_dir
    aside = state / f"{archive.REPLACED}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    old = [*archive.contents(state)]
    database = None if settings.on_postgres else settings.sqlite_path
    if database is not None:
        beside = {database.with_name(database.name + suffix) for suffix in ("", "-wal", "-shm")}
        beside.add(database.with_name(database.stem + "-nonces"))
        old += [each for each in sorted(beside) if each.exists() and each not in old]
    if old:
        aside.mkdir(mode=archive.DIRECTORY_MODE)
    for each in old:
        shutil.move(each, aside / each.name)
    for each in sorted((place / STATE).iterdir()) if (place / STATE).is_dir() else ():
        shutil.move(each, state / each.name)
    if database is not None:
        database.parent.mkdir(mode=archive.DIRECTORY_MODE, parents=True, exist_ok=True)
        shutil.move(place / DATABASE, database)
    (state / RESTORED).touch(archive.FILE_MODE)
    _hand_over(state, database)


def _hand_over(state: Path, database: Path | None) -> None:
    """Give everything to the owner of the directory: the server may run as another user than root."""
    if os.geteuid():
        return
    owner = state.stat()
    for path in (*state.rglob("*"), *((database,) if database else ())):
        if not path.is_symlink():
            os.chown(path, owner.st_uid, owner.st_gid)
