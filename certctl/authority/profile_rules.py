"""Profiles and accounts as the server's settings leave them: read, judged, and refused where they cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from certctl.acme.members import PolicyError
from certctl.acme.objects import Profile
from certctl.acme.profile_policy import AccountPolicy, Policy, lacks_name_policy
from certctl.authority.challenge_rules import ChallengeRules
from certctl.validation.addresses import EgressPolicy, Network, Resolvers

_NO_POLICY = "has no name policy, and CERTCTL_ACME_SERVER_REQUIRE_NAME_POLICY asks for one"


_ANY_NETWORK = Network(
    EgressPolicy((), ()), Resolvers.of(["127.0.0.1"])
)  # a profile's rules are read over one


def check(profile: Profile, *, require_name_policy: bool) -> None:
    """Raise PolicyError (a ValueError) for a profile that must not be made: the API and the command ask here."""
    policy = Policy.of(profile.policy)
    try:
        ChallengeRules.of(profile, _ANY_NETWORK)
    except ValueError as error:
        raise PolicyError("policy.challenge", str(error)) from None
    if policy.default_ttl is not None and policy.default_ttl.total_seconds() > profile.max_ttl_seconds:
        raise PolicyError(
            "policy.default_ttl_seconds", f"is more than max_ttl_seconds, {profile.max_ttl_seconds}"
        )
    if profile.id in policy.advertises:
        raise PolicyError("policy.advertises", f"names {profile.id} itself, which is advertised anyway")
    if require_name_policy and lacks_name_policy(profile):
        raise PolicyError("policy.names.allow", f"is missing: profile {profile.id} {_NO_POLICY}")


def check_account(policy: Mapping[str, Any]) -> None:
    """Raise PolicyError for an account's (or a binding's) policy that must not be stored."""
    AccountPolicy.of(policy)
