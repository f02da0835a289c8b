"""How the servers are (``/api/system``): which there are, whether they sweep, how fast the database answers."""

from __future__ import annotations

from datetime import datetime
from time import perf_counter

import msgspec

from certctl import __version__
from certctl.storage import servers
from certctl.storage.servers import Server
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import READ, Operation


class ServerDocument(msgspec.Struct, kw_only=True):
    """A server on this database. ``present`` says whether it was seen within three sweeps.

    ``certificate_ends_at`` is the end of its own TLS certificate.
    """

    id: str
    host: str
    version: str
    present: bool
    answering: bool
    started_at: datetime
    seen_at: datetime
    swept_at: datetime | None
    certificate_ends_at: datetime | None


class SystemDocument(msgspec.Struct, kw_only=True):
    """The servers, and what they stand on. ``answering`` is the server that gave this answer."""

    version: str
    database: str
    database_milliseconds: float
    sweep_interval_seconds: float
    servers: list[ServerDocument]


async def show_system(call: Call[Nothing, Nothing]) -> Reply:
    """Show the servers on this database, and how long the database took to say which they are."""
    administration, began = call.administration, perf_counter()
    found = await administration.database.read(servers.everyone())
    took = (perf_counter() - began) * 1000
    presence = administration.presence
    answer = SystemDocument(
        version=__version__,
        database=administration.engine,
        database_milliseconds=round(took, 3),
        sweep_interval_seconds=presence.beat.total_seconds(),
        servers=[_server(each, presence.is_there(each), each.id == presence.id) for each in found],
    )
    return Reply(value=answer)


def _server(found: Server, present: bool, answering: bool) -> ServerDocument:
    return ServerDocument(
        id=found.id,
        host=found.host,
        version=found.version,
        present=present,
        answering=answering,
        started_at=found.started_at,
        seen_at=found.seen_at,
        swept_at=found.swept_at,
        certificate_ends_at=found.certificate_ends_at,
    )


OPERATIONS = (Operation("GET", "system", show_system, READ, SystemDocument),)
