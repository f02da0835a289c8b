"""Identifiers (RFC 8555 section 9.7.7, RFC 8738) in their one canonical form.

A name is normalised once, here, and compared only in that form afterwards: lower case, no trailing dot,
A-labels as they came, if they are no disguise. An address is the text that RFC 5952 (or a dotted quad) gives.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import attrs

from certctl.acme import idn

MAX_NAME = 253  # characters of a DNS name without the trailing dot (RFC 1035 section 2.3.4)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")  # RFC 1123 section 2.1
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")  # such a last label makes an address of a name in URLs
_ALPHABET = re.compile(r"[A-Za-z0-9.*-]+\Z")  # before folding: str.lower() would turn KELVIN SIGN into "k"


class IdentifierType(StrEnum):
    """What an identifier names: a DNS name or an IP address."""

    DNS = "dns"
    IP = "ip"


class IdentifierError(ValueError):
    """Text that is not an identifier; the message is worded for the client."""


class UnsupportedIdentifier(IdentifierError):
    """An identifier of a type that this server does not issue for."""


@attrs.frozen(order=True)
class Identifier:
    """A DNS name (``*.`` in front for a wildcard) or an IP address, always in canonical form."""

    type: IdentifierType
    value: str

    @property
    def wildcard(self) -> bool:
        """Whether this is a wildcard name."""
        return self.value.startswith("*.")

    @property
    def base(self) -> Identifier:
        """The identifier that an authorization carries: without the ``*.`` (RFC 8555 section 7.1.4)."""
        return Identifier(self.type, self.value[2:]) if self.wildcard else self

    def document(self) -> dict[str, str]:
        """Render as an RFC 8555 identifier object."""
        return {"type": self.type.value, "value": self.value}


def dns_name(text: str) -> Identifier:
    """Return the DNS identifier that ``text`` spells; raise IdentifierError with what is wrong."""
    if not _ALPHABET.match(text):
        raise IdentifierError("a DNS name has letters, digits, hyphens and dots alone (IDNs as A-labels)")
    name = text.lower().removesuffix(".")
    if len(name) > MAX_NAME:
        raise IdentifierError(f"a DNS name has {MAX_NAME} characters at most")
    labels = name.removeprefix("*.").split(".")
    for label in labels:
        _check_label(label)
    if any(label[2:4] == "--" for label in labels):
        _check_idn(labels)
    if _NUMBER.match(labels[-1]):
        raise IdentifierError("the last label is a number: an address is an identifier of type ip")
    if name.startswith("*.") and len(labels) < 2:
        raise IdentifierError("a wildcard needs two labels after the asterisk at least")
    return Identifier(IdentifierType.DNS, name)


def _check_label(label: str) -> None:
    if not label:
        raise IdentifierError("a label is empty")
    if not _LABEL.match(label):
        if "*" in label:
            raise IdentifierError("an asterisk stands only alone, as the whole first label")
        raise IdentifierError("a label has 1 to 63 letters, digits and inner hyphens")


def _check_idn(labels: Sequence[str]) -> None:
    try:
        idn.check_name(labels)
    except idn.IdnError as error:
        raise IdentifierError(str(error)) from None


def ip_address(text: str) -> Identifier:
    """Return the IP identifier that ``text`` spells (RFC 8738 section 3); raise IdentifierError if none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise IdentifierError("not an IP address") from None
    if str(address) != text or "%" in text:
        raise IdentifierError("an IP address is written in its canonical form (RFC 8738 section 3)")
    if (
        isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped
    ):  # Pythons differ on its canonical form
        raise IdentifierError("an IPv4-mapped address is an IPv4 address, and written as one")
    return Identifier(IdentifierType.IP, text)


def identifier(value: Any) -> Identifier:
    """Return the identifier of a decoded JSON object; raise IdentifierError or UnsupportedIdentifier."""
    if not isinstance(value, Mapping) or not isinstance(value.get("value"), str):
        raise IdentifierError("an identifier is an object with the members type and value")
    match value.get("type"):
        case "dns":
            return dns_name(value["value"])
        case "ip":
            return ip_address(value["value"])
        case _:
            raise UnsupportedIdentifier("identifiers are of type dns or ip here")
