"""An order's story in words: what each event of the trail about it says to people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import attrs

from certctl.web.console import words


@attrs.frozen
class Line:
    """A line beside an event; ``seen`` is what came from the network, letter for letter."""

    label: str
    text: str
    seen: bool = False


@attrs.frozen
class Scene:
    """An event in words."""

    at: datetime
    actor: str
    title: str
    tone: str = ""  # good, bad or none
    lines: tuple[Line, ...] = ()


_TITLES = {
    "acme_order_created": "Ordered",
    "acme_order_finalized": "Certificate issued",
    "acme_order_expired": "The order expired",
    "acme_authorization_created": "Authorized beforehand",
    "acme_authorization_deactivated": "The client gave an authorization up",
    "acme_challenge_processing": "The client asked to be validated",
    "certificate_revoked": "Certificate revoked",
    "certificate_revocation_refused": "A revocation was refused",
    "acme_order_refused": "Refused",
}
_TONES = {
    "acme_order_finalized": "good",
    "certificate_revoked": "bad",
    "acme_order_expired": "bad",
    "acme_order_refused": "bad",
}


def told(events: Iterable[Any]) -> list[Scene]:
    """Events, as the API has them, as scenes in their order; what was tried and failed comes before its end."""
    return sorted((scene for each in events for scene in _scenes(each)), key=lambda scene: scene.at)


def _scenes(event: Any) -> Iterable[Scene]:
    details = event.details
    if event.action == "acme_challenge_completed":
        for each in details.get("tries", ()):
            seen = (Line("", str(each.get("error", "")), seen=True),)
            at = datetime.fromisoformat(str(each["at"]))
            yield Scene(at, "certctl", f"{_what(details)} failed, and is tried again", "warn", seen)
        yield _validated(event)
        return
    lines = tuple(_lines(event.action, details))
    title = _TITLES.get(event.action, event.action)
    if event.action == "acme_challenge_processing":
        title = f"The client asked to have {_what(details)} validated"
    yield Scene(event.created_at, event.actor, title, _TONES.get(event.action, ""), lines)


def _what(details: Mapping[str, Any]) -> str:
    return f"{details.get('identifier', 'the name')} by {details.get('type', 'a challenge')}"


def _validated(event: Any) -> Scene:
    details = event.details
    error = details.get("error")
    if isinstance(error, Mapping):
        judged = words.problem(str(error.get("type", "")))
        why = Line("judged", judged), Line("", str(error.get("detail", "")), seen=True)
        return Scene(event.created_at, "certctl", f"{_what(details)} failed", "bad", why)
    seen = (("dialled", "address"), ("answered at", "url"), ("seen", "seen"))
    lines = tuple(Line(label, str(details[name]), seen=True) for label, name in seen if details.get(name))
    return Scene(event.created_at, "certctl", f"{_what(details)} succeeded", "good", lines)


def _lines(action: str, details: Mapping[str, Any]) -> Iterable[Line]:
    for label, name in (
        ("mode", "mode"),
        ("allowed by", "rule"),
        ("serial", "serial"),
        ("why", "why"),
        ("reason", "reason"),
    ):
        if isinstance(value := details.get(name), str) and value:
            yield Line(label, value)
        elif isinstance(value, Mapping) and action == "acme_order_created":
            yield Line(label, "; ".join(f"{key}: {each}" for key, each in value.items()))
