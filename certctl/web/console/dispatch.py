"""The one point that every request to the console passes: who asks is known, forms are ours, refusals are pages."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.server import Request

from certctl.acme.problems import Problem
from certctl.authority.console_sessions import ConsoleSessions, SignedIn
from certctl.background import Background
from certctl.storage.database import Unavailable
from certctl.web.answer import TEXT, Answer
from certctl.web.api.call import ApiError
from certctl.web.api.door import NAMED, Door
from certctl.web.api.statistics import count_ahead
from certctl.web.console import assets, cookies
from certctl.web.console.dashboard import DAYS
from certctl.web.console.forms import Form
from certctl.web.console.rendering import Rendering
from certctl.web.console.signin import SignIn
from certctl.web.console.table import PAGES
from certctl.web.console.visit import HOME, HTML, Page, Visit, see_other
from certctl.web.origin import Origin

POLICY = (  # Content-Security-Policy; style attributes and inline scripts have no effect under it
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Frame-Options": "DENY",
}
FORGED = "the form does not belong to your session: open the page again, and send it from there"
_TITLES = {400: "That makes no sense", 403: "Not allowed", 404: "Not found", 429: "Too often"}


class ConsoleDispatch:
    """Serves the pages of the console."""

    _log = Logger(namespace="certctl")

    def __init__(self, door: Door, sessions: ConsoleSessions, origin: Origin, background: Background) -> None:
        self._door = door
        self._sessions = sessions
        self._origin = origin
        self._background = background
        self._assets = assets.read()
        self._files = {each.path: each for each in self._assets.values()}
        self._rendering = Rendering(self._assets)
        self._sign_in = SignIn(door, sessions, self._rendering)
        self._was_visited = False

    def register(self, app: Klein) -> None:
        """Add all routes to an application."""
        for page in PAGES:
            serving = self._serving(f"{page.method} {page.path}", self._visited(page))
            app.route(HOME + page.path, methods=[page.method])(serving)
        for method, path, handler in (
            ("GET", "sign-in", self._show_sign_in),
            ("POST", "sign-in", self._sign_in.take),
            ("POST", "sign-out", self._leave),
        ):
            app.route(HOME + path, methods=[method])(self._serving(f"{method} {path}", handler))
        app.route(HOME + "static/<name>", methods=["GET"])(self._file)
        app.route(HOME.rstrip("/"), methods=["GET"])(lambda request: self._send(request, see_other(HOME)))

    def refusal(self, request: Request, status: int, message: str, headers: Mapping[str, str]) -> bytes:
        """Answer what reached no page."""
        return self._send(request, self._refused(None, ApiError(status, "", message, headers)))

    def _serving(self, name: str, handler: Callable[..., Any]) -> Callable[..., Deferred[bytes]]:
        def serve(request: Request, **arguments: str) -> Deferred[bytes]:
            # In the background: Klein cancels what it waits for when the client goes.
            return self._background.run(self._serve(request, handler, arguments))

        serve.__name__ = f"console {name}"
        return serve

    async def _serve(
        self, request: Request, handler: Callable[..., Any], arguments: Mapping[str, str]
    ) -> bytes:
        id = secrets.token_hex(8)
        try:
            answer: Answer = await handler(request, self._origin.of(request), arguments)
        except ApiError as error:
            answer = self._refused(None, error)
        except Problem as error:  # of the origin
            answer = self._refused(None, ApiError(error.status, "", str(error.detail)))
        except Unavailable as error:
            self._log.error("the database is unavailable", why=str(error), request_id=id)
            words = "the database does not answer at the moment: try again in a few seconds"
            answer = self._refused(None, ApiError(503, "", words, {"Retry-After": "5"}))
        except Exception:
            self._log.failure("a request failed", page=request.path.decode("ascii", "replace"), request_id=id)
            answer = self._refused(None, ApiError(500, "", f"the server failed; its log says why, by {id}"))
        return self._send(request, answer)

    def _visited(self, page: Page) -> Callable[..., Any]:
        """A page, for who is signed in."""

        async def visited(request: Request, origin: str, arguments: Mapping[str, str]) -> Answer:
            token = cookies.cookie(request, cookies.SESSION)
            signed_in = await self._sessions.known(token) if token else None
            if signed_in is None:
                return self._sign_in.required(request, had_one=bool(token))
            self._door.admit(signed_in.caller)
            form = self._form(request, origin, token)
            visit = self._visit(request, origin, arguments, signed_in, token, form)
            if request.getHeader(b"hx-request") is None:  # and not a page that looks for news by itself
                await self._sessions.used(signed_in.session)
            try:
                if page.needs:
                    self._door.must_include(NAMED[page.needs], signed_in.caller)
                return await page.handler(visit)
            except ApiError as error:
                return self._refused(visit, error)

        return visited

    def _form(self, request: Request, origin: str, token: str) -> Form:
        """The form of a change; raises ApiError if it is not one of this session's."""
        if request.method != b"POST":
            return Form()
        form = Form.of(request)
        if not (cookies.belongs(form.one("csrf"), token) and cookies.is_from_here(request, origin)):
            raise ApiError(403, "forbidden", FORGED)
        return form

    def _visit(
        self,
        request: Request,
        origin: str,
        arguments: Mapping[str, str],
        signed_in: SignedIn,
        token: str,
        form: Form,
    ) -> Visit:
        return Visit(
            door=self._door,
            rendering=self._rendering,
            signed_in=signed_in,
            csrf=cookies.csrf_token(token),
            origin=origin,
            path=request.path.decode("ascii"),
            arguments=arguments,
            query=_query(request),
            form=form,
        )

    async def _show_sign_in(self, request: Request, origin: str, arguments: Mapping[str, str]) -> Answer:
        """The form; while the first visitor fills it in, what the overview will show is counted."""
        if not self._was_visited:
            self._was_visited = True
            self._background.start(count_ahead(self._door.administration, DAYS))
        return await self._sign_in.show(request, origin, arguments)

    async def _leave(self, request: Request, origin: str, arguments: Mapping[str, str]) -> Answer:
        token = cookies.cookie(request, cookies.SESSION)
        signed_in = await self._sessions.known(token) if token else None
        everywhere = False
        if signed_in is not None:
            everywhere = bool(self._form(request, origin, token).one("everywhere"))
            await self._sessions.sign_out(signed_in, everywhere=everywhere)
        answer = see_other(HOME + "sign-in", done="signed-out-everywhere" if everywhere else "signed-out")
        request.responseHeaders.addRawHeader("Set-Cookie", cookies.setting(cookies.SESSION, ""))
        return answer

    def _refused(self, visit: Visit | None, error: ApiError) -> Answer:
        """A page that says why not, and where to go from there."""
        title = _TITLES.get(error.status, "That did not work")
        context = {"title": title, "message": error.message}
        if visit is not None:
            answer = visit.page("refused.html", status=error.status, **context)
        else:
            body = self._rendering.page("refused.html", visit=None, caller=None, done="", **context)
            answer = Answer(status=error.status, content_type=HTML, body=body)
        return Answer(status=answer.status, content_type=HTML, body=answer.body, headers=dict(error.headers))

    def _file(self, request: Request, name: str) -> bytes:
        found = self._files.get(name)
        if found is None:
            return self._send(request, Answer(status=404, content_type=TEXT, body=b"there is no such file\n"))
        answer = found.answer((request.getHeader(b"accept-encoding") or b"").decode("latin-1"))
        return self._send(request, answer)

    def _send(self, request: Request, answer: Answer) -> bytes:
        body = answer.send(request)
        for name, value in HEADERS.items():
            request.responseHeaders.setRawHeaders(name, [value])
        if not request.responseHeaders.hasHeader("Cache-Control"):
            request.responseHeaders.setRawHeaders("Cache-Control", ["no-store"])
        return body


def _query(request: Request) -> dict[str, str]:
    """The query, of which a member that is there more than once counts as the last."""
    return {
        name.decode("utf-8", "replace"): values[-1].decode("utf-8", "replace")
        for name, values in (request.args or {}).items()
    }
