"""What an operation of the REST API is."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from certctl.authority.operators import Role
from certctl.web.api.call import Call, Nothing, Reply

Handler = Callable[[Call[Any, Any]], Awaitable[Reply]]
READ, WORK, ADMIN = Role.READ_ONLY, Role.OPERATOR, Role.ADMIN


@attrs.frozen
class Operation:
    """What may be asked: how, by whom, with what, and what comes back.

    ``answers`` is the type of the answer's JSON, None where it has none; ``media`` are other types it may have.
    """

    method: str
    path: str
    handler: Handler
    role: Role
    answers: Any
    body: Any = Nothing
    query: Any = Nothing
    status: int = 200
    media: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The operation's name, which is that of its handler."""
        return str(getattr(self.handler, "__name__", ""))

    @property
    def variables(self) -> list[str]:
        """The names of the path's variable parts."""
        return re.findall("<([^>]*)>", self.path)
