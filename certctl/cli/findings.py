"""What ``certctl doctor`` finds: a line each, with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum

import attrs

from certctl.cli.output import Output


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@attrs.frozen
class Finding:
    """One thing that was looked at."""

    level: Level
    check: str
    message: str
    remedy: str = ""


def ok(check: str, message: str) -> Finding:
    """It is as it should be."""
    return Finding(Level.OK, check, message)


def warn(check: str, message: str, remedy: str) -> Finding:
    """It works, and the operator should know."""
    return Finding(Level.WARN, check, message, remedy)


def fail(check: str, message: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(Level.FAIL, check, message, remedy)


def each_of(check: str, *looks: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What several looks find; one that stumbles is a finding, and no reason to end."""
    for look in looks:
        try:
            yield from look()
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            yield fail(check, f"{where}{error.strerror or error}", "run this as root, on the server's host")


def tell(output: Output, found: list[Finding]) -> None:
    """Say what was found."""
    if output.as_json:
        failed = any(each.level is Level.FAIL for each in found)
        output.json({"ok": not failed, "findings": [attrs.asdict(each) for each in found]})
        return
    for each in found:
        output.line(each.level, f"{each.check}: {each.message}")
        if each.remedy:
            output.line("", f"  {each.remedy}")
