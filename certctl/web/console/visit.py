"""A request for a page as the page sees it: who asks, with what, and how the API is asked for more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import attrs

from certctl.authority.console_sessions import SignedIn
from certctl.authority.operators import Caller
from certctl.web.answer import Answer
from certctl.web.api.call import ApiError, Reply
from certctl.web.api.door import NAMED, Door
from certctl.web.console.forms import Form
from certctl.web.console.rendering import Rendering

HOME = "/console/"
HTML = "text/html; charset=utf-8"


@attrs.frozen(kw_only=True)
class Visit:
    """One request by somebody who is signed in."""

    door: Door
    rendering: Rendering
    signed_in: SignedIn
    csrf: str
    origin: str  # https://host:port, where this browser reaches the server
    path: str
    arguments: Mapping[str, str]
    query: Mapping[str, str]
    form: Form

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self.signed_in.caller

    @property
    def id(self) -> str:
        """What the path names."""
        return self.arguments["id"]

    def may(self, operation: str) -> bool:
        """Whether the caller's role includes an operation of the API."""
        return self.caller.role.includes(NAMED[operation].role)

    async def reply(self, operation: str, **asked: Any) -> Reply:
        """Ask for an operation of the API, as whoever is signed in; raise ApiError as its answer."""
        return await self.door.ask(operation, self.caller, self.origin, **asked)

    async def ask(self, operation: str, **asked: Any) -> Any:
        """The document that an operation of the API answers with."""
        return (await self.reply(operation, **asked)).value

    async def search(self, operation: str, query: Mapping[str, str]) -> tuple[Any, str]:
        """The document that a search answers with; or None, and what is wrong with the filter, in a sentence."""
        try:
            return await self.ask(operation, query=query), ""
        except ApiError as refused:
            if refused.status != 400:
                raise
            return None, refused.message

    def given(self, *names: str) -> dict[str, str]:
        """Those of the query's members that are not empty."""
        return {name: value for name in names if (value := self.query.get(name, "").strip())}

    def page(self, template: str, *, status: int = 200, **context: Any) -> Answer:
        """A page."""
        body = self.rendering.page(
            template,
            visit=self,
            caller=self.caller,
            may=self.may,
            csrf=self.csrf,
            now=self.door.administration.now(),
            done=self.query.get("done", ""),
            **context,
        )
        return Answer(status=status, content_type=HTML, body=body)

    def go(self, path: str, done: str = "") -> Answer:
        """Lead to another page, which says what was done."""
        return see_other(f"{HOME}{path}", done=done)

    def again(self, **changes: str) -> str:
        """The URL of this page with other members in its query; an empty one is left out."""
        query = {name: value for name, value in {**self.query, **changes}.items() if value and name != "done"}
        return self.path + (f"?{urlencode(query)}" if query else "")


def see_other(url: str, **query: str) -> Answer:
    """Lead to a URL by GET (RFC 9110 section 15.4.4)."""
    members = urlencode({name: value for name, value in query.items() if value})
    return Answer(status=303, content_type=HTML, location=url + (f"?{members}" if members else ""))


Handler = Callable[[Visit], Awaitable[Answer]]


@attrs.frozen
class Page:
    """A page: how it is asked for, and what makes it."""

    method: str
    path: str  # below /console/
    handler: Handler
    needs: str = ""  # the operation that the page is there for; who may not ask for it does not see the page
