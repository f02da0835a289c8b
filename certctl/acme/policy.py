"""What a profile allows, judged from values before anything is stored (RFC 8555 section 7.4)."""

from __future__ import annotations

import ipaddress
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
from certctl.acme.objects import Profile
from certctl.acme.problems import Problem, ProblemType, Subproblem, malformed, refusing_identifiers

CLOCK_SKEW = timedelta(minutes=5)  # how far in the past a requested notBefore may lie
MAX_CONTACTS = 10
MAX_CONTACT = 320  # characters: 64 of local part, @, 255 of domain (RFC 5321 section 4.5.3.1)
_UNREADABLE = Identifier(IdentifierType.DNS, "")


@attrs.frozen
class NamePolicy:
    """Which identifiers a profile allows; with no ``allow`` entry, all that no ``deny`` entry names.

    An entry is an exact name, ``*.corp.example`` (every name below, at any depth, the wildcard itself included) or an
    IP network. ``deny`` wins.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    wildcards: bool = True

    @classmethod
    def of(cls, policy: Mapping[str, Any]) -> NamePolicy:
        """Read the name policy out of a profile's ``policy``."""
        names = policy.get("names", {})
        return cls(tuple(names.get("allow", ())), tuple(names.get("deny", ())), names.get("wildcards", True))

    def refusal(self, identifier: Identifier) -> str | None:
        """Say which rule refuses an identifier, or None if it is allowed."""
        if identifier.wildcard and not self.wildcards:
            return "wildcards are not allowed"
        if rule := next((each for each in self.deny if _matches(each, identifier)), None):
            return f"denied by {rule}"
        if self.allow and not any(_matches(each, identifier) for each in self.allow):
            return f"allowed are {', '.join(self.allow)}"
        return None


def _matches(rule: str, identifier: Identifier) -> bool:
    if identifier.type is IdentifierType.IP:
        try:
            return ipaddress.ip_address(identifier.value) in ipaddress.ip_network(rule)
        except ValueError:
            return False  # the rule is for names
    if rule.startswith("*."):
        return identifier.base.value.endswith(rule[1:]) or identifier.value == rule
    return identifier.value == rule


def judge_identifiers(profile: Profile, requested: Any, maximum: int) -> tuple[Identifier, ...]:
    """Return the identifiers of a newOrder payload in canonical form, each once, in the order given.

    Raises one Problem for all that are refused, with a subproblem for each (RFC 8555 section 6.7.1).
    """
    if not isinstance(requested, list) or not requested:
        raise malformed("an order names its identifiers in a list that is not empty")
    if len(requested) > maximum:
        raise malformed(f"an order names {maximum} identifiers at most; this one names {len(requested)}")
    names = NamePolicy.of(profile.policy)
    accepted: dict[Identifier, None] = {}
    refused: list[Subproblem] = []
    for each in requested:
        verdict = _judge(profile, names, each)
        if isinstance(verdict, Identifier):
            accepted[verdict] = None
        else:
            refused.append(verdict)
    if refused:
        raise refusing_identifiers(refused)
    return tuple(accepted)


def _judge(profile: Profile, names: NamePolicy, requested: Any) -> Identifier | Subproblem:
    try:
        accepted = identifier(requested)
    except UnsupportedIdentifier as error:
        return Subproblem(ProblemType.UNSUPPORTED_IDENTIFIER, str(error), _as_sent(requested))
    except IdentifierError as error:
        return Subproblem(ProblemType.REJECTED_IDENTIFIER, str(error), _as_sent(requested))
    if refusal := names.refusal(accepted):
        detail = f"name policy of profile {profile.id}: {refusal}"
        return Subproblem(ProblemType.REJECTED_IDENTIFIER, detail, accepted)
    return accepted


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
