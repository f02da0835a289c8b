"""The kinds of value a setting may have: how each is written, read, and described to who wrote it wrong.

A parser gets text that is not empty and has no white space around it, and raises ValueError for what is not
allowed. Its message is not used: the kind's ``allowed`` says what would have been right.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

import attrs

from certctl.acme.common_names import MAX_COMMON_NAME, is_common_name
from certctl.acme.identifiers import dns_name

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
SocketAddress = tuple[str, int]  # IP address and port

SQLITE_SCHEME = "sqlite:///"
POSTGRES_SCHEMES = ("postgresql://", "postgres://")
_UNITS = {  # of Go's time.ParseDuration, in microseconds
    "ns": Fraction(1, 1000),
    "us": Fraction(1),
    "µs": Fraction(1),  # micro sign
    "μs": Fraction(1),  # Greek mu; Go reads both
    "ms": Fraction(1000),
    "s": Fraction(10**6),
    "m": Fraction(60 * 10**6),
    "h": Fraction(3600 * 10**6),
}
_DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)"
_ORIGIN = re.compile(rf"https://({_HOST})(?::([0-9]{{1,5}}))?/?")
_PROFILE_ID = re.compile(r"prof-[A-Za-z0-9][A-Za-z0-9._-]{0,58}")
_NAMED_KEY = re.compile(r"[^:\s]+:[^:\s]+(:admin)?")


@attrs.frozen(kw_only=True)
class Kind(Generic[T]):
    """How the values of a setting are written."""

    name: str  # for the documentation's table
    allowed: str  # completes "... must be ..."
    parse: Callable[[str], T]
    render: Callable[[T], str]
    is_url: bool = False


def optional(kind: Kind[T]) -> Kind[T | None]:
    """Return ``kind`` for a setting that may be left empty, which gives None."""
    return Kind(
        name=kind.name,
        allowed=kind.allowed,
        parse=kind.parse,
        render=lambda value: "" if value is None else kind.render(value),
        is_url=kind.is_url,
    )


def comma_list(kind: Kind[T]) -> Kind[tuple[T, ...]]:
    """Return the kind of a comma-separated list; white space around items and empty items do not count."""
    return Kind(
        name=f"list of {kind.name}",
        allowed=f"a comma-separated list, each item {kind.allowed}",
        parse=lambda text: tuple(kind.parse(item.strip()) for item in text.split(",") if item.strip()),
        render=lambda values: ",".join(map(kind.render, values)),
    )


def one_of(values: type[E]) -> Kind[E]:
    """Return the kind whose values are the members of an enumeration, in any case of letters."""
    names = [member.value for member in values]
    return Kind(
        name=_alternatives([f"`{name}`" for name in names]),
        allowed=_alternatives(names),
        parse=lambda text: values(text.lower()),
        render=lambda value: value.value,
    )


def _alternatives(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1]


def integer(minimum: int, maximum: int) -> Kind[int]:
    """Return the kind of a whole number from ``minimum`` to ``maximum``, in decimal digits."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,12}", text):
            raise ValueError
        return _within(int(text), minimum, maximum)

    return Kind(
        name=f"integer, {minimum} to {maximum}",
        allowed=f"a whole number from {minimum} to {maximum}",
        parse=parse,
        render=str,
    )


def duration(minimum: timedelta, maximum: timedelta) -> Kind[timedelta]:
    """Return the kind of a Go duration from ``minimum`` to ``maximum``."""
    limits = f"{format_duration(minimum)} to {format_duration(maximum)}"
    return Kind(
        name=f"duration, {limits}",
        allowed=f"a duration such as 5m, 1h30m or 500ms, from {limits}",
        parse=lambda text: _within(parse_duration(text), minimum, maximum),
        render=format_duration,
    )


def parse_duration(text: str) -> timedelta:
    """Return the duration that ``text`` spells in Go's syntax, without a sign; raise ValueError if none."""
    parts = _DURATION_PART.findall(text)
    if text != "0" and (not parts or "".join(map("".join, parts)) != text):
        raise ValueError("not a duration")
    microseconds = sum(Fraction(number.removesuffix(".")) * _UNITS[unit] for number, unit in parts)
    try:
        return timedelta(microseconds=round(microseconds))
    except OverflowError:
        raise ValueError("too long") from None


def format_duration(value: timedelta) -> str:
    """Return ``value`` as one would write it: `24h`, `1h30m`, `500ms`."""
    rest = value // timedelta(microseconds=1)
    text = ""
    for unit in ("h", "m", "s", "ms", "us"):
        count, rest = divmod(rest, int(_UNITS[unit]))
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _within(value: T, minimum: T, maximum: T) -> T:
    if not minimum <= value <= maximum:  # type: ignore[operator]
        raise ValueError("out of range")
    return value


def _boolean(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "yes":
            return True
        case "false" | "0" | "no":
            return False
    raise ValueError("neither true nor false")


def _power_of_two(text: str) -> int:
    number = integer(1, 64).parse(text)
    if number & (number - 1):
        raise ValueError("not a power of two")
    return number


def _listening_address(text: str) -> str:
    return "127.0.0.1" if text.lower() == "localhost" else str(ipaddress.ip_address(text))


def _name_or_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return dns_name(text).value


def _socket_address(text: str, default_port: int) -> SocketAddress:
    """Read `address`, `address:port` or `[address]:port`; a bare IPv6 address needs no brackets."""
    try:
        return str(ipaddress.ip_address(text.strip("[]"))), default_port
    except ValueError:
        host, _, port = text.rpartition(":")
        return str(ipaddress.ip_address(host.strip("[]"))), PORT.parse(port)


def _format_socket_address(value: SocketAddress) -> str:
    host, port = value
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _origin(text: str) -> str:
    found = _ORIGIN.fullmatch(text)
    if not found:
        raise ValueError("not an origin")
    host, port = found.groups()
    if host.startswith("["):
        host = f"[{ipaddress.IPv6Address(host[1:-1])}]"
    else:
        host = _name_or_address(host)
    return f"https://{host}:{PORT.parse(port)}" if port else f"https://{host}"


def _web_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not re.fullmatch("[!-~]+", text):
        raise ValueError("not a URL of the web")
    return text


def _database_url(text: str) -> str:
    scheme = next((each for each in (SQLITE_SCHEME, *POSTGRES_SCHEMES) if text.startswith(each)), None)
    if scheme is None or text == scheme or (scheme != SQLITE_SCHEME and not re.fullmatch("[!-~]+", text)):
        raise ValueError("neither engine's URL")
    return text


def _fingerprint(text: str) -> str:
    digits = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise ValueError("not a fingerprint")
    return digits


def _common_name(text: str) -> str:
    if not is_common_name(text):
        raise ValueError("not a common name")
    return text


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError("does not match")
        return text

    return parse


BOOLEAN = Kind(
    name="boolean", allowed="true, false, 1, 0, yes or no", parse=_boolean, render=lambda on: str(on).lower()
)
PORT = integer(1, 65535)
POWER_OF_TWO = Kind(
    name="power of two, 1 to 64", allowed="1, 2, 4, 8, 16, 32 or 64", parse=_power_of_two, render=str
)
PATH = Kind(name="path", allowed="a path", parse=Path, render=str)
LISTENING_ADDRESS = Kind(
    name="IP address",
    allowed="an IP address such as 127.0.0.1, 0.0.0.0 (all of IPv4) or :: (all addresses)",
    parse=_listening_address,
    render=str,
)
DNS_NAME = Kind(
    name="DNS name",
    allowed="a DNS name such as ca.example.com",
    parse=lambda text: dns_name(text).value,
    render=str,
)
NAME_OR_ADDRESS = Kind(
    name="DNS name or IP address",
    allowed="a DNS name or an IP address",
    parse=_name_or_address,
    render=str,
)
RESOLVER = Kind(
    name="address and port",
    allowed="an IP address with or without a port, such as 192.0.2.53:53 or [2001:db8::53]:53",
    parse=lambda text: _socket_address(text, 53),
    render=_format_socket_address,
)
NETWORK: Kind[IPNetwork] = Kind(
    name="network",
    allowed="a network such as 10.0.0.0/8 or fd00::/8, no address bits after the prefix",
    parse=ipaddress.ip_network,
    render=str,
)
ORIGIN = Kind(
    name="URL",
    allowed="https://host or https://host:port, without a path",
    parse=_origin,
    render=str,
    is_url=True,
)
WEB_URL = Kind(name="URL", allowed="an http:// or https:// URL", parse=_web_url, render=str, is_url=True)
DATABASE_URL = Kind(
    name="URL",
    allowed="empty (SQLite in the state directory), sqlite:///path or postgresql://user@host/database",
    parse=_database_url,
    render=str,
    is_url=True,
)
FINGERPRINT = Kind(
    name="SHA-256 fingerprint",
    allowed="a SHA-256 fingerprint, 64 hexadecimal digits with or without colons",
    parse=_fingerprint,
    render=str,
)
COMMON_NAME = Kind(
    name="text",
    allowed=f"printable text of 1 to {MAX_COMMON_NAME} octets in UTF-8",
    parse=_common_name,
    render=str,
)
PROFILE_ID = Kind(
    name="profile id",
    allowed="the id of a profile, prof- followed by letters, digits, dots, hyphens and underscores",
    parse=_matching(_PROFILE_ID),
    render=str,
)
API_KEY = Kind(
    name="API key",
    allowed="a key without white space",
    parse=_matching(re.compile(r"\S+")),
    render=str,
)
NAMED_API_KEY = Kind(
    name="`name:key` or `name:key:admin`",
    allowed="name:key or name:key:admin, without white space",
    parse=_matching(_NAMED_KEY),
    render=str,
)
