"""Tests for certctl.acme.eab."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme import eab, keys
from certctl.acme.eab import EabKey, Standing
from certctl.acme.encoding import from_base64url
from certctl.acme.problems import Problem
from tests.acme_client import BindingKey, b64
from tests.unit.acme.binding_corpus import KIDS, MACS, STATIC, UNAUTHORIZED, Bound
from tests.unit.acme.jws_builder import signer
from tests.unit.acme.test_jose import JSON

URL = "https://ca.example.org/acme/profile/prof-default/new-account"
KEY = BindingKey("eab-1", b64(bytes(range(64))))
NOW = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)


def read(sent: object, account: str = "ES256") -> eab.Binding:
    """Do with a binding what newAccount does before it asks for the key."""
    return eab.read(sent, URL, keys.public_key(signer(account).jwk))


class BindingTests(SynchronousTestCase):
    """Bindings as RFC 8555 section 7.3.4 describes them."""

    def test_good(self) -> None:
        """Each MAC algorithm vouches for each kind of account key."""
        for algorithm in eab.ALGORITHMS:
            for account in ("ES256", "RS256", "EdDSA"):
                binding = read(KEY.bind(signer(account), URL, algorithm), account)
                self.assertEqual(binding.key_id, KEY.id)
                self.assertTrue(binding.is_by(from_base64url(KEY.mac_key)))

    def test_members_of_the_key(self) -> None:
        """The account's key may come in another order, with members that say nothing of the key itself."""
        bound = Bound(URL, KEY)
        members = {**dict(reversed(bound.account.jwk.items())), "kid": "mine", "use": "sig"}
        self.assertTrue(read(bound.with_payload(members)).is_by(from_base64url(KEY.mac_key)))

    def test_refused(self) -> None:
        """Whatever is wrong in a binding itself is told, before any key is looked for."""
        for case in STATIC:
            with self.subTest(case.name):
                problem = self.assertRaises(Problem, read, case.make(Bound(URL, KEY)))
                self.assertEqual(problem.type.value[0], case.problem, problem.detail)
                self.assertTrue(problem.detail.startswith("externalAccountBinding: "), problem.detail)

    def test_algorithms_are_told(self) -> None:
        """RFC 8555 section 6.2: badSignatureAlgorithm lists what may be used, here MACs alone."""
        problem = self.assertRaises(Problem, read, Bound(URL, KEY).with_header(alg="RS256"))
        self.assertEqual(problem.members, {"algorithms": ["HS256", "HS384", "HS512"]})

    def test_wrong_mac(self) -> None:
        """A MAC that is not whole, or of another key, content or algorithm, is none."""
        for case in MACS:
            if case.problem == UNAUTHORIZED:
                with self.subTest(case.name):
                    self.assertFalse(read(case.make(Bound(URL, KEY))).is_by(from_base64url(KEY.mac_key)))

    def test_kid_is_the_database_s(self) -> None:
        """Any text may be a key identifier: which are known is asked elsewhere."""
        for case in KIDS:
            self.assertIsInstance(read(case.make(Bound(URL, KEY))).key_id, str)

    @given(JSON)
    def test_anything(self, sent: object) -> None:
        """Whatever JSON is sent is refused with a problem, and with nothing else."""
        self.assertRaises(Problem, read, sent)

    @given(st.integers(0, 255), st.integers(1, 255))
    def test_every_octet_of_the_mac_counts(self, place: int, change: int) -> None:
        """A MAC with one octet changed is none."""
        value = KEY.bind(signer("ES256"), URL, "HS512")
        mac = bytearray(from_base64url(value["signature"]))
        mac[place % len(mac)] ^= change
        self.assertFalse(read({**value, "signature": b64(bytes(mac))}).is_by(from_base64url(KEY.mac_key)))


class StandingTests(SynchronousTestCase):
    """Whether a key can bind an account."""

    def test_table(self) -> None:
        """Revoked counts before expired, and expired before used."""
        hour = timedelta(hours=1)
        cases: tuple[tuple[dict[str, Any], Standing], ...] = (
            ({}, Standing.ACTIVE),
            ({"uses": 7}, Standing.ACTIVE),
            ({"single_use": True}, Standing.ACTIVE),
            ({"single_use": True, "uses": 1}, Standing.USED),
            ({"expires_at": NOW + hour}, Standing.ACTIVE),
            ({"expires_at": NOW}, Standing.EXPIRED),
            ({"expires_at": NOW, "single_use": True, "uses": 1}, Standing.EXPIRED),
            ({"expires_at": NOW, "revoked_at": NOW}, Standing.REVOKED),
            ({"revoked_at": NOW, "single_use": True, "uses": 1}, Standing.REVOKED),
        )
        for changes, expected in cases:
            self.assertEqual(attrs.evolve(key(), **changes).standing(NOW), expected, changes)

    def test_sealed_key_is_not_shown(self) -> None:
        """What is printed of a key tells nothing of the MAC key, sealed though it is."""
        self.assertNotIn("sealed", repr(key()))


def key() -> EabKey:
    """A key for any number of uses."""
    return EabKey(
        id="eab-1",
        profile_id="prof-default",
        name="web team",
        sealed_key=b"sealed",
        single_use=False,
        created_by="api-key:test",
        created_at=NOW,
    )
