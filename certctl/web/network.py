"""From which network a request comes: what is counted of those who have no account yet."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from twisted.web.server import Request

PREFIX = 64  # bits of an IPv6 address that a subnet has (RFC 4291 section 2.5.4); a host has all of it to choose from
UNKNOWN = "unknown"  # of a peer that has no address

Address = IPv4Address | IPv6Address


class Networks:
    """Tells networks apart, in front of which proxies may stand."""

    def __init__(self, proxies: Sequence[IPv4Network | IPv6Network]) -> None:
        """Of ``proxies`` it is believed from whom they have a request (X-Forwarded-For); of nobody else."""
        self._proxies = proxies

    def of(self, request: Request) -> str:
        """An IPv4 address, or an IPv6 network of 64 bits."""
        address = _address(getattr(request.getClientAddress(), "host", ""))
        if address is None:
            return UNKNOWN
        if self._proxies:
            address = self._behind(address, request)
        return str(IPv6Network((address, PREFIX), strict=False) if address.version == 6 else address)

    def _behind(self, address: Address, request: Request) -> Address:
        """Who stands behind the proxies that are believed: each adds at the end from whom it has the request."""
        listed = ",".join(request.requestHeaders.getRawHeaders("x-forwarded-for", [])).split(",")
        while listed and any(address in each for each in self._proxies):
            before = _address(listed.pop())
            if before is None:
                break
            address = before
        return address


def _address(text: str) -> Address | None:
    """An address as it is written in a header, perhaps with a port; IPv4 within IPv6 counts as IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
