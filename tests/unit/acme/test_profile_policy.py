"""Policies of profiles and accounts, read strictly."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import dns_name
from certctl.acme.members import PolicyError
from certctl.acme.name_policy import MAX_ENTRIES, NO_POLICY
from certctl.acme.objects import AuthMode, Profile
from certctl.acme.profile_policy import (
    AccountPolicy,
    Binding,
    CommonName,
    KeyAlgorithm,
    MustStaple,
    Policy,
    explain,
    lacks_name_policy,
    warnings,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.sampled_from([*(each.name for each in attrs.fields(Policy)), "default_ttl_seconds", "challenge"])

# What is refused, where, and a word of what is said.
REFUSED: tuple[tuple[Any, str, str], ...] = (
    ([], "policy", "is not an object"),
    (None, "policy", "is not an object"),
    ({"Names": {}}, "policy.Names", "is not known here: there are names,"),
    ({"names": None}, "policy.names", "is not an object"),
    ({"names": {"allowed": []}}, "policy.names.allowed", "is not known"),
    ({"names": {"allow": "*.corp.example"}}, "policy.names.allow", "is not a list of texts"),
    ({"names": {"allow": [7]}}, "policy.names.allow", "is not a list of texts"),
    ({"names": {"allow": []}}, "policy.names.allow", "is empty: leave it out to allow every name"),
    ({"names": {"allow": ["a.example", "a.example"]}}, "policy.names.allow[1]", "twice"),
    ({"names": {"allow": ["a.example", "a_b.example"]}}, "policy.names.allow[1]", "write a name, *.name"),
    ({"names": {"allow": ["*"]}}, "policy.names.allow[0]", "leave allow out to allow every name"),
    ({"names": {"allow": ["*."]}}, "policy.names.allow[0]", "is refused"),
    ({"names": {"allow": ["a.*.example"]}}, "policy.names.allow[0]", "asterisk stands only alone"),
    ({"names": {"allow": ["*.*.a.example"]}}, "policy.names.allow[0]", "two asterisks"),
    (
        {"names": {"allow": ["*.b\u00fccher.example"]}},
        "policy.names.allow[0]",
        "write *.xn--bcher-kva.example",
    ),
    ({"names": {"deny": ["10.0.0.1/8"]}}, "policy.names.deny[0]", "write 10.0.0.0/8"),
    ({"names": {"deny": ["10.0.0.0/33"]}}, "policy.names.deny[0]", "is no IP network"),
    ({"names": {"deny": ["::ffff:10.0.0.0/104"]}}, "policy.names.deny[0]", "write IPv4"),
    (
        {"names": {"allow": [f"a{n}.example" for n in range(MAX_ENTRIES + 1)]}},
        "policy.names.allow",
        "has more than",
    ),
    ({"names": {"wildcards": "no"}}, "policy.names.wildcards", "neither true nor false"),
    ({"key_algorithms": []}, "policy.key_algorithms", "leave it out"),
    ({"key_algorithms": ["rsa-2048", "rsa-1024"]}, "policy.key_algorithms[1]", "is none of ecdsa-p256"),
    ({"extended_key_usages": ["server"]}, "policy.extended_key_usages[0]", "nor a dotted OID"),
    ({"extended_key_usages": ["serverAuth", "1.3.6.1.5.5.7.3.1"]}, "policy.extended_key_usages[1]", "twice"),
    ({"default_ttl_seconds": 0}, "policy.default_ttl_seconds", "whole number from 1"),
    ({"default_ttl_seconds": 1.5}, "policy.default_ttl_seconds", "whole number"),
    ({"default_ttl_seconds": True}, "policy.default_ttl_seconds", "whole number"),
    ({"default_ttl_seconds": None}, "policy.default_ttl_seconds", "whole number"),
    ({"must_staple": True}, "policy.must_staple", "is none of never, allowed, always"),
    ({"no_rev_avail": "yes"}, "policy.no_rev_avail", "neither true nor false"),
    ({"no_rev_avail": True, "must_staple": "allowed"}, "policy.no_rev_avail", "contradicts must_staple"),
    ({"renewal": {"begins_percent": 101}}, "policy.renewal.begins_percent", "whole number from 1 to 99"),
    ({"renewal": {"window": 1}}, "policy.renewal.window", "is not known here"),
    ({"max_identifiers": 0}, "policy.max_identifiers", "whole number from 1 to 1000"),
    ({"common_name": "always"}, "policy.common_name", "is none of when_requested, never"),
    ({"eab": "yes"}, "policy.eab", "is none of off, optional, required"),
    ({"tos_url": "javascript:alert(1)"}, "policy.tos_url", "is no http:// or https:// URL"),
    ({"tos_url": 'https://a/>;rel="x"'}, "policy.tos_url", "is no http:// or https:// URL"),
    ({"tos_url": "https://a/\r\nX: y"}, "policy.tos_url", "is no http:// or https:// URL"),
    ({"tos_url": None}, "policy.tos_url", "is no http:// or https:// URL"),
    ({"limits": {"orders_per_hour": -1}}, "policy.limits.orders_per_hour", "whole number from 0"),
    ({"limits": {"orders": 1}}, "policy.limits.orders", "is not known here"),
    ({"advertises": ["prof/x"]}, "policy.advertises[0]", "is no profile's id"),
)


def profile(policy: Any, mode: AuthMode = AuthMode.TRUST_AUTHENTICATED) -> Profile:
    """A profile with that policy."""
    return Profile(
        id="prof-x", name="X", issuer_id="iss", acme_auth_mode=mode, max_ttl_seconds=3600, policy=policy
    )


class ReadingTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """A policy that says nothing is what it was before there were policies."""
        each: dict[str, Any] = {"names": {}, "limits": {}, "challenge": {}, "advertises": []}
        for policy in ({}, each):
            found = Policy.of(policy)
            self.assertEqual(found, Policy())
            self.assertTrue(found.names.is_open)
            self.assertEqual(found.extended_key_usages, ("serverAuth",))
            self.assertEqual((found.eab, found.tos_url, found.default_ttl, found.key_algorithms), (None,) * 4)

    def test_everything(self) -> None:
        """Each member is read into what it means."""
        found = Policy.of(
            {
                "names": {"allow": ["*.Corp.Example."], "deny": ["10.0.0.7"], "wildcards": False},
                "key_algorithms": ["ecdsa-p256", "rsa-4096"],
                "extended_key_usages": ["clientAuth", "1.2.3.4"],
                "default_ttl_seconds": 60,
                "must_staple": "always",
                "max_identifiers": 3,
                "common_name": "never",
                "eab": "required",
                "tos_url": "https://pki.example/terms?v=2",
                "limits": {"orders_per_hour": 7, "concurrent_orders": 0},
                "advertises": ["prof-y"],
                "challenge": {"caa": True},
            }
        )
        self.assertEqual(found.names.allow.texts, ("*.corp.example",))
        self.assertEqual(found.names.deny.texts, ("10.0.0.7",))
        self.assertEqual(found.key_algorithms, (KeyAlgorithm.P256, KeyAlgorithm.RSA4096))
        self.assertEqual(found.usages(), {"1.3.6.1.5.5.7.3.2", "1.2.3.4"})
        self.assertEqual((found.must_staple, found.common_name), (MustStaple.ALWAYS, CommonName.NEVER))
        self.assertEqual((found.eab, found.advertises), (Binding.REQUIRED, ("prof-y",)))
        self.assertEqual((found.limits.orders_per_hour, found.limits.concurrent_orders), (7, 0))
        self.assertIsNone(found.limits.key_changes_per_hour)

    def test_refused(self) -> None:
        """What is unknown or misread is refused by its path, with a remedy."""
        for policy, path, words in REFUSED:
            error = self.assertRaises(PolicyError, Policy.of, policy)
            self.assertEqual(error.path, path, policy)
            self.assertTrue(str(error).startswith(f"{path}: "), str(error))
            self.assertIn(words, str(error))

    def test_account(self) -> None:
        """An account's policy has names and limits, and nothing else."""
        found = AccountPolicy.of({"names": {"allow": ["a.example"]}, "limits": {"orders_per_hour": 0}})
        self.assertEqual((found.names.allow.texts, found.limits.orders_per_hour), (("a.example",), 0))
        error = self.assertRaises(PolicyError, AccountPolicy.of, {"must_staple": "never"})
        self.assertEqual(error.path, "policy.must_staple")
        self.assertRaises(PolicyError, AccountPolicy.of, None)

    def test_read_once(self) -> None:
        """The same value is read once, whichever object carries it; another value is another policy."""
        one = Policy.of({"names": {"allow": ["a.example"]}})
        self.assertIs(Policy.of(json.loads('{"names": {"allow": ["a.example"]}}')), one)
        self.assertIsNot(Policy.of({"names": {"allow": ["b.example"]}}), one)
        policy: dict[str, Any] = {"names": {"allow": ["c.example"]}}
        Policy.of(policy)
        policy["names"]["allow"][0] = "d.example"
        self.assertEqual(
            Policy.of(policy).names.allow.texts, ("d.example",), "a changed object is read again"
        )

    @given(JSON | st.dictionaries(MEMBERS, JSON, max_size=4))
    def test_whatever_it_is(self, policy: Any) -> None:
        """No JSON value is an error of another kind."""
        for read in (Policy.of, AccountPolicy.of):
            try:
                read(policy)
            except PolicyError as error:
                self.assertTrue(error.path.startswith("policy"))

    def test_too_deep(self) -> None:
        """A policy nested without end is refused like any other."""
        policy: dict[str, Any] = {}
        for _ in range(100_000):
            policy = {"names": policy}
        self.assertRaises(PolicyError, Policy.of, policy)
        while policy:  # taken apart piece by piece, which the interpreter would do by recursion
            policy = policy.pop("names")


class ToldTests(SynchronousTestCase):
    def test_warnings(self) -> None:
        """What an operator should know is said in sentences."""
        for policy, words in (
            ({}, ["lets every account have every name: it trusts accounts and has no name policy"]),
            ({"names": {"deny": ["a.example"]}}, ["every name that it does not deny"]),
            ({"names": {"allow": ["a.example"]}}, []),
            ({"names": {"allow": ["a.example"]}, "extended_key_usages": []}, ["good for every use"]),
            (
                {"names": {"allow": ["a.example"]}, "extended_key_usages": ["OCSPSigning"]},
                ["sign OCSP answers"],
            ),
            (
                {"names": {"allow": ["a.example"]}, "default_ttl_seconds": 7200},
                ["beyond its max_ttl_seconds"],
            ),
            ({"naems": {}}, ["gives nothing to anybody, as its policy cannot be read: policy.naems"]),
        ):
            found = warnings(profile(policy))
            self.assertEqual(len(found), len(words), found)
            for told, word in zip(found, words, strict=True):
                self.assertTrue(told.startswith("profile prof-x "), told)
                self.assertIn(word, told)

    def test_challenge_mode_needs_no_name_policy(self) -> None:
        """Who has to show control of a name needs no list."""
        self.assertEqual(warnings(profile({}, AuthMode.CHALLENGE)), [])
        self.assertFalse(lacks_name_policy(profile({}, AuthMode.CHALLENGE)))

    def test_explain(self) -> None:
        """What a profile makes of a name, and by which rule, whether it is written well or not."""
        allowing = profile({"names": {"allow": ["*.corp.example"]}})
        refused = (False, "name policy of profile prof-x allows *.corp.example")
        for requested, expected in (
            ({"type": "dns", "value": "A.corp.example."}, (True, "*.corp.example")),
            (dns_name("a.corp.example"), (True, "*.corp.example")),
            (dns_name("a.example"), refused),
            ({"type": "ip", "value": "10.0.0.1"}, refused),
            ({"type": "mail", "value": "a"}, (False, "identifiers are of type dns or ip here")),
            ("a", (False, "an identifier is an object with the members type and value")),
        ):
            self.assertEqual(explain(allowing, requested), expected)
        self.assertEqual(explain(profile({}), dns_name("a.example")), (True, NO_POLICY))
        self.assertRaises(PolicyError, explain, profile({"x": 1}), dns_name("a.example"))
