"""Templates and what they say things with. Everything that a template puts into a page is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from certctl import __version__
from certctl.web.console import words
from certctl.web.console.assets import Asset

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class Rendering:
    """Makes pages of templates."""

    def __init__(self, assets: Mapping[str, Asset]) -> None:
        self._environment = Environment(
            loader=PackageLoader("certctl.web.console"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            asset=lambda name: f"/console/static/{assets[name].path}",
            version=__version__,
            url=url,
            words=words,
        )
        self._environment.filters.update(
            time=time,
            span=span,
            pretty=pretty,
            summary=summary,
            short=short,
            names=names,
            count=count,
            zip_same=zip_same,
        )

    def page(self, template: str, **context: Any) -> bytes:
        """The octets of a page."""
        return self._environment.get_template(template).render(context).encode("utf-8", "replace")


def url(path: str, **query: Any) -> str:
    """A URL of the console; members of the query that are empty are left out."""
    members = {name: value for name, value in query.items() if value not in ("", None)}
    return f"/console/{path}" + (f"?{urlencode(members)}" if members else "")


def time(moment: datetime | None) -> str:
    """A moment, which the script puts into the viewer's zone; the exact one, in UTC, is there on hover."""
    if moment is None:
        return ""
    exact = moment.astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC">{} UTC</time>').format(
        f"{exact:%Y-%m-%dT%H:%M:%SZ}", f"{exact:%Y-%m-%d %H:%M:%S}", f"{exact:%Y-%m-%d %H:%M}"
    )


def span(length: timedelta | float) -> str:
    """A length of time in its largest unit: ``3 days``; below nothing it is ago."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else float(length)
    size, unit = next((each for each in _UNITS if abs(seconds) >= each[0]), _UNITS[-1])
    number = int(abs(seconds) // size)
    return f"{number} {unit}{'' if number == 1 else 's'}" + (" ago" if seconds < 0 else "")


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True, default=str)


def summary(details: Mapping[str, Any]) -> str:
    """The beginning of an event's details, on a line."""
    text = ", ".join(f"{name}: {_flat(value)}" for name, value in details.items())
    return text if len(text) <= 90 else f"{text[:88]}…"


def _flat(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def zip_same(values: Iterable[str]) -> list[tuple[str, str]]:
    """Values as a choice whose words are the values."""
    return [(each, each) for each in values]


def short(id: str, digits: int = 10) -> str:
    """The end of a long id, by which people tell ids apart."""
    head, _, tail = id.rpartition("-")
    return f"{head}-…{tail[-digits:]}" if len(tail) > digits + 4 else id


def names(identifiers: Sequence[Any]) -> list[str]:
    """The values of identifiers."""
    return [str(each.value) for each in identifiers]


def count(number: int) -> str:
    """A number with thin spaces between its thousands."""
    return f"{number:,}".replace(",", "\u202f")
