"""Whether the server is alive (``/health``) and may be sent requests (``/ready``)."""

from __future__ import annotations

from twisted.logger import Logger

from certctl.authority.issuers import Issuers
from certctl.authority.trail import Trail
from certctl.storage import profiles
from certctl.storage.database import Database
from certctl.web.answer import Answer, document


class Health:
    """Looks at what the server cannot do without."""

    _log = Logger(namespace="certctl")

    def __init__(self, database: Database, trail: Trail, issuers: Issuers) -> None:
        self._database = database
        self._trail = trail
        self._issuers = issuers
        self.stopping = False

    async def ready(self) -> Answer:
        """200 if the database answers and the issuers of the profiles in use can sign; else 503 with what is wrong."""
        wrong = []
        if self.stopping:
            wrong.append("stopping")
        try:
            found = await self._database.read(profiles.everyone())
        except Exception:
            self._log.failure("the database does not answer")
            wrong.append("database")
        else:
            used = {each.issuer_id for each in found if each.enabled and each.archived_at is None}
            wrong += [told for each in sorted(used) if (told := self._wrong_with(each))]
        return document(
            {"status": "not ready", "wrong": wrong} if wrong else {"status": "ready"},
            status=503 if wrong else 200,
        )

    def _wrong_with(self, id: str) -> str | None:
        """What is wrong with an issuer that profiles name. Of a key that is not here the log says more."""
        if id not in self._issuers:
            return f"{id} cannot sign here"
        return f"{id} has expired" if self._issuers[id].expires_at <= self._trail.now() else None
