"""What is sent back, as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import attrs
import msgspec
from twisted.web.server import Request

from certctl.acme.problems import Problem

JSON = "application/json"
PROBLEM = "application/problem+json"
TEXT = "text/plain; charset=utf-8"
_PHRASES = {each.value: each.phrase for each in HTTPStatus}  # twisted.web has none for 421 and 429


@attrs.frozen(kw_only=True)
class Answer:
    """A status, headers and a body. ``links`` are the values of so many Link headers."""

    status: int = 200
    content_type: str = JSON
    body: bytes = b""
    location: str | None = None
    links: Sequence[str] = ()
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def adding(self, links: Sequence[str], headers: Mapping[str, str]) -> Answer:
        """The same answer with more header fields."""
        return Answer(
            status=self.status,
            content_type=self.content_type,
            body=self.body,
            location=self.location,
            links=(*self.links, *links),
            headers={**self.headers, **headers},
        )

    @property
    def phrase(self) -> str:
        """What the status means."""
        return _PHRASES.get(self.status, "")

    def fields(self) -> list[tuple[str, str]]:
        """All header fields, Link maybe more than once."""
        fields = [("Server", "certctl")]  # and not which version of what
        if self.body:
            fields.append(("Content-Type", self.content_type))
        if self.status != 204:  # RFC 9110 section 8.6
            fields.append(("Content-Length", str(len(self.body))))
        if self.location is not None:
            fields.append(("Location", self.location))
        fields += [("Link", link) for link in self.links]
        fields += self.headers.items()
        return fields

    def send(self, request: Request) -> bytes:
        """Put status and header fields into a request's response, and return the body."""
        request.setResponseCode(self.status, self.phrase.encode("ascii"))
        headers = request.responseHeaders
        for name, value in self.fields():
            if name == "Link":
                headers.addRawHeader(name, value)
            else:
                headers.setRawHeaders(name, [value])
        return self.body


def document(value: Mapping[str, Any], *, status: int = 200, **rest: Any) -> Answer:
    """An answer that is a JSON object."""
    return Answer(status=status, body=msgspec.json.encode(value), **rest)


def refusal(problem: Problem) -> Answer:
    """A problem as an answer (RFC 8555 section 6.7)."""
    headers = {name: value for name, value in problem.headers.items() if name != "Link"}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(problem.retry_after.total_seconds())))
    return Answer(
        status=problem.status,
        content_type=PROBLEM,
        body=msgspec.json.encode(problem.document()),
        links=[problem.headers["Link"]] if "Link" in problem.headers else (),
        headers=headers,
    )
