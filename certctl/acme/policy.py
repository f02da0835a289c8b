"""What a profile allows, judged from values before anything is stored (RFC 8555 section 7.4)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from certctl.acme.identifiers import (
    Identifier,
    IdentifierError,
    IdentifierType,
    UnsupportedIdentifier,
    identifier,
)
from certctl.acme.name_constraints import NameConstraints, refusals
from certctl.acme.name_policy import NO_POLICY, NamePolicy, Verdict
from certctl.acme.objects import Account, Profile
from certctl.acme.problems import Problem, ProblemType, Subproblem, malformed, refusing_identifiers

CLOCK_SKEW = timedelta(minutes=5)  # how far in the past a requested notBefore may lie
MAX_CONTACTS = 10
MAX_CONTACT = 320  # characters: 64 of local part, @, 255 of domain (RFC 5321 section 4.5.3.1)
_UNREADABLE = Identifier(IdentifierType.DNS, "")


@attrs.frozen
class NameRules:
    """Whose name policies must all let a name pass, or why none passes at all."""

    policies: tuple[tuple[str, NamePolicy], ...]  # each after the words that say whose it is
    refusal: str | None = None
    constraints: tuple[NameConstraints, ...] = ()  # of the issuing CA and those above it

    def judge(self, identifier: Identifier) -> Verdict:
        """Judge an identifier by all policies; the rule of one that lets it pass names those that say something."""
        if self.refusal is not None:
            return Verdict(False, self.refusal)
        rules = []
        for owner, policy in self.policies:
            verdict = policy.judge(identifier, owner)
            if not verdict.allowed:
                return verdict
            rules.append(verdict.rule)
        for refusal in refusals(self.constraints, identifier):
            return Verdict(False, refusal)
        told = [each for each in rules if each != NO_POLICY]
        return Verdict(True, " and ".join(told) or NO_POLICY)


def judge_identifiers(names: NameRules, requested: Any, maximum: int) -> dict[Identifier, str]:
    """Return the identifiers of a newOrder payload in canonical form, each once, in the order given, and their rules.

    Raises one Problem for all that are refused, with a subproblem for each (RFC 8555 section 6.7.1).
    """
    if not isinstance(requested, list) or not requested:
        raise malformed("an order names its identifiers in a list that is not empty")
    if len(requested) > maximum:
        raise malformed(f"an order names {maximum} identifiers at most; this one names {len(requested)}")
    accepted: dict[Identifier, str] = {}
    refused: list[Subproblem] = []
    for each in requested:
        verdict = _judge(names, each)
        if isinstance(verdict, Subproblem):
            refused.append(verdict)
        else:
            accepted[verdict[0]] = verdict[1]
    if refused:
        raise refusing_identifiers(refused, len(requested))
    return accepted


def _judge(names: NameRules, requested: Any) -> tuple[Identifier, str] | Subproblem:
    try:
        found = identifier(requested)
    except UnsupportedIdentifier as error:
        return Subproblem(ProblemType.UNSUPPORTED_IDENTIFIER, str(error), _as_sent(requested))
    except IdentifierError as error:
        return Subproblem(ProblemType.REJECTED_IDENTIFIER, str(error), _as_sent(requested))
    verdict = names.judge(found)
    if not verdict.allowed:
        return Subproblem(ProblemType.REJECTED_IDENTIFIER, verdict.rule, found)
    return found, verdict.rule


def _as_sent(requested: Any) -> Identifier:
    """An identifier that could not be read, cut to a size that may be shown."""
    if not isinstance(requested, Mapping) or not isinstance(requested.get("value"), str):
        return _UNREADABLE
    kind = IdentifierType.IP if requested.get("type") == "ip" else IdentifierType.DNS
    return Identifier(kind, requested["value"][:253])


def moment(payload: Mapping[str, Any], member: str) -> datetime | None:
    """Return a time of RFC 3339 from a payload, if it is there, in UTC and whole seconds."""
    text = payload.get(member)
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None or "T" not in text.upper():
            raise ValueError
        return found.astimezone(UTC).replace(microsecond=0)
    except (TypeError, ValueError, OverflowError):
        raise malformed(f"{member} is a time as RFC 3339 writes it") from None


def judge_start(now: datetime, not_before: datetime | None) -> None:
    """Refuse a requested notBefore in the past, beyond what clocks differ by: certificates are not backdated."""
    if not_before is not None and not_before < now - CLOCK_SKEW:
        raise malformed("notBefore must not lie in the past")


def judge_profile(profile: Profile | None, profile_id: str) -> Profile:
    """Return the profile if it may be used; raise Problem if it is not there or switched off."""
    if profile is None:
        raise Problem(ProblemType.MALFORMED, f"there is no profile {profile_id[:64]!r} here", status=404)
    if not profile.enabled:
        raise Problem(ProblemType.UNAUTHORIZED, f"profile {profile.id} is switched off")
    return profile


def judge_open(profile: Profile, type: ProblemType = ProblemType.UNAUTHORIZED) -> None:
    """Refuse what is new under a profile that was archived; what there is may be read and revoked."""
    if profile.archived_at is not None:
        detail = (
            f"profile {profile.id} was archived: there are no new accounts, orders and certificates under it"
        )
        raise Problem(type, detail)


def judge_pause(account: Account) -> None:
    """Refuse an account that an operator has paused.

    Not userActionRequired, which sends people to a URL (RFC 8555 section 6.7): there is none for this.
    """
    if account.paused_at is not None:
        detail = "an operator of this CA has paused the account: ask there what is to be done"
        raise Problem(ProblemType.UNAUTHORIZED, detail)


def contacts(requested: Any) -> tuple[str, ...]:
    """Return the contact URLs of an account payload; raise Problem for those that RFC 8555 section 7.3 refuses."""
    if not isinstance(requested, list) or not all(isinstance(each, str) for each in requested):
        raise malformed("contact is a list of URLs")
    if len(requested) > MAX_CONTACTS:
        raise Problem(ProblemType.INVALID_CONTACT, f"an account has {MAX_CONTACTS} contacts at most")
    for each in requested:
        _judge_contact(each)
    return tuple(requested)


def _judge_contact(url: str) -> None:
    scheme, colon, address = url.partition(":")
    if not colon or scheme.lower() != "mailto":
        raise Problem(ProblemType.UNSUPPORTED_CONTACT, "contacts are mailto URLs here")
    local, at, domain = address.rpartition("@")
    printable = url.isascii() and url.isprintable() and " " not in url
    if not (local and at and domain) or len(address) > MAX_CONTACT or not printable:
        raise Problem(ProblemType.INVALID_CONTACT, "a mailto contact is mailto:local-part@domain")
    if "?" in address or "," in address:
        raise Problem(ProblemType.INVALID_CONTACT, "a mailto contact has one address and no header fields")
