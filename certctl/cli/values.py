"""Values as operators write them: spans of time, moments, members of a policy."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(r"(?:[0-9]{1,6}[smhdw])+\Z")
_PART = re.compile(r"([0-9]+)([smhdw])")


def span(text: str) -> int:
    """The seconds of a span of time, such as 90d, 24h or 1h30m; raises click.BadParameter."""
    if not _SPAN.match(text):
        raise click.BadParameter(f"{text!r} is no duration: 90d, 24h or 1h30m would be")
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def moment(text: str) -> str:
    """A moment in RFC 3339; raises click.BadParameter.

    It is given as a date, as a time of RFC 3339, or as a span from now, such as 30d or, before now, -7d.
    """
    if _SPAN.match(text.removeprefix("-")):
        length = timedelta(seconds=span(text.removeprefix("-")))
        at = datetime.now(UTC) + (-length if text.startswith("-") else length)
        return at.isoformat(timespec="seconds")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no moment: 2027-01-31, 2027-01-31T12:00:00Z or 30d would be"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


def members(assignments: Iterable[str]) -> dict[str, Any]:
    """What ``path=value`` texts make of an empty object: each value is JSON, or else the text itself.

    Raises click.UsageError for what is no assignment.
    """
    made: dict[str, Any] = {}
    for text in assignments:
        path, equals, value = text.partition("=")
        names = path.strip().split(".")
        if not equals or not all(names):
            raise click.UsageError(f"{text!r} is no assignment: policy.max_identifiers=5 would be")
        place = made
        for name in names[:-1]:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise click.UsageError(f"{path} lies in {name}, to which another value is given")
        place[names[-1]] = _value(value)
    return made


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two objects as one; where both have a member, the other's counts."""
    both = dict(one)
    for name, value in other.items():
        mine = both.get(name)
        both[name] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return both


def identifier(text: str) -> dict[str, str]:
    """A name or an address as the API takes it."""
    try:
        return {"type": "ip", "value": str(ipaddress.ip_address(text))}
    except ValueError:
        return {"type": "dns", "value": text}


def name_policy(allow: Iterable[str], deny: Iterable[str]) -> dict[str, Any]:
    """A policy with these names; empty without any."""
    names = {"allow": list(allow), "deny": list(deny)}
    chosen = {name: entries for name, entries in names.items() if entries}
    return {"names": chosen} if chosen else {}


def confirm(question: str, yes: bool) -> None:
    """Ask before what cannot be undone; --yes says it beforehand. Raises click.Abort."""
    if not yes:
        click.confirm(question, abort=True, err=True)


def yes(function: Any) -> Any:
    """Give a command the option --yes."""
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")(function)


def most(function: Any) -> Any:
    """Give a list the option --limit."""
    option = click.option(
        "--limit",
        "limit",
        type=click.IntRange(1),
        default=200,
        show_default=True,
        help="Show at most so many.",
    )
    return option(function)
