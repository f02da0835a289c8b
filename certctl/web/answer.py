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
_WORDS = {
    each.value: each.phrase.encode("ascii") for each in HTTPStatus
}  # twisted.web has none for 421 and 429


@attrs.frozen(kw_only=True)
class Answer:
    """A status, headers and a body. ``links`` are the values of so many Link headers."""

    status: int = 200
    content_type: str = JSON
    body: bytes = b""
    location: str | None = None
    links: Sequence[str] = ()
    headers: Mapping[str, str] = attrs.field(factory=dict)

    def send(self, request: Request) -> bytes:
        """Put status and headers into a request's response, and return the body."""
        request.setResponseCode(self.status, _WORDS.get(self.status))
        set_header = request.responseHeaders.setRawHeaders
        set_header("Server", ["certctl"])  # and not which version of what
        if self.body:
            set_header("Content-Type", [self.content_type])
        if self.status != 204:  # RFC 9110 section 8.6
            set_header("Content-Length", [str(len(self.body))])
        if self.location is not None:
            set_header("Location", [self.location])
        if self.links:
            set_header("Link", list(self.links))
        for name, value in self.headers.items():
            set_header(name, [value])
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
