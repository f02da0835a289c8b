"""Which addresses may be dialled, and which resolvers are asked: the network as one server or profile sees
it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache

import attrs

from certctl.acme.problems import Problem, ProblemType
from certctl.validation.special_purpose import DEFAULT_RULES, IPAddress, IPNetwork, Rule, embedded

DNS_PORT = 53
Server = tuple[IPAddress, int]  # a resolver: address and port


class AddressDenied(Problem):
    """An address that the egress policy does not let the server dial."""

    def __init__(self, address: IPAddress, reason: str, name: str = "") -> None:
        shown = f"{name}: {address}" if name and name != str(address) else str(address)
        super().__init__(ProblemType.CONNECTION, f"{shown} is not dialled: {reason}")
        self.address = address
        self.reason = reason


@attrs.frozen
class EgressPolicy:
    """The operator's networks, added to the built-in table of special-purpose addresses.

    The longest prefix that holds an address decides. Among rules of the same length an entry of the operator
    goes before the built-in table, and then deny before allow: ``allow 127.0.0.1/32`` opens exactly that
    address, ``allow 0.0.0.0/0`` opens nothing that the table denies, and an address both allowed and denied
    is denied.

    Without entries, globally routable and private addresses (RFC 1918, RFC 6598, unique local) may be
    dialled, and loopback, link-local, multicast, metadata and all other special-purpose addresses may not.
    An address that carries an IPv4 address in itself (mapped, compatible, 6to4, Teredo, NAT64) needs both of
    them allowed.
    """

    allow: tuple[IPNetwork, ...] = ()
    deny: tuple[IPNetwork, ...] = ()

    @classmethod
    def of(cls, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> EgressPolicy:
        """Make a policy from texts such as ``10.0.0.0/8`` or ``2001:db8::1``; raise ValueError with what is
        wrong.
        """
        return cls(tuple(network(each) for each in allow), tuple(network(each) for each in deny))

    def judge(self, address: IPAddress) -> None:
        """Return if ``address`` may be dialled; raise AddressDenied, naming the rule, if not."""
        for each in (address, *embedded(address)):
            rule = self.rule_for(each)
            if not rule.allowed:
                inside = "" if each == address else f" of the embedded {each}"
                raise AddressDenied(address, f"rule {rule.network}{inside}, {rule.reason}")

    def rule_for(self, address: IPAddress) -> Rule:
        """Return the rule that speaks for this very address, whatever it may embed."""
        if getattr(address, "scope_id", None):
            return Rule(ipaddress.ip_network("fe80::/10"), False, "an address with a zone is of one link")
        own = [Rule(net, False, "denied by the operator") for net in self.deny if address in net]
        own += [Rule(net, True, "allowed by the operator") for net in self.allow if address in net]
        own.append(_default_rule(address))
        return max(own, key=lambda rule: rule.network.prefixlen)  # of equals, the first


@lru_cache(maxsize=4096)
def _default_rule(address: IPAddress) -> Rule:
    """The built-in table has a row for everything and no two for the same network."""
    return max(
        (rule for rule in DEFAULT_RULES if address in rule.network), key=lambda rule: rule.network.prefixlen
    )


def network(text: str) -> IPNetwork:
    """Return the network that ``text`` spells, one address included; raise ValueError with what is wrong."""
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a network: 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32 would be"
        ) from None
    raise ValueError(f"{text!r} has bits set beyond its prefix: {meant} is the network")


def server(text: str) -> Server:
    """Return the resolver that ``text`` spells: ``10.0.0.1``, ``10.0.0.1:5353``, ``2001:db8::1`` or
    ``[2001:db8::1]:53``.

    A resolver is an address, because a name would need a resolver. Raise ValueError with what is wrong.
    """
    host, port = _split(text.strip())
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(
            f"{text!r} is not the address of a resolver: 10.0.0.1:53 or [2001:db8::1]:53 would be"
        ) from None
    if not port:
        return address, DNS_PORT
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ValueError(f"{text!r} has no port from 1 to 65535")
    return address, int(port)


def _split(text: str) -> tuple[str, str]:
    """Part host and port; a colon with nothing after it is no port and stays with the host, which then is
    refused.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if bracket and ":" in host and (not rest or (rest[0] == ":" and len(rest) > 1)):
            return host, rest[1:]
        return text, ""
    if text.count(":") == 1 and not text.endswith(":"):
        host, _, port = text.partition(":")
        return host, port
    return text, ""


def _zone(text: str) -> str:
    zone = text.strip().lower().strip(".")
    if not zone or not zone.isascii() or any(not label or len(label) > 63 for label in zone.split(".")):
        raise ValueError(f"{text!r} is not a zone: corp.example would be")
    return zone


@attrs.frozen
class Resolvers:
    """The resolvers to ask, in order, for everything and for single zones (split horizon).

    They are the operator's choice and not a client's, so the egress policy does not judge them: a validating
    resolver on loopback is a good one.
    """

    default: tuple[Server, ...]
    zones: Mapping[str, tuple[Server, ...]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, default: Iterable[str], zones: Mapping[str, Iterable[str]] | None = None) -> Resolvers:
        """Make the lists from texts; raise ValueError with what is wrong."""
        found = tuple(server(each) for each in default)
        if not found:
            raise ValueError("at least one resolver is needed")
        return cls(found).with_zones(zones or {})

    def with_zones(self, zones: Mapping[str, Iterable[str]]) -> Resolvers:
        """Return these, and others for single zones; raise ValueError with what is wrong."""
        lists = {_zone(zone): tuple(server(each) for each in texts) for zone, texts in zones.items()}
        for zone, servers in lists.items():
            if not servers:
                raise ValueError(f"the zone {zone!r} has no resolver")
        return attrs.evolve(self, zones={**self.zones, **lists})

    def serving(self, name: str) -> tuple[Server, ...]:
        """Return the resolvers for ``name``: those of the longest zone that it is in, else the default
        ones.
        """
        labels = name.lower().rstrip(".").split(".")
        for start in range(len(labels)):
            servers = self.zones.get(".".join(labels[start:]))
            if servers:
                return servers
        return self.default


@attrs.frozen
class Network:
    """The network as a server or a profile sees it: what may be dialled, and who is asked for addresses."""

    egress: EgressPolicy
    resolvers: Resolvers
