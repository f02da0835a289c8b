"""What challenge mode adds to a profile: the member ``challenge`` of its policy, over the server's own settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs

from certctl.acme.objects import Profile
from certctl.validation.addresses import EgressPolicy, Network, Resolvers

_MEMBERS = ("egress", "resolvers", "resolver_zones", "caa", "reuse")


@attrs.frozen
class ChallengeRules:
    """How control of a profile's identifiers is shown.

    The policy's members, all optional: ``egress`` with lists ``allow`` and ``deny`` of networks, added to the server's;
    ``resolvers``, in place of the server's; ``resolver_zones``, resolvers for each zone of a split horizon; ``caa``,
    true to obey CAA (RFC 8659); ``reuse``, false to have control shown for each order anew.
    """

    network: Network
    caa: bool = False
    reuse: bool = True

    @classmethod
    def of(cls, profile: Profile, server: Network) -> ChallengeRules:
        """Read a profile's rules; raise ValueError if they are not well-formed, as a rule misread is a hole."""
        policy = _object(profile.policy.get("challenge", {}), "challenge", _MEMBERS)
        if not policy:
            return cls(server)
        network = Network(_egress(policy, server.egress), _resolvers(policy, server.resolvers))
        return cls(network, _switch(policy, "caa", False), _switch(policy, "reuse", True))


def _egress(policy: Mapping[str, Any], server: EgressPolicy) -> EgressPolicy:
    lists = _object(policy.get("egress", {}), "egress", ("allow", "deny"))
    own = EgressPolicy.of(**{name: _texts(value, f"egress.{name}") for name, value in lists.items()})
    return EgressPolicy((*server.allow, *own.allow), (*server.deny, *own.deny))


def _resolvers(policy: Mapping[str, Any], server: Resolvers) -> Resolvers:
    given = _object(policy.get("resolver_zones", {}), "resolver_zones")
    zones = {zone: _texts(value, f"resolver_zones of {zone!r}") for zone, value in given.items()}
    if "resolvers" in policy:
        server = Resolvers.of(_texts(policy["resolvers"], "resolvers"))
    return server.with_zones(zones)


def _object(value: Any, name: str, known: Collection[str] | None = None) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is not an object")
    if known is not None and (unknown := sorted(set(value) - set(known))):
        raise ValueError(f"{name} has no member {unknown[0]!r}: there are {', '.join(known)}")
    return value


def _texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{name} is not a list of texts")
    return value


def _switch(policy: Mapping[str, Any], name: str, default: bool) -> bool:
    value = policy.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")
    return value
