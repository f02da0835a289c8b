"""Which servers there are on this database: each says with every sweep that it is there, and how it is."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from datetime import datetime, timedelta

import attrs

from certctl.authority.trail import Trail
from certctl.storage import servers
from certctl.storage.database import Database
from certctl.storage.servers import Server

REMEMBERED = timedelta(days=2)  # servers that were not seen for longer are forgotten
MISSED = 3  # beats, after which a server is not taken for one that is there


class Presence:
    """What this server says of itself, and what others said of themselves. It changes nothing else: no audit row."""

    def __init__(self, database: Database, trail: Trail, *, version: str, beat: timedelta) -> None:
        """``beat`` is how often ``seen`` is called."""
        self._database = database
        self._trail = trail
        self.beat = beat
        now = trail.now()
        self._own = Server(
            id=f"srv-{secrets.token_hex(8)}",
            host=socket.gethostname()[:200],
            version=version,
            started_at=now,
            seen_at=now,
            swept_at=None,
            certificate_ends_at=None,
        )
        self._certificate_ends_at: Callable[[], datetime | None] = lambda: None

    @property
    def id(self) -> str:
        """The id of this server, which is another after each start."""
        return self._own.id

    def watch_certificate(self, ends_at: Callable[[], datetime | None]) -> None:
        """Tell of this server's own TLS certificate, whose end is found so."""
        self._certificate_ends_at = ends_at

    async def seen(self, *, swept: bool) -> None:
        """Say that this server is there, and whether it has just swept."""
        now = self._trail.now()
        self._own = attrs.evolve(
            self._own,
            seen_at=now,
            swept_at=now if swept else self._own.swept_at,
            certificate_ends_at=self._certificate_ends_at(),
        )
        await self._database.write(servers.seen(self._own), servers.forget_unseen(now - REMEMBERED))

    async def gone(self) -> None:
        """Say that this server stops."""
        await self._database.write(servers.forget(self._own.id))

    def is_there(self, server: Server) -> bool:
        """Whether a server was seen so lately that it must be there still."""
        return self._trail.now() - server.seen_at <= MISSED * self.beat
