"""The one point that every request to the REST API passes: it is admitted, read, handled, answered."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.server import Request
from werkzeug.routing import BaseConverter

from certctl.acme.problems import Problem
from certctl.authority.operators import Caller
from certctl.background import Background
from certctl.storage.database import Unavailable
from certctl.web.answer import Answer
from certctl.web.api.call import ApiError, Call, Reply
from certctl.web.api.door import Door
from certctl.web.api.intake import body, header, query
from certctl.web.api.openapi import PAGE_POLICY, human_page, openapi
from certctl.web.api.operation import Operation
from certctl.web.api.schema import Error
from certctl.web.api.table import OPERATIONS
from certctl.web.origin import Origin

PREFIXES = ("/api/v1/", "/api/")
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="certctl"'}  # RFC 6750 section 3
_BEARER = re.compile(r"Bearer +([\x21-\x7e]{1,1000})\Z", re.IGNORECASE)


_WORDS = {second for _, second, *_ in (f"{each.path}//".split("/") for each in OPERATIONS)} - {"", "<id>"}


class _Id(BaseConverter):
    """The id in a path, which is none of the words that stand in its place elsewhere."""

    regex = rf"(?!(?:{'|'.join(sorted(_WORDS))})(?:/|\Z))[^/]+"


class ApiDispatch:
    """Serves the operations of the REST API, and the document that describes them."""

    _log = Logger(namespace="certctl")

    def __init__(self, door: Door, origin: Origin, background: Background) -> None:
        self._door = door
        self._origin = origin
        self._background = background

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
            call = await self._admit(operation, request, arguments)
            answer = _answer(await self._door.carry_out(operation, call))
        except ApiError as error:
            answer = _refusal(error, id)
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
        self._door.must_include(operation, caller)
        return Call(
            administration=self._door.administration,
            caller=caller,
            arguments=arguments,
            query=query(request, operation),
            body=body(request, operation),
            origin=self._origin.of(request),
            if_match=header(request, b"if-match") or None,
        )

    async def _caller(self, request: Request) -> Caller:
        """Who asks; raises ApiError if that is not known, or asks too often."""
        peer = str(getattr(request.getClientAddress(), "host", ""))
        self._door.must_not_guess(peer)
        sent = _BEARER.match(header(request, b"authorization"))
        caller = await self._door.administration.api_keys.caller(sent[1]) if sent else None
        if caller is None:
            if sent:
                self._door.guessed(peer)
            raise ApiError(
                401, "unauthorized", "send a good API key as Authorization: Bearer <key>", CHALLENGE
            )
        self._door.admit(caller)
        return caller

    def _description(self, request: Request) -> bytes:
        return self._send(request, Answer(body=_document()))

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


@cache
def _document() -> bytes:
    """The description, which takes a tenth of a second to make."""
    return msgspec.json.encode(openapi(OPERATIONS))


def _request_id() -> str:
    return secrets.token_hex(8)


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
