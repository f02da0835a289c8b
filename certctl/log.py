"""How events are written: one line of text, or one JSON object, for each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from twisted.application.service import IServiceCollection
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import provider


def fields(event: LogEvent) -> dict[str, Any]:
    """What the event says beside its text."""
    return {
        name: value for name, value in event.items() if not name.startswith("log_") and name not in _LEGACY
    }


_LEGACY = frozenset({"isError", "message", "time", "format", "failure", "system", "event", "log_legacy"})


def _parts(event: LogEvent) -> tuple[str, str, str, str | None]:
    moment = (
        datetime.fromtimestamp(event["log_time"], UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
    level = event.get("log_level", LogLevel.info).name
    failure = event.get("log_failure")
    said = event.get("log_format") or ""
    text = said if said and "{" not in said else formatEvent(event)
    if not text and failure is not None:
        text = str(failure.value)
    return moment, level, text, failure.getTraceback() if failure is not None else None


_encode = json.JSONEncoder(default=str).encode
_encode_densely = json.JSONEncoder(
    default=str, separators=(",", ":")
).encode  # a field without a space needs no quotes


def as_json(event: LogEvent) -> str:
    """One JSON object: time, level, event, then the event's own fields."""
    moment, level, text, traceback = _parts(event)
    value = {"time": moment, "level": level, "event": text, **fields(event)}
    if traceback is not None:
        value["traceback"] = traceback
    return _encode(value) + "\n"


def as_text(event: LogEvent) -> str:
    """One line: time, level, event, then ``name=value`` for each field; a traceback follows below."""
    moment, level, text, traceback = _parts(event)
    said = event.get("log_format") or ""  # a field that stands in the text need not be told again
    told = "".join(
        f" {name}={_plain(value)}" for name, value in fields(event).items() if f"{{{name}}}" not in said
    )
    below = "".join(
        f"  | {line}\n" for line in (traceback or "").splitlines()
    )  # which begin as no event does
    return f"{moment} {level:<5} {_one_line(text)}{told}\n{below}"


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        text = ",".join(map(str, value))
    else:
        text = _encode_densely(value) if isinstance(value, dict) else str(value)
    return json.dumps(text) if " " in text or not text.isprintable() else text


def _one_line(text: str) -> str:
    """What clients sent may stand in an event, and must not begin a line of its own."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def observer(stream: TextIO, format: Callable[[LogEvent], str], level: str) -> ILogObserver:
    """An observer that writes events of at least a level."""
    least = _SEVERITY[LogLevel.levelWithName(level)]

    @provider(ILogObserver)  # or Twisted would translate each event for an observer of the old kind
    def write(event: LogEvent) -> None:
        severity = _SEVERITY[event.get("log_level", LogLevel.info)]
        # Twisted's protocols and factories say when they start and stop, at the level of our state changes.
        ours = event.get("log_namespace", "").startswith("certctl")
        if severity >= (least if ours else max(least, _SEVERITY[LogLevel.warn])):
            stream.write(format(event))
            stream.flush()

    observing: ILogObserver = write
    return observing


def take_over(application: Any, format: str, level: str, **always: Any) -> None:
    """Have twistd's application write events to standard output so; ``always`` are fields of each.

    Nothing is done for a service that is not the application itself.
    """
    if IServiceCollection.providedBy(application) or not hasattr(application, "setComponent"):
        return
    plain = as_json if format == "json" else as_text
    told = (lambda event: plain({**event, **always})) if always else plain
    application.setComponent(ILogObserver, observer(sys.stdout, told, level))


_SEVERITY = {level: number for number, level in enumerate(LogLevel.iterconstants())}  # debug first
