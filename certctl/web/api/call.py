"""A request to the REST API as a resource sees it, and what a resource gives back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import attrs
import msgspec

from certctl.authority.administration import Administration
from certctl.authority.operators import Caller, Kind, Refused

B = TypeVar("B")
Q = TypeVar("Q")


class ApiError(Exception):
    """Why a request is refused: a status, a word for programs, a sentence for people."""

    def __init__(
        self, status: int, error: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.message = message
        self.headers = dict(headers or {})


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body or the query of an operation that has none."""


@attrs.frozen(kw_only=True)
class Call(Generic[B, Q]):
    """One request. ``body`` and ``query`` have the types that the operation declares."""

    administration: Administration
    caller: Caller
    arguments: Mapping[str, str]
    body: B
    query: Q
    origin: str  # https://host:port, where this client reaches the server
    if_match: str | None = None

    @property
    def id(self) -> str:
        """What the path names."""
        return self.arguments["id"]

    def must_match(self, etag: str) -> None:
        """Raise Refused if the client means another version than the one that is there (RFC 9110 section 13.1.1)."""
        wanted = [each.strip() for each in (self.if_match or "*").split(",")]
        if "*" not in wanted and etag not in wanted:
            detail = f"If-Match is {wanted[0][:64]}, and the ETag is {etag}: read it again"
            raise Refused(Kind.CHANGED, detail)


@attrs.frozen(kw_only=True)
class Reply:
    """What an operation gives back: a value that becomes JSON, or octets of another type."""

    value: Any = None
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    content: bytes | None = None  # in place of a value
    content_type: str = "application/json"
