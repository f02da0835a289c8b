"""A backup as a file: a manifest with the digests of all that follows, the state directory, the database.

It is a compressed tar archive that ``tar`` can list and unpack. Whoever has it has the CA's keys.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from certctl import __version__
from certctl.cli.failures import Failure

FORMAT = 1
MANIFEST = "manifest.json"
STATE = "state"
DATABASE = "database.sqlite"
REPLACED = "before-restore-"  # what a restore puts aside
DIRECTORY_MODE, FILE_MODE = 0o700, 0o600
PUBLIC = 0o644
MOST = 64 * 1024 * 1024  # octets of a manifest
CHUNK = 1024 * 1024


@attrs.frozen
class Member:
    """A file of a backup."""

    name: str  # in the archive
    path: Path
    mode: int


def members(state: Path, database: Path | None) -> list[Member]:
    """What of a state directory goes into a backup.

    Not the database, which is copied on its own; not the spent nonces, which after a restore would let those be spent
    again that were spent since; no locks, and nothing that is half written.
    """
    nonces = database.with_name(database.stem + "-nonces") if database else state / "certctl-nonces"
    found = []
    for path in sorted(state.rglob("*")):
        relative = path.relative_to(state)
        if path.is_symlink() or not path.is_file() or nonces in path.parents:
            continue
        if relative.parts[0].startswith((".", REPLACED)) or path.suffix in (".lock", ".new"):
            continue
        if database is not None and path.name.startswith(database.name) and path.parent == database.parent:
            continue
        mode = stat.S_IMODE(path.stat().st_mode) & PUBLIC
        found.append(Member(f"{STATE}/{relative.as_posix()}", path, mode))
    return found


def write(to: Path, found: list[Member], about: dict[str, Any]) -> dict[str, Any]:
    """Write a backup of files that nobody changes to a new file that nobody else can read; return its manifest."""
    manifest = {
        "format": FORMAT,
        "certctl": __version__,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **about,
        "files": {
            each.name: {
                "sha256": digest(each.path),
                "size": each.path.stat().st_size,
                "mode": f"{each.mode:o}",
            }
            for each in found
        },
    }
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    with (
        os.fdopen(descriptor, "wb") as file,
        tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as archive,
    ):
        content = json.dumps(manifest, indent=2).encode()
        archive.addfile(_entry(MANIFEST, len(content), FILE_MODE), io.BytesIO(content))
        for each in found:
            with each.path.open("rb") as source:
                archive.addfile(_entry(each.name, manifest["files"][each.name]["size"], each.mode), source)
        archive.close()
        file.flush()
        os.fsync(file.fileno())
    return manifest


def unpack(source: Path, to: Path) -> dict[str, Any]:
    """Unpack a backup into an empty directory and check all of it; return its manifest. Raises Failure."""
    try:
        with tarfile.open(source, "r:gz") as archive:
            entries = iter(archive)
            manifest = _manifest(archive, next(entries, None), source)
            expected = dict(manifest["files"])
            for entry in entries:
                about = expected.pop(entry.name, None)
                if about is None or not entry.isreg():
                    raise Failure(
                        f"{source} has {entry.name!r}, which its manifest does not: it was changed."
                    )
                _unpack_one(archive, entry, to, about, source)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Failure(f"{source} cannot be read as a backup ({error}): take another one.") from None
    if expected:
        raise Failure(
            f"{source} lacks {', '.join(sorted(expected))}: it was cut off or changed; take another one."
        )
    return manifest


def _manifest(archive: tarfile.TarFile, entry: tarfile.TarInfo | None, source: Path) -> dict[str, Any]:
    if entry is None or entry.name != MANIFEST or not entry.isreg() or entry.size > MOST:
        raise Failure(f"{source} is no backup of certctl: it does not begin with a manifest.")
    content = archive.extractfile(entry)
    assert content is not None
    try:
        manifest = json.load(content)
        if manifest["format"] != FORMAT:
            raise Failure(
                f"{source} was made by a newer certctl ({manifest['certctl']}): restore with that one."
            )
        assert isinstance(manifest["files"], dict)
    except (ValueError, KeyError, TypeError, AssertionError):
        raise Failure(f"{source} has a manifest that cannot be understood: take another backup.") from None
    found: dict[str, Any] = manifest
    return found


def _unpack_one(
    archive: tarfile.TarFile, entry: tarfile.TarInfo, to: Path, about: dict[str, Any], source: Path
) -> None:
    parts = PurePosixPath(entry.name).parts
    if entry.name != DATABASE and (parts[0] != STATE or len(parts) < 2 or ".." in parts):
        raise Failure(f"{source} has {entry.name!r}, which leads out of the state directory: it was changed.")
    path = to.joinpath(*parts)
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    content = archive.extractfile(entry)
    assert content is not None
    mode = int(about["mode"], 8) & PUBLIC
    seen = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
        while chunk := content.read(CHUNK):
            seen.update(chunk)
            file.write(chunk)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    if seen.hexdigest() != about["sha256"]:
        raise Failure(
            f"{source}: {entry.name} is not what the manifest says: it was changed; take another backup."
        )


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(name: str, size: int, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, mode, int(datetime.now(UTC).timestamp())
    return entry


def contents(directory: Path) -> Iterator[Path]:
    """What lies in a state directory, without what an earlier restore put aside and lost+found."""
    if directory.is_dir():
        yield from (
            each
            for each in sorted(directory.iterdir())
            if not each.name.startswith((REPLACED, "lost+found", ".restore-"))
        )
