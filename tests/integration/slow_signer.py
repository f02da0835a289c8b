"""A signer far away, for servers that tests start: what it was asked and what it signed is in a directory.

``CERTCTL_SIGNER_MODULES=iss-slow=tests.integration.slow_signer:make`` with SLOW_SIGNER naming the directory. While a
file ``hold-before`` or ``hold-after`` is there, requests wait before, or answers after, they are signed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet.task import deferLater

from certctl.issuance.issuer import Issued, Template, TemplateError
from certctl.issuance.local import LocalCA

ISSUER = "iss-slow"
GLANCE = 0.02  # seconds between looks at a file that holds


class SlowSigner:
    """An Issuer that keeps the promises of one that is not at once."""

    at_once = False

    def __init__(self, issuer_id: str, reactor: Any, directory: Path) -> None:
        self._reactor = reactor
        self._directory = directory
        for name in ("signed", "withdrawn"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        self._ca = LocalCA.open(
            directory / "ca",
            common_name="slow issuing CA",
            root_common_name="slow root CA",
            now=datetime.now(UTC),
            issuer_id=issuer_id,
        )
        self.id, self.chain, self.root = issuer_id, self._ca.chain, self._ca.root
        self.expires_at = self._ca.expires_at

    async def sign(self, template: Template, request_id: str) -> Issued:
        """Sign once for each id, with as long a wait before and after as the files say."""
        self._note("asked", request_id)
        await self._held("hold-before")
        if delay := os.environ.get("SLOW_SIGNER_DELAY"):
            await deferLater(self._reactor, float(delay))
        with self._alone():
            if (self._directory / "withdrawn" / request_id).exists():
                raise TemplateError("it was withdrawn")
            if self._found(request_id) is None:
                made = self._directory / f"new-{os.getpid()}"
                made.write_bytes(self._ca.issue(template).der)
                made.rename(self._directory / "signed" / request_id)
                self._note("signed", request_id)
        await self._held("hold-after")
        issued = self._found(request_id)
        assert issued is not None
        return issued

    async def withdraw(self, request_id: str) -> Issued | None:
        """Sign no more under an id."""
        with self._alone():
            (self._directory / "withdrawn" / request_id).touch()
        return self._found(request_id)

    def _found(self, request_id: str) -> Issued | None:
        path = self._directory / "signed" / request_id
        if not path.exists():
            return None
        certificate = x509.load_der_x509_certificate(path.read_bytes())
        starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return Issued(f"{certificate.serial_number:x}", path.read_bytes(), starts, ends)

    async def _held(self, name: str) -> None:
        while (self._directory / name).exists():
            await deferLater(self._reactor, GLANCE)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _note(self, what: str, request_id: str) -> None:
        line = json.dumps({"what": what, "id": request_id, "pid": os.getpid()}) + "\n"
        with (self._directory / "log").open("a") as file:
            file.write(line)


def make(issuer_id: str, reactor: Any) -> SlowSigner:
    """What the setting names."""
    return SlowSigner(issuer_id, reactor, Path(os.environ["SLOW_SIGNER"]))
