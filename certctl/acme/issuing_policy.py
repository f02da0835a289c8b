"""What a profile lets a CSR ask for, and lets be signed: the second judgement, and the last one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from certctl.acme.csr import CertificateRequest
from certctl.acme.identifiers import Identifier
from certctl.acme.objects import Profile
from certctl.acme.policy import NameRules
from certctl.acme.problems import Problem, ProblemType, Subproblem, refusing_identifiers
from certctl.acme.profile_policy import CommonName, MustStaple, Policy, key_algorithm

SECOND = timedelta(seconds=1)


class Proposed(Protocol):
    """A certificate that is about to be signed: all that a profile has a say in."""

    @property
    def names(self) -> tuple[Identifier, ...]: ...
    @property
    def common_name(self) -> str | None: ...
    @property
    def public_key(self) -> CertificatePublicKeyTypes: ...
    @property
    def not_before(self) -> datetime: ...
    @property
    def not_after(self) -> datetime: ...
    @property
    def extended_key_usages(self) -> tuple[str, ...]: ...
    @property
    def must_staple(self) -> bool: ...
    @property
    def no_rev_avail(self) -> bool: ...


def judge_request(profile: Profile, policy: Policy, request: CertificateRequest) -> None:
    """Raise Problem badCSR if a CSR asks for what the profile does not give."""
    _judge_key(profile, policy, request.public_key)
    if request.must_staple and policy.must_staple is MustStaple.NEVER:
        raise _bad(f"it asks for must-staple, and profile {profile.id} has must_staple never")


def common_name(policy: Policy, request: CertificateRequest) -> str | None:
    """The common name that the certificate shall have; None for none."""
    return None if policy.common_name is CommonName.NEVER else request.common_name


def must_staple(policy: Policy, request: CertificateRequest) -> bool:
    """Whether the certificate shall have the TLS feature status_request (RFC 7633)."""
    if policy.must_staple is MustStaple.ALLOWED:
        return request.must_staple
    return policy.must_staple is MustStaple.ALWAYS


def judge_certificate(
    profile: Profile, policy: Policy, names: NameRules, ordered: tuple[Identifier, ...], proposed: Proposed
) -> None:
    """Raise Problem unless a certificate that is to be signed is one that its profile gives.

    It trusts nothing that was judged before, and shares no code with what made the certificate: rejectedIdentifier and
    badCSR are what a change of the profile since then leads to, serverInternal is a mistake of this server.
    """
    refused = [
        Subproblem(ProblemType.REJECTED_IDENTIFIER, verdict.rule, each)
        for each in proposed.names
        if not (verdict := names.judge(each)).allowed
    ]
    if refused:
        raise refusing_identifiers(refused, len(proposed.names))
    _judge_key(profile, policy, proposed.public_key)
    for breach in _breaches(profile, policy, ordered, proposed):
        detail = f"a certificate was about to be signed that profile {profile.id} does not give: {breach}"
        raise Problem(ProblemType.SERVER_INTERNAL, detail)


def _breaches(
    profile: Profile, policy: Policy, ordered: tuple[Identifier, ...], proposed: Proposed
) -> list[str]:
    """What no client can bring about."""
    found = []
    if proposed.names != ordered:
        found.append("its names are not those of the order")
    if (proposed.not_after - proposed.not_before + SECOND).total_seconds() > profile.max_ttl_seconds:
        found.append(f"max_ttl_seconds is {profile.max_ttl_seconds}")
    if proposed.extended_key_usages != policy.extended_key_usages:
        found.append(f"extended_key_usages is {', '.join(policy.extended_key_usages) or 'empty'}")
    if proposed.must_staple and policy.must_staple is MustStaple.NEVER:
        found.append("must_staple is never")
    if not proposed.must_staple and policy.must_staple is MustStaple.ALWAYS:
        found.append("must_staple is always")
    if proposed.no_rev_avail is not policy.no_rev_avail:
        found.append(f"no_rev_avail is {'true' if policy.no_rev_avail else 'false'}")
    if proposed.common_name is not None:
        if policy.common_name is CommonName.NEVER:
            found.append("common_name is never")
        if proposed.common_name not in {each.value for each in proposed.names}:
            found.append("its common name is not one of its names")
    return found


def _judge_key(profile: Profile, policy: Policy, key: CertificatePublicKeyTypes) -> None:
    allowed = policy.key_algorithms
    if allowed is not None and (found := key_algorithm(key)) not in allowed:
        raise _bad(f"its key is {found}, and profile {profile.id} allows {', '.join(allowed)}")


def _bad(detail: str) -> Problem:
    """Not badPublicKey, which is about the key that signed the request (RFC 8555 section 6.7)."""
    return Problem(ProblemType.BAD_CSR, f"the CSR is refused: {detail}")
