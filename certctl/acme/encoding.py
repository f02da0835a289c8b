"""The two encodings that ACME is made of, read strictly: base64url (RFC 7515 section 2), JSON (RFC 8259)."""

from __future__ import annotations

import binascii
import json
import math
from typing import Any

MAX_DEPTH = 16  # levels of objects and arrays; an ACME request has five
MAX_VALUES = 2048  # objects and arrays; an order of a hundred names has 102, and each costs time to look at
MAX_NUMBER = 32  # characters of a JSON number; 2^64 has 20
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")  # the letters that are not base64url's become nobody's
_TO_URL = bytes.maketrans(b"+/", b"-_")


def base64url(data: bytes) -> str:
    """Return ``data`` in base64url without padding (RFC 7515 section 2)."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """Return the octets that ``text`` stands for; raise ValueError unless it is their one encoding.

    Padding, letters outside the alphabet and trailing bits that are not zero are refused (RFC 4648 section
    3.5), so that nothing which was signed or hashed can be spelled in two ways.
    """
    try:
        standard = text.encode("ascii").translate(_TO_STANDARD) + b"=" * (-len(text) % 4)
        data = binascii.a2b_base64(standard)
    except ValueError:  # UnicodeEncodeError and binascii.Error among them
        raise ValueError("not base64url without padding") from None
    if binascii.b2a_base64(data, newline=False) != standard:
        raise ValueError("not base64url without padding, in its one canonical form")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice in an object")
    return members


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER:
        raise ValueError("a number is too long")
    return int(text)


def _fraction(text: str) -> float:
    number = float(text) if len(text) <= MAX_NUMBER else math.inf
    if not math.isfinite(number):
        raise ValueError("a number is too large or too long")
    return number


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)


def json_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in ``data``; raise ValueError, worded for the client, if it is anything else.

    UTF-8 without a byte order mark; no member twice (RFC 7515 section 4), no NaN or Infinity, no numbers
    without bound, no more than MAX_DEPTH levels and MAX_VALUES objects and arrays, and only strings that can
    be stored: no U+0000, no lone surrogates.
    """
    containers = data.count(b"{") + data.count(b"[")
    if containers > MAX_VALUES:
        raise ValueError(f"the JSON has more than {MAX_VALUES} objects and arrays")
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("the JSON is not in UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    # Without an escape there is no bad string, without many brackets no depth: few requests need the walk.
    if b"\\u" in data or containers > MAX_DEPTH:
        _inspect(value, MAX_DEPTH)
    return value


def _too_deep() -> ValueError:
    return ValueError(f"the JSON has more than {MAX_DEPTH} levels")


def _inspect(value: object, levels: int) -> None:
    """Raise ValueError if ``value`` has more than ``levels`` levels or a string that cannot be stored."""
    if isinstance(value, str):
        if not _storable(value):
            raise ValueError("a string holds U+0000 or half of a surrogate pair")
        return
    if not isinstance(value, dict | list):
        return
    if not levels:
        raise _too_deep()
    for each in value:  # the members' names of an object
        _inspect(each, levels - 1)
    if isinstance(value, dict):
        for each in value.values():
            _inspect(each, levels - 1)


def _storable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in text
