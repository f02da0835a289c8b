"""The one point that every ACME request passes: it is admitted, handled to its end, answered and counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from time import perf_counter
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.server import Request

from certctl.acme.nonces import NonceMint
from certctl.acme.problems import Problem, ProblemType
from certctl.background import Background
from certctl.storage.database import Unavailable
from certctl.web.acme.admission import Admission
from certctl.web.acme.call import Urls
from certctl.web.acme.table import PATHS, ROUTES, Route, find
from certctl.web.answer import Answer, refusal
from certctl.web.metrics import Metrics
from certctl.web.origin import Origin

UNAVAILABLE_FOR = timedelta(seconds=5)  # until a client asks again when the database did not answer
NO_STORE = {"Cache-Control": "no-store"}  # RFC 8555 section 7.2
_PROFILE = re.compile(rb"/acme/profile/([A-Za-z0-9._~-]+)/")
_GET = ("GET", "HEAD")
_POST = ("POST",)
_NOBODY = [b""]  # for a request without User-Agent


class Dispatch:
    """Serves the ACME routes of all profiles, and the shorthand for the default one."""

    _log = Logger(namespace="certctl")

    def __init__(
        self,
        *,
        admission: Admission,
        nonces: NonceMint,
        origin: Origin,
        background: Background,
        metrics: Metrics,
        seconds: Callable[[], float],
        default_profile_id: str | None,
    ) -> None:
        self._admission = admission
        self._nonces = nonces
        self._origin = origin
        self._background = background
        self._metrics = metrics
        self._seconds = seconds
        self._default_profile_id = default_profile_id

    def register(self, app: Klein) -> None:
        """Add all routes to an application."""
        for route in ROUTES:
            methods = _methods(route)
            app.route(f"/acme/profile/<profile_id>/{route.path}", methods=methods)(self._serving(route))
            app.route(f"/acme/{route.path}", methods=methods)(self._serving(route))

    def shortcut(self, request: Request) -> Answer | Deferred[Answer] | None:
        """Serve a POST, or a GET of what nobody posts to, whose path is written plainly below a profile, as clients
        write it; None for any other.

        The routes are those that ``register`` gives to Klein; that they answer alike is tested. Klein's own way to a
        route costs a tenth of what a certificate costs.
        """
        if (below := _PROFILE.match(request.path)) is None:
            return None
        path = request.path[below.end() :].decode("ascii", "replace")
        if "%" in path or (found := find(path)) is None:
            return None
        route, arguments = found
        if request.method != (b"POST" if route.posts else b"GET"):
            return None
        serving = self._serve(route, request, below[1].decode("ascii"), arguments)
        return self._background.run(serving) if route.posts else self._background.run_now(serving)

    def _serving(self, route: Route) -> Callable[..., Deferred[bytes]]:
        def serve(request: Request, profile_id: str | None = None, **arguments: str) -> Deferred[bytes]:
            # In the background: Klein cancels what it waits for when the client goes, and no use case may stop
            # half-way.
            return self._background.run(self._send(route, request, profile_id, arguments))

        serve.__name__ = route.name
        return serve

    async def _send(
        self, route: Route, request: Request, profile_id: str | None, arguments: Mapping[str, str]
    ) -> bytes:
        return (await self._serve(route, request, profile_id, arguments)).send(request)

    async def _serve(
        self, route: Route, request: Request, profile_id: str | None, arguments: Mapping[str, str]
    ) -> Answer:
        began = perf_counter()
        outcome = "ok"
        try:
            answer = await self._answer(route, request, profile_id or self._default_profile_id, arguments)
        except Problem as problem:
            outcome = str(problem.type.value[0])
            answer = refusal(problem)
        except Unavailable as error:
            outcome = "unavailable"
            self._log.error("the database is unavailable", why=str(error))
            answer = refusal(_unavailable())
        except Exception:
            outcome = "error"
            self._log.failure("a request failed", route=route.name)
            answer = refusal(Problem(ProblemType.SERVER_INTERNAL, "the server failed; its log says why"))
        client = request.requestHeaders.getRawHeaders(b"user-agent", _NOBODY)[0]
        self._metrics.request(
            route.name, outcome, profile_id or self._default_profile_id, client, perf_counter() - began
        )
        return self.complete(request, answer, nonce=route.name == "new-nonce")

    async def _answer(
        self, route: Route, request: Request, profile_id: str | None, arguments: Mapping[str, str]
    ) -> Answer:
        if getattr(request, "too_large", False):
            raise Problem(ProblemType.MALFORMED, "the request's body is too large", status=413)
        if profile_id is None:
            raise Problem(
                ProblemType.USER_ACTION_REQUIRED,
                "no default profile is set: use /acme/profile/<profile-id>/directory,"
                " or have the operator set CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID",
            )
        origin = self._origin.of(request)
        urls = Urls(PATHS, origin, profile_id)
        if request.method == b"POST":
            call: Any = await self._admission.signed(route, request, origin, urls, profile_id, arguments)
        else:
            call = await self._admission.unsigned(route, urls, profile_id, arguments)
        answer = await route.handler(call)
        return Answer(status=200) if request.method == b"HEAD" and answer.status == 204 else answer

    def complete(self, request: Request, answer: Answer, *, nonce: bool = False) -> Answer:
        """Add what every answer of this surface carries: a nonce after a POST, and the way to the directory."""
        headers = NO_STORE
        if nonce or request.method == b"POST":
            headers = {**NO_STORE, "Replay-Nonce": self._nonces.mint(self._seconds())}
        return answer.adding(self._index(request), headers)

    def _index(self, request: Request) -> tuple[str, ...]:
        if (profile_id := self._profile_of(request)) is None:
            return ()
        try:
            return (f'<{Urls(PATHS, self._origin.of(request), profile_id).to("directory")}>;rel="index"',)
        except Problem:
            return ()

    def _profile_of(self, request: Request) -> str | None:
        """The profile in the path as it was sent: what is no profile's id is not put into a header."""
        below = _PROFILE.match(request.path)
        return below[1].decode("ascii") if below else self._default_profile_id


def _methods(route: Route) -> tuple[str, ...]:
    return (_GET if route.gets else ()) + (_POST if route.posts else ())


def _unavailable() -> Problem:
    return Problem(
        ProblemType.SERVER_INTERNAL,
        "the database does not answer at the moment",
        status=503,
        retry_after=UNAVAILABLE_FOR,
    )
