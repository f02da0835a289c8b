"""What all documents of the REST API have in common."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from certctl.acme.identifiers import Identifier, IdentifierError, dns_name, ip_address
from certctl.authority.operators import Kind, Refused

T = TypeVar("T")

PER_PAGE = 50
MOST_PER_PAGE = 500

Text = Annotated[str, Meta(max_length=1000)]
Line = Annotated[str, Meta(min_length=1, max_length=200)]
Id = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]
PageNumber = Annotated[int, Meta(ge=1, le=1_000_000)]
PerPage = Annotated[int, Meta(ge=1, le=MOST_PER_PAGE)]
Moment = Annotated[datetime, Meta(tz=True)]  # RFC 3339, with its offset
Cursor = Annotated[str, Meta(max_length=200, pattern=r"^[A-Za-z0-9._-]*$")]
Name = Annotated[str, Meta(min_length=1, max_length=260)]


class Document(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A JSON object; members that it does not have are refused by name."""


class Error(msgspec.Struct, kw_only=True):
    """Why a request was refused."""

    error: str
    message: str
    request_id: str


class Page(msgspec.Struct, Generic[T], kw_only=True):
    """A page of a list that stays short."""

    data: list[T]
    total: int
    page: int
    per_page: int


class Window(msgspec.Struct, Generic[T], kw_only=True):
    """A part of a list that grows; the next one begins at ``next_cursor``, which is null at the end."""

    data: list[T]
    next_cursor: str | None
    per_page: int


class Paging(Document):
    """Which page of a list is asked for."""

    page: PageNumber = 1
    per_page: PerPage = PER_PAGE


class Following(Document):
    """Which part of a list that grows is asked for."""

    cursor: Cursor = ""
    per_page: PerPage = PER_PAGE


class Walking(Protocol):
    """Who asks for a part of a list that grows."""

    per_page: PerPage


def paged(found: list[T], paging: Paging) -> Page[T]:
    """The page that is asked for, of a list that is all there."""
    first = (paging.page - 1) * paging.per_page
    return Page(
        data=found[first : first + paging.per_page],
        total=len(found),
        page=paging.page,
        per_page=paging.per_page,
    )


def window(found: list[T], asked: Walking, of: Callable[[T], str]) -> tuple[list[T], str | None]:
    """Cut one more than was asked for to what was asked for; the cursor is that of the last, if there is more."""
    page = found[: asked.per_page]
    return page, of(page[-1]) if len(found) > len(page) else None


def given(document: msgspec.Struct, *names: str) -> dict[str, Any]:
    """The members that a request has, of those that are named, or of all."""
    return {
        name: value
        for name in names or document.__struct_fields__
        if (value := getattr(document, name)) is not UNSET
    }


def merged(old: Any, patch: Any) -> Any:
    """What a JSON merge patch makes of a value (RFC 7396 section 2)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def identifier(text: str | UnsetType, member: str) -> Identifier | None:
    """The name or address that somebody looks for; raises Refused for what is neither."""
    if isinstance(text, UnsetType):
        return None
    try:
        return ip_address(text)
    except IdentifierError:
        pass
    try:
        return dns_name(text)
    except IdentifierError as error:
        raise Refused(Kind.INVALID, f"{member}: {error}") from None


class IdentifierDocument(msgspec.Struct, kw_only=True):
    """A name (``dns``) or an address (``ip``)."""

    type: str
    value: str

    @classmethod
    def of(cls, identifier: Identifier) -> IdentifierDocument:
        """The identifier as it is shown."""
        return cls(type=identifier.type.value, value=identifier.value)
