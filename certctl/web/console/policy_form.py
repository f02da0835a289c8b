"""A profile's policy as a form: read from what was sent, and shown as it is (docs/profiles.md).

Members that the form does not have stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from certctl.acme.profile_policy import (
    EXTENDED_KEY_USAGES,
    Binding,
    CommonName,
    KeyAlgorithm,
    MustStaple,
)
from certctl.web.console.fields import seconds, span, whole
from certctl.web.console.forms import Form

KEYS = tuple(each.value for each in KeyAlgorithm)
PURPOSES = tuple(EXTENDED_KEY_USAGES)
STAPLING = tuple(each.value for each in MustStaple)
NAMING = tuple(each.value for each in CommonName)
BINDING = tuple(each.value for each in Binding)
LIMITS = (
    ("orders_per_hour", "Orders in an hour"),
    ("concurrent_orders", "Unfinished orders"),
    ("key_changes_per_hour", "Key changes in an hour"),
    ("challenge_responds_per_hour", "Answers to a challenge in an hour"),
)
_KNOWN_EGRESS = ("allow", "deny")


def read(form: Form, old: Mapping[str, Any]) -> dict[str, Any]:
    """The policy that a form asks for; raises ApiError for numbers that are none."""
    policy = dict(old)
    _set(policy, "names", _names(form))
    _set(policy, "limits", _limits(form))
    _set(policy, "key_algorithms", form.all("key_algorithms"))
    _set(policy, "extended_key_usages", _purposes(form))
    if form.one("every_use"):
        policy["extended_key_usages"] = []
    _set(policy, "must_staple", _unless(form.one("must_staple"), MustStaple.NEVER.value))
    _set(policy, "common_name", _unless(form.one("common_name"), CommonName.WHEN_REQUESTED.value))
    _set(policy, "eab", form.one("eab"))
    _set(policy, "tos_url", form.one("tos_url"))
    _set(policy, "advertises", form.lines("advertises"))
    _set(policy, "no_rev_avail", bool(form.one("no_rev_avail")))
    ttl, most = form.one("default_ttl"), form.one("max_identifiers")
    _set(policy, "default_ttl_seconds", seconds(ttl, "Usual life") if ttl else None)
    _set(policy, "max_identifiers", whole(most, "Most names in an order") if most else None)
    _set(policy, "challenge", _challenge(form, old.get("challenge")))
    return policy


def narrowed(form: Form, old: Mapping[str, Any]) -> dict[str, Any]:
    """The policy of an account, or of a key that binds accounts: names and limits."""
    policy = dict(old)
    _set(policy, "names", _names(form))
    _set(policy, "limits", _limits(form))
    return policy


def shown(policy: Mapping[str, Any]) -> dict[str, Any]:
    """A policy as the form shows it. What cannot be read is shown as if it were not there."""
    names, limits, challenge = (_object(policy, each) for each in ("names", "limits", "challenge"))
    purposes = _texts(policy.get("extended_key_usages", ["serverAuth"]))
    egress = _object(challenge, "egress")
    return {
        "names_allow": "\n".join(_texts(names.get("allow"))),
        "names_deny": "\n".join(_texts(names.get("deny"))),
        "no_wildcards": names.get("wildcards") is False,
        "key_algorithms": _texts(policy.get("key_algorithms")),
        "purposes": [each for each in purposes if each in PURPOSES],
        "other_purposes": " ".join(each for each in purposes if each not in PURPOSES),
        "every_use": policy.get("extended_key_usages") == [],
        "must_staple": policy.get("must_staple", MustStaple.NEVER.value),
        "common_name": policy.get("common_name", CommonName.WHEN_REQUESTED.value),
        "eab": policy.get("eab", ""),
        "tos_url": policy.get("tos_url", ""),
        "advertises": " ".join(_texts(policy.get("advertises"))),
        "no_rev_avail": policy.get("no_rev_avail") is True,
        "default_ttl": span(_number(policy.get("default_ttl_seconds"))),
        "max_identifiers": policy.get("max_identifiers", ""),
        "limits": {name: limits.get(name, "") for name, _ in LIMITS},
        "egress_allow": "\n".join(_texts(egress.get("allow"))),
        "egress_deny": "\n".join(_texts(egress.get("deny"))),
        "resolvers": "\n".join(_texts(challenge.get("resolvers"))),
        "caa": challenge.get("caa") is True,
        "no_reuse": challenge.get("reuse") is False,
    }


def _names(form: Form) -> dict[str, Any]:
    names: dict[str, Any] = {}
    _set(names, "allow", form.lines("names_allow"))
    _set(names, "deny", form.lines("names_deny"))
    if form.one("no_wildcards"):
        names["wildcards"] = False
    return names


def _limits(form: Form) -> dict[str, int]:
    return {name: whole(value, label) for name, label in LIMITS if (value := form.one(f"limit_{name}"))}


def _purposes(form: Form) -> list[str]:
    found = [*form.all("purposes"), *form.lines("other_purposes")]
    return [] if found == ["serverAuth"] else found


def _challenge(form: Form, old: Any) -> dict[str, Any]:
    rules = dict(old) if isinstance(old, Mapping) else {}
    egress = {name: form.lines(f"egress_{name}") for name in _KNOWN_EGRESS}
    _set(rules, "egress", {name: value for name, value in egress.items() if value})
    _set(rules, "resolvers", form.lines("resolvers"))
    _set(rules, "caa", bool(form.one("caa")))
    rules.pop("reuse", None)
    if form.one("no_reuse"):
        rules["reuse"] = False
    return rules


def _set(policy: dict[str, Any], name: str, value: Any) -> None:
    """Put a member there, or take it away if there is nothing in it."""
    if value in (None, "", [], {}, False):
        policy.pop(name, None)
    else:
        policy[name] = value


def _unless(value: str, default: str) -> str:
    return "" if value == default else value


def _object(policy: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = policy.get(name)
    return found if isinstance(found, Mapping) else {}


def _texts(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None
