"""The OpenAPI 3.1 document of the REST API, made from the table of its operations."""

from __future__ import annotations

import html
import inspect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from certctl import __version__
from certctl.web.api.call import Nothing
from certctl.web.api.schema import Error

if TYPE_CHECKING:
    from certctl.web.api.operation import Operation

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
VERSIONED = ("profiles/<id>", "accounts/<id>")  # what has an ETag
_REF = "#/components/schemas/{name}"
_REFUSALS = {
    400: "What was asked makes no sense; the message says what.",
    401: "No good API key was sent.",
    403: "The key's role does not include this.",
    404: "What the path names is not there.",
    409: "What was asked contradicts what is there.",
    412: "If-Match names another version than the one that is there.",
    413: "The body is too large.",
    415: "The body is not JSON by its Content-Type.",
    429: "Too many requests; Retry-After says when.",
    503: "The database does not answer; Retry-After says when to ask again.",
}


def openapi(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document (OpenAPI 3.1.0)."""
    types = [
        each for operation in operations for each in (operation.answers, operation.body) if _is_named(each)
    ]
    _, components = msgspec.json.schema_components([*dict.fromkeys(types), Error], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = "/" + operation.path.replace("<", "{").replace(">", "}")
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "certctl",
            "version": __version__,
            "description": "The REST API of operators. Accounts of ACME have their own protocol (RFC 8555).",
        },
        "servers": [{"url": "/api"}, {"url": "/api/v1"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {str(status): _response(words, Error) for status, words in _REFUSALS.items()},
        },
    }


def _is_named(type: Any) -> bool:
    return type is not None and type is not Nothing


def _operation(operation: Operation) -> dict[str, Any]:
    words = inspect.getdoc(operation.handler) or ""
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": words.partition("\n")[0],
        "tags": [operation.path.partition("/")[0]],
        "description": f"Asks for the role `{operation.role}`.",
        "parameters": [*_path_parameters(operation), *_query_parameters(operation)],
        "responses": {
            str(operation.status): _success(operation),
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in _REFUSALS},
        },
    }
    if operation.method in ("PATCH", "PUT", "DELETE") and operation.path in VERSIONED:
        described["parameters"].append({"name": "If-Match", "in": "header", "schema": {"type": "string"}})
    if operation.body is not Nothing:
        described["requestBody"] = {"required": True, "content": _json(operation.body)}
    if operation.answers is not None and operation.method == "DELETE" and operation.status == 200:
        described["responses"]["204"] = {"description": "It is gone."}
    return described


def _success(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Done."}
    if operation.answers is not None:
        answer["content"] = _json(operation.answers)
    for media in operation.media:
        answer.setdefault("content", {})[media] = {"schema": {"type": "string"}}
    return answer


def _response(words: str, type: Any) -> dict[str, Any]:
    return {"description": words, "content": _json(type)}


def _json(type: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([type], ref_template=_REF)
    return {"application/json": {"schema": schema}}


def _path_parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    for name in operation.variables:
        schema = {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[A-Za-z0-9._-]+$"}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    if operation.query is Nothing:
        return
    (reference,), components = msgspec.json.schema_components([operation.query], ref_template="{name}")
    for name, schema in components[reference["$ref"]]["properties"].items():
        resolved = components[schema["$ref"]] if "$ref" in schema else schema
        yield {"name": name, "in": "query", "required": False, "schema": resolved}


def human_page(operations: Sequence[Operation]) -> bytes:
    """A page that lists the operations for people."""
    rows = "".join(
        f"<tr><td>{each.method}<td><code>/api/{html.escape(each.path)}</code><td>{each.role}"
        f"<td>{html.escape((inspect.getdoc(each.handler) or '').partition(chr(10))[0])}"
        for each in operations
    )
    return (
        "<!DOCTYPE html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        "<title>certctl REST API</title><style>body{font:16px/1.5 sans-serif;margin:2em;color-scheme:light dark}"
        "td,th{text-align:left;padding:.2em 1em .2em 0;vertical-align:top}</style>"
        "<h1>certctl REST API</h1><p>Send an API key as <code>Authorization: Bearer &lt;key&gt;</code>. "
        "For programs: <a href=/api/openapi.json>openapi.json</a> (OpenAPI 3.1). "
        "<code>/api/v1/</code> answers the same.<table><thead><tr><th>Method<th>Path<th>Role<th>What<tbody>"
        f"{rows}</table></html>\n"
    ).encode()
