"""What the tests of CAs in files share."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import dns_name
from certctl.issuance.issuer import Issued, IssuerError, Template
from certctl.issuance.local import LocalCA

NOW = datetime(2026, 5, 17, 12, 0, 0, 5, tzinfo=UTC)
DAY = timedelta(days=1)
LEAF_KEY = ec.generate_private_key(ec.SECP256R1()).public_key()


def opened(directory: Path, now: datetime = NOW) -> LocalCA:
    """The CA of a state directory."""
    return LocalCA.open(
        directory, common_name="example issuing CA", root_common_name="example root CA", now=now
    )


def template(not_after: datetime = NOW + 90 * DAY) -> Template:
    """A plain certificate for www.example.org."""
    return Template(
        names=(dns_name("www.example.org"),),
        common_name="www.example.org",
        public_key=LEAF_KEY,
        not_before=NOW,
        not_after=not_after,
    )


def completed(coroutine: object) -> Issued:
    """What a coroutine that waits for nothing returns."""
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration as stop:
        assert isinstance(stop.value, Issued)
        return stop.value
    raise AssertionError("it waited")


def openssl(*arguments: str | Path) -> str:
    """What an openssl command prints; it must succeed."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class DirectoryCase(SynchronousTestCase):
    """A state directory of its own for each test."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()) / "state"

    def mode(self, name: str) -> int:
        return stat.S_IMODE((self.directory / name).stat().st_mode)

    def refused(self, call: Callable[[], object]) -> str:
        """The sentence that a start is refused with, less the directory."""
        error = self.assertRaises(IssuerError, call)
        return str(error).replace(f"{self.directory}/", "").replace(str(self.directory), "STATE")
