"""Whether the server is alive (``/health``) and may be sent requests (``/ready``)."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.logger import Logger

from certctl.authority.trail import Trail
from certctl.issuance.issuer import Issuer
from certctl.storage import profiles
from certctl.storage.database import Database
from certctl.web.answer import Answer, document


class Health:
    """Looks at what the server cannot do without."""

    _log = Logger(namespace="certctl")

    def __init__(self, database: Database, trail: Trail, issuers: Mapping[str, Issuer]) -> None:
        self._database = database
        self._trail = trail
        self._issuers = issuers
        self.stopping = False

    async def ready(self) -> Answer:
        """200 if the database answers and an issuer can sign, 503 with what is wrong otherwise."""
        wrong = []
        if self.stopping:
            wrong.append("stopping")
        try:
            await self._database.read(profiles.everyone())
        except Exception:
            self._log.failure("the database does not answer")
            wrong.append("database")
        now = self._trail.now()
        wrong += [f"{id} has expired" for id, issuer in self._issuers.items() if issuer.expires_at <= now]
        return document(
            {"status": "not ready", "wrong": wrong} if wrong else {"status": "ready"},
            status=503 if wrong else 200,
        )
