"""Signing in: an API key opens a session. Wrong keys are counted by address, together with those sent to the API."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from twisted.web.server import Request

from certctl.authority.console_sessions import ConsoleSessions
from certctl.web.answer import Answer
from certctl.web.api.call import ApiError
from certctl.web.api.door import Door
from certctl.web.console import cookies
from certctl.web.console.forms import Form
from certctl.web.console.rendering import Rendering
from certctl.web.console.visit import HOME, HTML, see_other

MAX_KEY = 1000
WRONG = "This is no good API key: it may be mistyped, revoked or expired."
FORGED = "The form was too old, or not from here. Sign in once more."


class SignIn:
    """The one page for who is not signed in."""

    def __init__(self, door: Door, sessions: ConsoleSessions, rendering: Rendering) -> None:
        self._door = door
        self._sessions = sessions
        self._rendering = rendering

    async def show(self, request: Request, origin: str, arguments: Mapping[str, str]) -> Answer:
        """The form."""
        query = {name.decode(): values[-1].decode("utf-8", "replace") for name, values in _args(request)}
        return self._page(request, next=query.get("next", ""), done=query.get("done", ""))

    async def take(self, request: Request, origin: str, arguments: Mapping[str, str]) -> Answer:
        """Open a session, and lead to the page that was asked for."""
        form = Form.of(request)
        next, key = form.one("next"), form.one("key")
        secret = cookies.cookie(request, cookies.FORM)
        if not (cookies.belongs(form.one("csrf"), secret) and cookies.is_from_here(request, origin)):
            return self._page(request, next=next, error=FORGED, status=403)
        peer = str(getattr(request.getClientAddress(), "host", ""))
        try:
            self._door.must_not_guess(peer)
        except ApiError as error:
            wait = error.headers["Retry-After"]
            words = f"Too many wrong keys came from your address. Try again in {wait} seconds."
            return self._page(request, next=next, error=words, status=429)
        opened = await self._sessions.sign_in(key, peer) if 0 < len(key) <= MAX_KEY else None
        if opened is None:
            self._door.guessed(peer)
            return self._page(request, next=next, error=WRONG, status=401)
        _, token = opened
        request.responseHeaders.addRawHeader("Set-Cookie", cookies.setting(cookies.SESSION, token))
        request.responseHeaders.addRawHeader("Set-Cookie", cookies.setting(cookies.FORM, ""))
        return see_other(_safe(next))

    def required(self, request: Request, *, had_one: bool) -> Answer:
        """What a page answers to who is not signed in: the way to the form, and back."""
        asked = request.uri.decode("ascii", "replace")
        members = {"done": "ended" if had_one else "", "next": asked if request.method == b"GET" else HOME}
        form = f"{HOME}sign-in?{urlencode({name: each for name, each in members.items() if each})}"
        if request.getHeader(b"hx-request") is not None:  # the script follows this, and not a redirect
            return Answer(content_type=HTML, headers={"HX-Redirect": form})
        if request.getHeader(b"sec-fetch-site") == b"cross-site" and request.method == b"GET":
            # A link from elsewhere comes without the session's cookie (SameSite=Strict); asked again from here it has
            # one.
            body = self._rendering.page("again.html", asked=asked)
            return Answer(content_type=HTML, body=body)
        return see_other(form)

    def _page(
        self, request: Request, *, next: str, done: str = "", error: str = "", status: int = 200
    ) -> Answer:
        secret = cookies.cookie(request, cookies.FORM) or cookies.new_form_secret()
        request.responseHeaders.addRawHeader("Set-Cookie", cookies.setting(cookies.FORM, secret))
        body = self._rendering.page(
            "sign_in.html",
            visit=None,
            caller=None,
            csrf=cookies.csrf_token(secret),
            next=_safe(next),
            done=done,
            error=error,
        )
        return Answer(status=status, content_type=HTML, body=body)


def _args(request: Request) -> list[tuple[bytes, list[bytes]]]:
    return [(name, values) for name, values in (request.args or {}).items() if name.isascii()]


def _safe(next: str) -> str:
    """A page of the console, whatever was asked for."""
    inside = next.startswith(HOME) and next.isascii() and next.isprintable() and "\\" not in next
    return next if inside and len(next) < 2000 else HOME
