"""What people type into fields, as the API takes it."""

from __future__ import annotations

import re

from certctl.web.api.call import ApiError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
_SPAN = re.compile(r"([0-9]{1,9}) ?(s|m|h|d|)\Z")


def seconds(text: str, label: str) -> int:
    """A span such as ``90d``, ``12h`` or ``600`` in seconds; raises ApiError for anything else."""
    found = _SPAN.match(text.strip().lower())
    if found is None:
        raise invalid(f"{label}: write a number and a unit, such as 90d, 12h or 30m")
    return int(found[1]) * _UNITS[found[2]]


def span(number: int | None) -> str:
    """Seconds as people type them, in the largest unit that fits."""
    if number is None:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if number and number % size == 0:
            return f"{number // size}{unit}"
    return f"{number}s"


def whole(text: str, label: str) -> int:
    """A number; raises ApiError for anything else."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise invalid(f"{label}: write a whole number")
    return int(text)


def day(text: str) -> str:
    """A date as the moment at which it begins, in UTC; what has a time stays as it is."""
    return f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else text


def invalid(words: str) -> ApiError:
    """What was typed makes no sense."""
    return ApiError(400, "invalid_request", words)
