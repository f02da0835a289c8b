"""What all documents of the REST API have in common."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")

PER_PAGE = 50
MOST_PER_PAGE = 500

Text = Annotated[str, Meta(max_length=1000)]
Line = Annotated[str, Meta(min_length=1, max_length=200)]
Id = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]
PageNumber = Annotated[int, Meta(ge=1, le=1_000_000)]
PerPage = Annotated[int, Meta(ge=1, le=MOST_PER_PAGE)]
Moment = Annotated[datetime, Meta(tz=True)]  # RFC 3339, with its offset
Cursor = Annotated[str, Meta(max_length=200)]


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


def paged(found: list[T], paging: Paging) -> Page[T]:
    """The page that is asked for, of a list that is all there."""
    first = (paging.page - 1) * paging.per_page
    return Page(
        data=found[first : first + paging.per_page],
        total=len(found),
        page=paging.page,
        per_page=paging.per_page,
    )
