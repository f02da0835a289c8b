"""Profiles and accounts as the server's settings leave them: read, judged, and refused where they cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.logger import Logger

from certctl.acme.account_rules import AccountRules
from certctl.acme.members import PolicyError
from certctl.acme.objects import Account, Profile
from certctl.acme.policy import NameRules
from certctl.acme.problems import Problem, ProblemType
from certctl.acme.profile_policy import AccountPolicy, Binding, Policy, lacks_name_policy
from certctl.acme.renewal import RenewalPolicy
from certctl.authority.challenge_rules import ChallengeRules
from certctl.validation.addresses import EgressPolicy, Network, Resolvers

_log = Logger(namespace="certctl")
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


def refusal_of(profile: Profile, *, require_name_policy: bool) -> str | None:
    """Why a profile gives no names at all, if the settings ask for a name policy and it has none; None otherwise."""
    lacking = require_name_policy and lacks_name_policy(profile)
    return f"profile {profile.id} {_NO_POLICY}" if lacking else None


def check_account(policy: Mapping[str, Any]) -> None:
    """Raise PolicyError for an account's (or a binding's) policy that must not be stored."""
    AccountPolicy.of(policy)


@attrs.frozen(kw_only=True)
class Terms:
    """Under what a request is: the policies of its profile and its account, as they are now."""

    profile: Profile
    policy: Policy
    account: AccountPolicy
    names: NameRules
    max_identifiers: int


@attrs.frozen(kw_only=True)
class ProfileRules:
    """Reads the policies that a request is under; what cannot be read refuses the request, and the log says why."""

    require_name_policy: bool = False
    max_identifiers: int = 100
    accounts: AccountRules = attrs.field(factory=AccountRules)

    def terms(self, profile: Profile, account: Account) -> Terms:
        """What an account gets under a profile; raises Problem serverInternal for a policy that cannot be read."""
        policy, own = self.policy(profile), self._own(account)
        policies = [(f"profile {profile.id}", policy.names)]
        if account.policy != {}:
            policies.append((f"account {account.id}", own.names))
        refusal = refusal_of(profile, require_name_policy=self.require_name_policy)
        return Terms(
            profile=profile,
            policy=policy,
            account=own,
            names=NameRules(tuple(policies), refusal),
            # A profile's number can be smaller than the server's, which bounds what a request costs, and not larger.
            max_identifiers=min(policy.max_identifiers or self.max_identifiers, self.max_identifiers),
        )

    def _own(self, account: Account) -> AccountPolicy:
        try:
            return AccountPolicy.of(account.policy)
        except PolicyError as error:
            raise _unreadable(f"account {account.id}", error) from None

    def policy(self, profile: Profile) -> Policy:
        """A profile's policy; raises Problem serverInternal."""
        try:
            return Policy.of(profile.policy)
        except PolicyError as error:
            raise _unreadable(f"profile {profile.id}", error) from None

    def judge_choice(self, account: Account, chosen: Profile) -> None:
        """Raise Problem invalidProfile unless an account of another profile may order under this one."""
        asked, lacks = self.accounts.under(chosen.policy), ""
        if asked.binding is Binding.REQUIRED and account.eab_key_id is None:
            lacks = "have an external account binding"
        elif asked.terms_url and not account.terms_agreed:
            lacks = f"agreed to terms of service, {asked.terms_url}"
        if lacks:
            detail = f"profile {chosen.id} is for accounts that {lacks}, and this one has not"
            raise Problem(ProblemType.INVALID_PROFILE, detail)


def advertised(profile: Profile) -> tuple[str, ...]:
    """The ids of the other profiles that orders under this one may name; none if its policy cannot be read."""
    try:
        return Policy.of(profile.policy).advertises
    except PolicyError:
        return ()


def renewal_policy(profile: Profile) -> RenewalPolicy:
    """When a profile wants its certificates renewed; the usual if its policy cannot be read."""
    try:
        return Policy.of(profile.policy).renewal
    except PolicyError:
        return RenewalPolicy()


def _unreadable(whose: str, error: PolicyError) -> Problem:
    _log.error("the policy of {whose} cannot be read: {why}", whose=whose, why=str(error))
    return Problem(
        ProblemType.SERVER_INTERNAL, f"the policy of {whose} cannot be read: the server's log says where"
    )
