"""What ``certctl doctor`` looks at in the state directory: whose its files are, who may read them, and room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from certctl.cli.findings import Finding, fail, ok, warn
from certctl.issuance import files
from certctl.sealing import FILE as SECRET_KEY
from certctl.settings import Settings
from certctl.start import API_KEY

ROOM = 200 * 1024 * 1024  # octets
_SECRETS = (API_KEY, SECRET_KEY, "server.pem", "root-ca-key.pem", "issuing-ca-key.pem", "audit-key.pem")
_OF_THE_SERVER = (  # patterns of what it reads and writes as its own user
    *_SECRETS,
    "*.pem",
    "*.lock",
    "certctl.sqlite*",
    "audit-checkpoints.jsonl",
    "certctl-nonces",
    "certctl-nonces/*",
    "issuers",
    "issuers/*",
    "issuers/*/*",
)


def never_started(settings: Settings) -> bool:
    """Whether the state directory is empty, or not there: there is nothing of a server to look at."""
    state = settings.state_dir
    return not state.is_dir() or next(state.iterdir(), None) is None


def look_at_state(settings: Settings) -> Iterator[Finding]:
    """Modes, owners, and the room that is left."""
    state, check = settings.state_dir, "state directory"
    about = state.stat()
    if about.st_mode & 0o077:
        level = fail if about.st_mode & files.OTHERS else warn
        yield level(
            check, f"{state} is open to others (mode {about.st_mode & 0o777:o})", f"chmod 700 {state}"
        )
    bad = False
    for path in (state / each for each in _SECRETS):
        if not path.exists():
            continue
        if not files.secret(path):
            bad = True
            yield fail(check, f"{path} is open to other users of the machine", f"chmod 600 {path}")
    for finding in _owners(state, about.st_uid):
        bad = True
        yield finding
    free = shutil.disk_usage(state).free
    if free < ROOM:
        yield warn(check, f"{free // 1024 // 1024} MiB are left on the disk of {state}", "make room")
    if not bad and not about.st_mode & 0o077:
        yield ok(check, f"{state}: its files are for the server alone")


def _owners(state: Path, owner: int) -> Iterator[Finding]:
    """Whether all that the server uses is its own user's: a start as root by hand leaves it root's."""
    others = []
    for path in sorted({path for each in _OF_THE_SERVER for path in state.glob(each)}):
        with suppress(FileNotFoundError):  # SQLite takes its files away when it closes
            if path.lstat().st_uid != owner:
                others.append(path.name)
    if others:
        words = f"{state} belongs to another user than what is in it: {', '.join(others)}"
        yield fail("state directory", words, f"chown -R --reference={state} {state}")
