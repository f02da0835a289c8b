"""The one point that every request to the REST API passes: it is admitted, read, handled, answered."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import msgspec
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.server import Request
from werkzeug.routing import BaseConverter

from certctl.acme.problems import Problem
from certctl.authority.administration import Administration
from certctl.authority.operators import Caller, Kind, Refused
from certctl.background import Background
from certctl.storage.database import Unavailable
from certctl.web.answer import Answer
from certctl.web.api.call import ApiError, Call, Reply
from certctl.web.api.intake import body, header, query
from certctl.web.api.openapi import PAGE_POLICY, human_page, openapi
from certctl.web.api.operation import Operation
from certctl.web.api.schema import Error
from certctl.web.api.table import OPERATIONS
from certctl.web.api.throttle import Throttle
from certctl.web.origin import Origin

PREFIXES = ("/api/v1/", "/api/")
FAILURES_PER_MINUTE = 30  # wrong keys that one address may send
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="certctl"'}  # RFC 6750 section 3
_STATUS = {
    Kind.INVALID: (400, "invalid_request"),
    Kind.ABSENT: (404, "not_found"),
    Kind.CONFLICT: (409, "conflict"),
    Kind.CHANGED: (412, "precondition_failed"),
}
_BEARER = re.compile(r"Bearer +([\x21-\x7e]{1,1000})\Z", re.IGNORECASE)


class _Id(BaseConverter):
    """The id in a path, which is none of the words that stand in its place elsewhere."""

    regex = r"(?!(?:revoke|checkpoints)(?:/|\Z))[^/]+"


class ApiDispatch:
    """Serves the operations of the REST API, and the document that describes them."""

    _log = Logger(namespace="certctl")

    def __init__(
        self, administration: Administration, origin: Origin, background: Background, per_minute: int
    ) -> None:
        self._administration = administration
        self._origin = origin
        self._background = background
        self._asked = Throttle(per_minute)
        self._failed = Throttle(FAILURES_PER_MINUTE)
        self._per_minute = per_minute
        self._document = msgspec.json.encode(openapi(OPERATIONS))

    def register(self, app: Klein) -> None:
        """Add all routes to an application."""
        app.url_map.converters["api_id"] = _Id
        for prefix in PREFIXES:
            for operation in OPERATIONS:
                path = prefix + operation.path.replace("<id>", "<api_id:id>")
                app.route(path, methods=[operation.method])(self._serving(operation))
            app.route(prefix + "openapi.json", methods=["GET"])(self._description)
            app.route(prefix, methods=["GET"])(self._page)
            app.route(prefix.rstrip("/"), methods=["GET"])(self._page)

    def refusal(self, request: Request, status: int, message: str, headers: Mapping[str, str]) -> bytes:
        """Answer what reached no operation."""
        error = {404: "not_found", 405: "method_not_allowed"}.get(status, "invalid_request")
        return self._send(request, _refusal(ApiError(status, error, message, headers), _request_id()))

    def _serving(self, operation: Operation) -> Callable[..., Deferred[bytes]]:
        def serve(request: Request, **arguments: str) -> Deferred[bytes]:
            # In the background: Klein cancels what it waits for when the client goes.
            return self._background.run(self._serve(operation, request, arguments))

        serve.__name__ = f"api {operation.name}"  # Klein knows endpoints by it, those of ACME too
        return serve

    async def _serve(self, operation: Operation, request: Request, arguments: Mapping[str, str]) -> bytes:
        id = _request_id()
        try:
            answer = _answer(await operation.handler(await self._admit(operation, request, arguments)))
        except ApiError as error:
            answer = _refusal(error, id)
        except Refused as error:
            answer = _refusal(ApiError(*_STATUS[error.kind], str(error)), id)
        except Problem as error:  # of what is shared with ACME, such as the origin
            answer = _refusal(ApiError(error.status, "invalid_request", str(error.detail)), id)
        except Unavailable as error:
            self._log.error("the database is unavailable", why=str(error), request_id=id)
            later = {"Retry-After": "5"}
            answer = _refusal(
                ApiError(503, "unavailable", "the database does not answer at the moment", later), id
            )
        except Exception:
            self._log.failure("a request failed", operation=operation.name, request_id=id)
            answer = _refusal(ApiError(500, "internal", "the server failed; its log says why"), id)
        return self._send(request, answer)

    async def _admit(
        self, operation: Operation, request: Request, arguments: Mapping[str, str]
    ) -> Call[Any, Any]:
        caller = await self._caller(request)
        if not caller.role.includes(operation.role):
            raise ApiError(
                403,
                "forbidden",
                f"{operation.name} asks for the role {operation.role}, and {caller.name} is {caller.role}",
            )
        return Call(
            administration=self._administration,
            caller=caller,
            arguments=arguments,
            query=query(request, operation),
            body=body(request, operation),
            origin=self._origin.of(request),
            if_match=header(request, b"if-match") or None,
        )

    async def _caller(self, request: Request) -> Caller:
        """Who asks; raises ApiError if that is not known, or asks too often."""
        address, now = request.getClientAddress(), self._administration.now()
        peer = str(getattr(address, "host", ""))
        _must_not_wait(self._failed.wait(peer, now), "wrong keys came from this address")
        sent = _BEARER.match(header(request, b"authorization"))
        caller = await self._administration.api_keys.caller(sent[1]) if sent else None
        if caller is None:
            if sent:
                self._failed.spend(peer, now)
            raise ApiError(
                401, "unauthorized", "send a good API key as Authorization: Bearer <key>", CHALLENGE
            )
        _must_not_wait(
            self._asked.wait(caller.name, now), f"requests a minute: {self._per_minute} are allowed"
        )
        self._asked.spend(caller.name, now)
        return caller

    def _description(self, request: Request) -> bytes:
        return self._send(request, Answer(body=self._document))

    def _page(self, request: Request) -> bytes:
        body = human_page(OPERATIONS)
        headers = {"Content-Security-Policy": PAGE_POLICY}
        return self._send(
            request, Answer(content_type="text/html; charset=utf-8", body=body, headers=headers)
        )

    def _send(self, request: Request, answer: Answer) -> bytes:
        body = answer.send(request)
        request.responseHeaders.setRawHeaders("Cache-Control", ["no-store"])
        request.responseHeaders.setRawHeaders("X-Content-Type-Options", ["nosniff"])
        return body


def _request_id() -> str:
    return secrets.token_hex(8)


def _must_not_wait(wait: timedelta, words: str) -> None:
    if wait > timedelta(0):
        seconds = str(int(wait.total_seconds()) + 1)
        raise ApiError(429, "rate_limited", f"too many {words}", {"Retry-After": seconds})


def _answer(reply: Reply) -> Answer:
    if reply.content is not None:
        body, kind = reply.content, reply.content_type
    else:
        body, kind = (b"" if reply.status == 204 else msgspec.json.encode(reply.value)), "application/json"
    location = reply.headers.get("Location")
    headers = {name: value for name, value in reply.headers.items() if name != "Location"}
    return Answer(status=reply.status, content_type=kind, body=body, location=location, headers=headers)


def _refusal(error: ApiError, id: str) -> Answer:
    body = msgspec.json.encode(Error(error=error.error, message=error.message, request_id=id))
    return Answer(status=error.status, body=body, headers=error.headers)
