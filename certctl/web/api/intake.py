"""What an operation is asked, read as it declares it; what is anything else is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect
from twisted.web.server import Request

from certctl.web.api.call import ApiError, Nothing
from certctl.web.api.operation import Operation

BODIES = ("application/json", "application/merge-patch+json")
_JSON_ALONE = "send JSON, and say so: with curl by -H 'Content-Type: application/json'"
_NUMBER = re.compile(r"-?[0-9]{1,18}\Z")
_TRUTH = {"true": True, "false": False}


def header(request: Request, name: bytes) -> str:
    """The last header of that name, empty if there is none."""
    return request.requestHeaders.getRawHeaders(name, [b""])[-1].decode("latin-1").strip()


def body(request: Request, operation: Operation) -> Any:
    """The body as the operation declares it; raises ApiError for any other."""
    if getattr(request, "too_large", False):
        raise ApiError(413, "too_large", "the request's body is too large: 64 KiB are allowed")
    sent = b"" if request.content is None else bytes(request.content.read())
    if operation.body is Nothing:
        if sent.strip() not in (b"", b"{}"):
            raise _invalid(f"{operation.name} takes no body")
        return Nothing()
    if header(request, b"content-type").partition(";")[0].strip().lower() not in BODIES:
        raise ApiError(415, "unsupported_media_type", _JSON_ALONE)
    return document(sent, operation)


def document(sent: bytes, operation: Operation) -> Any:
    """JSON as the operation's body declares it; raises ApiError for any other."""
    if b"\\u0000" in sent:
        raise _invalid("no text has a character NUL in it")
    return _read(lambda: msgspec.json.decode(sent, type=operation.body), "the body")


def query(request: Request, operation: Operation) -> Any:
    """The query as the operation declares it; raises ApiError for any other."""
    fields: dict[str, str] = {}
    for name, values in (request.args or {}).items():
        try:
            fields[name.decode("utf-8")] = values[-1].decode("utf-8")
        except UnicodeDecodeError:
            raise _invalid("the query is not UTF-8") from None
        if len(values) > 1:
            raise _invalid(f"the query has {name.decode()!r} more than once")
    return members(fields, operation)


def members(fields: Mapping[str, str], operation: Operation) -> Any:
    """Parameters as the operation's query declares them; raises ApiError for any other."""
    if any("\0" in value for value in fields.values()):
        raise _invalid("no text has a character NUL in it")
    kinds = _kinds(operation.query)
    values_ = {name: _value(text, kinds.get(name, str)) for name, text in fields.items()}
    return _read(lambda: msgspec.convert(values_, type=operation.query), "the query")


@cache
def _kinds(struct: type[msgspec.Struct]) -> dict[str, type]:
    """Which members of a query are numbers and which are true or false; all others are text."""
    found: dict[str, type] = {}
    described = inspect.type_info(struct)
    assert isinstance(described, inspect.StructType)
    for field in described.fields:
        types = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
        for each in types:
            if isinstance(each, inspect.IntType | inspect.BoolType):
                found[field.encode_name] = int if isinstance(each, inspect.IntType) else bool
    return found


def _value(text: str, kind: type) -> Any:
    """The number or the truth that a text stands for, or the text if it is neither and will be refused."""
    if kind is int and _NUMBER.match(text):
        return int(text)
    return _TRUTH.get(text, text) if kind is bool else text


def _read(reading: Callable[[], Any], what: str) -> Any:
    try:
        found = reading()
        _to_utc(found)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError, OverflowError) as error:
        raise _invalid(f"{what}: {str(error)[:300]}") from None
    return found


def _to_utc(document: msgspec.Struct) -> None:
    """Put times into UTC, as not every database knows every offset; raise OverflowError at either end of all time."""
    for name in document.__struct_fields__:
        value = getattr(document, name)
        if isinstance(value, datetime):
            setattr(document, name, value.astimezone(UTC))
        elif isinstance(value, msgspec.Struct):
            _to_utc(value)


def _invalid(words: str) -> ApiError:
    return ApiError(400, "invalid_request", words)
