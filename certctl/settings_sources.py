"""Where settings come from: the environment, and a file in the syntax of systemd's EnvironmentFile."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

PREFIX = "CERTCTL_"
SETTINGS_FILE = "CERTCTL_SETTINGS_FILE"
# In a shell from which both the server and the operator's requests are started, these are the operator's.
OPERATORS_OWN = frozenset({SETTINGS_FILE, "CERTCTL_API_KEY", "CERTCTL_SERVER_URL", "CERTCTL_CA_BUNDLE"})

# Kubernetes tells each container where the services of its namespace are, under names made from theirs:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_LINK_VALUE = re.compile(r"(?:tcp|udp|sctp)://[^/]+:[0-9]+")
_SERVICE_LINK_NAME = re.compile(
    r"\w+_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SKIPPED = re.compile(r"(?:\s|[#;][^\n]*)+")  # systemd before 254 lets a backslash continue a comment
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
_SINGLE_QUOTED = re.compile(r"'([^']*)'[ \t]*")
_DOUBLE_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"[ \t]*', re.DOTALL)
_PLAIN = re.compile(r"(?:\\.|[^\\\n])+", re.DOTALL)


class SettingsError(Exception):
    """A setting that stops the start; the message is one sentence for the operator."""


def read_settings_file(path: Path) -> dict[str, str]:
    """Return the variables that the file at ``path`` sets; raise SettingsError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"The settings file {path} is not UTF-8 text.") from None
    try:
        return dict(parse_environment_file(text))
    except ValueError as error:
        raise SettingsError(f"The settings file {path} cannot be understood: {error}.") from None


def parse_environment_file(text: str) -> Iterator[tuple[str, str]]:
    """Yield names and values in the file's order (man 5 systemd.exec); raise ValueError that names the line.

    No message repeats the line, which may hold a secret.
    """
    text = text.replace("\r\n", "\n")
    position = _skip(text, 0)
    while position < len(text):
        line = text.count("\n", 0, position) + 1
        name = _NAME.match(text, position)
        if not name:
            raise ValueError(f"line {line} is neither NAME=value nor a comment")
        value, position = _value(text, name.end(), line)
        yield name[1], value
        position = _skip(text, position)


def _skip(text: str, position: int) -> int:
    skipped = _SKIPPED.match(text, position)
    return skipped.end() if skipped else position


def _value(text: str, position: int, line: int) -> tuple[str, int]:
    """Return the value that starts at ``position`` and where it ends: quoted pieces, then plain text."""
    value = ""
    while position < len(text) and text[position] in "'\"":
        single = text[position] == "'"
        quoted = (_SINGLE_QUOTED if single else _DOUBLE_QUOTED).match(text, position)
        if not quoted:
            raise ValueError(f"a quote that opens in line {line} is never closed")
        value += quoted[1] if single else re.sub(r'\\(?:\n|(["\\`$]))', r"\1", quoted[1])
        position = quoted.end()
    plain = _PLAIN.match(text, position)
    if plain:
        value += re.sub(r"\\(.)", _unescaped, plain[0].rstrip(" \t"), flags=re.DOTALL)
        position = plain.end()
    return value, position


def _unescaped(found: re.Match[str]) -> str:
    return "" if found[1] == "\n" else found[1]


def nearest(name: str, known: Collection[str]) -> str:
    """Return the known name that is most like ``name``."""
    return get_close_matches(name, known, n=1, cutoff=0.0)[0]


def refuse_unknown(names: Collection[str], known: Collection[str], path: Path) -> None:
    """Raise SettingsError for the first of a file's names that was meant for certctl, and is unknown.

    Other programs' variables may stand in the same file; what is nearly a known name is a slip of the pen.
    """
    for name in names:
        folded = name.upper()
        meant = folded.startswith(PREFIX) or get_close_matches(folded, known, n=1, cutoff=0.9)
        if meant and name not in known:
            raise SettingsError(
                f"{name} in {path} is not a setting of certctl; the nearest one is {nearest(folded, known)}."
            )


def split_environment(
    environ: Mapping[str, str], known: Collection[str], urls: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the settings that the environment makes, and a warning for whatever else is named like one.

    Unlike in a file, an unknown name does not stop the start: Kubernetes puts such names there by itself.
    """
    settings: dict[str, str] = {}
    links: list[str] = []
    warnings: list[str] = []
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name in OPERATORS_OWN:
            continue
        if name not in urls and _SERVICE_LINK_VALUE.fullmatch(value):
            links.append(name)
        elif name in known:
            settings[name] = value
        elif _SERVICE_LINK_NAME.fullmatch(name):
            links.append(name)
        else:
            warnings.append(
                f"{name} in the environment is not a setting of certctl and is ignored; "
                f"the nearest one is {nearest(name, known)}."
            )
    if links:
        warnings.append(_service_link_warning(sorted(links)))
    return settings, warnings


def _service_link_warning(names: list[str]) -> str:
    listed = ", ".join(names)
    return (
        f"Ignored, because Kubernetes made them from the names of services (service links): {listed}; "
        "set enableServiceLinks: false in the pod's specification."
    )


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Return systemd's state directory, else this platform's place for a program's data."""
    from_systemd = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if from_systemd:
        return Path(from_systemd)
    if os.geteuid() == 0:
        return Path("/var/lib/certctl")
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    if sys.platform == "darwin":
        return home / "Library/Application Support/certctl"
    return Path(environ.get("XDG_DATA_HOME") or home / ".local/share") / "certctl"


def credential(environ: Mapping[str, str], name: str) -> Path | None:
    """Return the file of a credential that systemd hands to the service (systemd.exec(5)); None if it does not."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(directory) / name if directory else None
    return path if path is not None and path.exists() else None
