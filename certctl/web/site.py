"""The HTTP server's outer wall: what arrives is bounded in size, count and time before anything looks at it."""

from __future__ import annotations

import io
from typing import Any

from klein import Klein
from klein.resource import KleinResource
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.iweb import IRequest
from twisted.web.server import Request, Site
from werkzeug.exceptions import HTTPException

from certctl.acme.problems import Problem, ProblemType
from certctl.web.acme.dispatch import Dispatch
from certctl.web.answer import Answer, document, refusal
from certctl.web.api.dispatch import ApiDispatch
from certctl.web.channel import BoundedChannel, BoundedRequest, Shortcut
from certctl.web.console.dispatch import ConsoleDispatch
from certctl.web.health import Health
from certctl.web.metrics import Metrics

TIMEOUT = 60  # seconds from a connection's opening, or its last answer, to the end of its next request
RETIRING = TIMEOUT + 5  # seconds that connections have to come to their end by themselves
CLOSING = 5  # seconds that connections have to close when the server stops


class BoundedSite(Site):
    """Makes such connections. There is no access log: each state change is logged where it is made."""

    protocol = BoundedChannel  # type: ignore[assignment]  # HTTP/1.1 alone, so no protocol need be chosen
    displayTracebacks = False
    noisy = False

    def __init__(
        self,
        resource: Any,
        reactor: IReactorTime,
        shortcut: Shortcut | None,
    ) -> None:
        super().__init__(resource, requestFactory=BoundedRequest, timeout=TIMEOUT, reactor=reactor)
        self.shortcut = shortcut
        self.channels: set[BoundedChannel] = set()
        self.is_retiring = False

    async def retire(self) -> None:
        """Wait until no connection is left: each is closed with its next answer, or when its time is over."""
        self.is_retiring = True
        for _ in range(RETIRING * 10):
            if not self.channels:
                return
            await deferLater(self.reactor, 0.1)

    async def close(self) -> None:
        """Close all connections, once what was written to them is sent, or after some seconds."""
        for channel in list(self.channels):
            channel.closing = True
            channel.loseConnection()
        for _ in range(CLOSING * 20):
            if not self.channels:
                return
            await deferLater(self.reactor, 0.05)

    def getContentFile(self, length: int | None) -> Any:
        """Bodies are small and stay in memory."""
        return io.BytesIO()

    def log(self, request: Any) -> None:
        """Log nothing."""


def root(
    dispatch: Dispatch | None,
    health: Health,
    metrics: Metrics,
    api: ApiDispatch | None = None,
    console: ConsoleDispatch | None = None,
) -> KleinResource:
    """All that is served: ACME, the REST API and the console if they are switched on; health, readiness, metrics."""
    app = Klein()
    app.url_map.merge_slashes = False  # a redirect would make a client sign another URL
    app.url_map.strict_slashes = False
    for part in (dispatch, api, console):
        if part is not None:
            part.register(app)

    @app.route("/health", methods=["GET"])
    def alive(request: Request) -> bytes:
        return document({"status": "ok"}).send(request)

    @app.route("/ready", methods=["GET"])
    async def ready(request: Request) -> bytes:
        return (await health.ready()).send(request)

    @app.route("/metrics", methods=["GET"])
    async def measured(request: Request) -> bytes:
        return (await metrics.scraped()).send(request)

    @app.handle_errors(HTTPException)
    def refused(request: IRequest, failure: Failure) -> bytes:
        assert isinstance(request, Request) and isinstance(failure.value, HTTPException)
        answer = _refused(failure.value)
        if dispatch is not None and request.path.startswith(b"/acme/"):
            return dispatch.complete(request, answer).send(request)
        for prefix, own in ((b"/api/", api), (b"/console/", console)):
            if own is not None and request.path.startswith(prefix):
                return own.refusal(request, answer.status, _words(failure.value), answer.headers)
        return answer.send(request)

    return app.resource()


def _refused(error: HTTPException) -> Answer:
    """What the router found wrong with a request: no such path, or not by this method (RFC 8555 section 6.3)."""
    headers = dict(error.get_headers())
    allow = {"Allow": headers["Allow"]} if "Allow" in headers else {}
    return refusal(Problem(ProblemType.MALFORMED, _words(error), status=error.code, headers=allow))


def _words(error: HTTPException) -> str:
    return "there is no such resource" if error.code == http.NOT_FOUND else str(error.description)
