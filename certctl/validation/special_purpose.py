"""The addresses that are not like others, as a table: IANA's special-purpose registries and cloud metadata
services.

Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its updates), the multicast
and IPv6 address space registries, and the documentation of the cloud providers for their metadata addresses.
The most specific row that holds an address speaks for it.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import attrs

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@attrs.frozen
class Rule:
    """Whether the addresses of a network may be dialled, and in a few words why."""

    network: IPNetwork
    allowed: bool
    reason: str


_ALLOWED = (
    ("0.0.0.0/0", "globally routable"),
    ("2000::/3", "globally routable"),
    ("10.0.0.0/8", "private (RFC 1918)"),
    ("172.16.0.0/12", "private (RFC 1918)"),
    ("192.168.0.0/16", "private (RFC 1918)"),
    ("100.64.0.0/10", "shared address space (RFC 6598)"),
    ("fc00::/7", "unique local (RFC 4193)"),
    ("64:ff9b::/96", "NAT64 (RFC 6052)"),  # and the address inside is judged as well
)
_DENIED = (
    ("0.0.0.0/8", "this network (RFC 791)"),
    ("0.0.0.0/32", "unspecified (RFC 1122)"),
    ("127.0.0.0/8", "loopback (RFC 1122)"),
    ("169.254.0.0/16", "link-local (RFC 3927)"),
    ("192.0.0.0/24", "IETF protocol assignments (RFC 6890)"),
    ("192.0.0.0/29", "IPv4 service continuity (RFC 7335)"),
    ("192.0.0.8/32", "IPv4 dummy address (RFC 7600)"),
    ("192.0.0.9/32", "Port Control Protocol anycast (RFC 7723)"),
    ("192.0.0.10/32", "TURN anycast (RFC 8155)"),
    ("192.0.0.170/32", "NAT64/DNS64 discovery (RFC 7050)"),
    ("192.0.0.171/32", "NAT64/DNS64 discovery (RFC 7050)"),
    ("192.0.2.0/24", "documentation (RFC 5737)"),
    ("192.31.196.0/24", "AS112 (RFC 7535)"),
    ("192.52.193.0/24", "AMT (RFC 7450)"),
    ("192.88.99.0/24", "6to4 relay anycast (RFC 7526)"),
    ("192.175.48.0/24", "AS112 (RFC 7534)"),
    ("198.18.0.0/15", "benchmarking (RFC 2544)"),
    ("198.51.100.0/24", "documentation (RFC 5737)"),
    ("203.0.113.0/24", "documentation (RFC 5737)"),
    ("224.0.0.0/4", "multicast (RFC 5771)"),
    ("240.0.0.0/4", "reserved (RFC 1112)"),
    ("255.255.255.255/32", "limited broadcast (RFC 8190)"),
    ("::/0", "not allocated as global unicast"),
    ("::/96", "IPv4-compatible (RFC 4291)"),
    ("::/128", "unspecified (RFC 4291)"),
    ("::1/128", "loopback (RFC 4291)"),
    ("::ffff:0:0/96", "IPv4-mapped (RFC 4291)"),
    ("64:ff9b:1::/48", "local-use NAT64 (RFC 8215)"),
    ("100::/64", "discard-only (RFC 6666)"),
    ("100:0:0:1::/64", "dummy prefix (RFC 9780)"),
    ("2001::/23", "IETF protocol assignments (RFC 2928)"),
    ("2001::/32", "Teredo (RFC 4380)"),
    ("2001:1::1/128", "Port Control Protocol anycast (RFC 7723)"),
    ("2001:1::2/128", "TURN anycast (RFC 8155)"),
    ("2001:1::3/128", "DNS-SD service registration anycast (RFC 9665)"),
    ("2001:2::/48", "benchmarking (RFC 5180)"),
    ("2001:3::/32", "AMT (RFC 7450)"),
    ("2001:4:112::/48", "AS112 (RFC 7535)"),
    ("2001:10::/28", "ORCHID (RFC 4843)"),
    ("2001:20::/28", "ORCHIDv2 (RFC 7343)"),
    ("2001:30::/28", "drone remote identification (RFC 9374)"),
    ("2001:db8::/32", "documentation (RFC 3849)"),
    ("2002::/16", "6to4 (RFC 3056)"),
    ("2620:4f:8000::/48", "AS112 (RFC 7534)"),
    ("3fff::/20", "documentation (RFC 9637)"),
    ("5f00::/16", "segment routing (RFC 9602)"),
    ("fe80::/10", "link-local (RFC 4291)"),
    ("fec0::/10", "site-local (RFC 3879)"),
    ("ff00::/8", "multicast (RFC 4291)"),
)
_METADATA = (
    ("169.254.169.254/32", "Amazon, Azure, Google, OpenStack and others"),
    ("169.254.170.2/32", "Amazon container credentials"),
    ("169.254.170.23/32", "Amazon pod identity"),
    ("fd00:ec2::/32", "Amazon"),
    ("fd20:ce::254/128", "Google"),
    ("168.63.129.16/32", "Azure"),
    ("100.100.100.200/32", "Alibaba"),
    ("192.0.0.192/32", "Oracle"),
    ("fd00:42::42/128", "Scaleway"),
    ("fd00:a9fe:a9fe::1/128", "Linode"),
)

DEFAULT_RULES: tuple[Rule, ...] = (
    *(Rule(ipaddress.ip_network(network), True, reason) for network, reason in _ALLOWED),
    *(Rule(ipaddress.ip_network(network), False, reason) for network, reason in _DENIED),
    *(
        Rule(ipaddress.ip_network(network), False, f"cloud metadata ({whose})")
        for network, whose in _METADATA
    ),
)

_RFC6052_LENGTHS = (48, 56, 64, 96)  # a /48 may be used with any of these prefixes (RFC 8215 section 3)


def embedded(address: IPAddress) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that reach a host through ``address``: mapped, compatible, 6to4, Teredo and
    NAT64.
    """
    if isinstance(address, IPv4Address):
        return ()
    number = int(address)
    low = IPv4Address(number & 0xFFFFFFFF)
    if number >> 32 in (0xFFFF, 0x0064FF9B << 64):  # ::ffff:0:0/96 (RFC 4291), 64:ff9b::/96 (RFC 6052)
        return (low,)
    if number >> 32 == 0:
        return (low,) if number > 1 else ()  # ::/96, but not :: and ::1, which have rules of their own
    if number >> 112 == 0x2002:  # RFC 3056 section 2
        return (IPv4Address(number >> 80 & 0xFFFFFFFF),)
    if number >> 96 == 0x20010000:  # server, and client with its bits inverted (RFC 4380 section 4)
        return (IPv4Address(number >> 64 & 0xFFFFFFFF), IPv4Address(int(low) ^ 0xFFFFFFFF))
    if number >> 80 == 0x0064FF9B0001:
        return tuple(_readings(number))
    return ()


def _readings(number: int) -> set[IPv4Address]:
    """The IPv4 addresses that RFC 6052 section 2.2 lets this be: bits 64 to 71 and the suffix must be
    zero.
    """
    if number >> 56 & 0xFF:
        return set()
    squeezed = (number >> 64 << 56) | (number & (1 << 56) - 1)  # without bits 64 to 71: 120 bits are left
    found = set()
    for length in _RFC6052_LENGTHS:
        end = 120 - length - 32 if length < 96 else 0  # where the address ends, counted from the right
        if length == 96:
            found.add(IPv4Address(number & 0xFFFFFFFF))
        elif not squeezed & (1 << end) - 1:
            found.add(IPv4Address(squeezed >> end & 0xFFFFFFFF))
    return found
