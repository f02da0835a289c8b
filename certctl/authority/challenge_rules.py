"""What challenge mode adds to a profile: the member ``challenge`` of its policy, over the server's own settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from certctl.acme.objects import Profile
from certctl.validation.addresses import EgressPolicy, Network, Resolvers


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
        """Read a profile's rules; raise ValueError if they are not well-formed."""
        policy: Mapping[str, Any] = profile.policy.get("challenge", {})
        if not policy:
            return cls(server)
        own = EgressPolicy.of(**policy.get("egress", {}))
        egress = EgressPolicy((*server.egress.allow, *own.allow), (*server.egress.deny, *own.deny))
        zones = policy.get("resolver_zones", {})
        resolvers = server.resolvers
        if "resolvers" in policy:
            resolvers = Resolvers.of(policy["resolvers"], zones)
        elif zones:
            resolvers = attrs.evolve(resolvers, zones=Resolvers.of((), zones).zones)
        return cls(Network(egress, resolvers), policy.get("caa") is True, policy.get("reuse") is not False)
