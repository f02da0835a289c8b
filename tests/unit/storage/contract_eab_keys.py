"""Keys for external account bindings, and the secret that seals them, on every engine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs

from certctl.acme.eab import EabKey, Standing
from certctl.storage import accounts, eab_keys, profiles, sealing
from tests.unit.storage.contract import ACCOUNT, HOUR, NOW, PROFILE, DatabaseCase

KEY = EabKey(
    id="eab-1",
    profile_id=PROFILE.id,
    name="web team",
    sealed_key=b"\0sealed\xff",
    single_use=False,
    policy={"names": {"allow": ["*.corp.example"]}, "limits": {"orders_per_hour": 7}},
    created_by="api-key:test",
    created_at=NOW,
    expires_at=NOW + HOUR,
)
OTHER = attrs.evolve(PROFILE, id="prof-other", name="Other")


class EabKeyContract(DatabaseCase):
    def test_round_trip(self) -> None:
        """A key comes back as it went in."""
        self.write(eab_keys.insert(KEY))
        self.assertEqual(self.read(eab_keys.by_id(KEY.id)), KEY)
        self.assertIsNone(self.read(eab_keys.by_id("eab-2")))

    def test_of_a_profile_that_is_there(self) -> None:
        """A key of no profile is none."""
        with self.assertRaises(self.broken_rule):
            self.write(eab_keys.insert(attrs.evolve(KEY, profile_id="prof-absent")))

    def test_use(self) -> None:
        """A key for many uses counts them, until it expires; one for a single use has one."""
        single = attrs.evolve(KEY, id="eab-2", single_use=True, expires_at=None)
        self.write(eab_keys.insert(KEY), eab_keys.insert(single))
        for _ in range(3):
            self.write(eab_keys.use(KEY.id, NOW))
        self.write(eab_keys.use(single.id, NOW))
        self.conflict(eab_keys.use(single.id, NOW))
        self.conflict(eab_keys.use(KEY.id, NOW + HOUR))
        self.conflict(eab_keys.use("eab-3", NOW))
        found = [self.read(eab_keys.by_id(each.id)) for each in (KEY, single)]
        self.assertEqual([each.uses for each in found if each], [3, 1])

    def test_use_with_an_account(self) -> None:
        """The use and the account are one change: without the one there is not the other."""
        single = attrs.evolve(KEY, single_use=True)
        one, other = (
            attrs.evolve(
                ACCOUNT, id=f"acme-acc-{n}", thumbprint=f"t{n}", eab_key_id=KEY.id, policy=KEY.policy
            )
            for n in (2, 3)
        )
        self.write(eab_keys.insert(single))
        self.conflict(
            eab_keys.use(KEY.id, NOW), accounts.insert(attrs.evolve(one, thumbprint=ACCOUNT.thumbprint))
        )
        self.write(eab_keys.use(KEY.id, NOW), accounts.insert(one))
        self.conflict(eab_keys.use(KEY.id, NOW), accounts.insert(other))
        self.assertEqual(self.read(accounts.by_id(PROFILE.id, one.id)), one)
        self.assertIsNone(self.read(accounts.by_id(PROFILE.id, other.id)))

    def test_revoke(self) -> None:
        """A revoked key is used no more, and revoked once."""
        self.write(eab_keys.insert(KEY))
        self.write(eab_keys.revoke(KEY.id, NOW))
        self.conflict(eab_keys.revoke(KEY.id, NOW + HOUR))
        self.conflict(eab_keys.use(KEY.id, NOW))
        self.assertEqual(self.read(eab_keys.by_id(KEY.id)), attrs.evolve(KEY, revoked_at=NOW))

    def test_list(self) -> None:
        """Keys are listed page by page, the newest first, by profile and by standing, as the objects have it."""
        cases = (
            KEY,
            attrs.evolve(KEY, id="eab-2", single_use=True, expires_at=None),
            attrs.evolve(KEY, id="eab-3", single_use=True, uses=1),
            attrs.evolve(KEY, id="eab-4", expires_at=NOW),
            attrs.evolve(KEY, id="eab-5", revoked_at=NOW, expires_at=NOW, single_use=True, uses=1),
            attrs.evolve(KEY, id="eab-6", profile_id=OTHER.id, expires_at=NOW + timedelta(microseconds=1)),
            attrs.evolve(KEY, id="eab-7", expires_at=NOW - HOUR, single_use=True, uses=1),
        )
        self.write(profiles.insert(OTHER, NOW), *map(eab_keys.insert, cases))
        newest = list(reversed(cases))
        self.assertEqual(self.read(eab_keys.page(NOW, limit=10)), newest)
        self.assertEqual(self.read(eab_keys.page(NOW, limit=2, offset=1)), newest[1:3])
        self.assertEqual(self.read(eab_keys.count(NOW)), 7)
        for profile in (None, PROFILE.id, OTHER.id):
            for standing in Standing:
                expected = [
                    each
                    for each in newest
                    if each.standing(NOW) is standing and profile in (None, each.profile_id)
                ]
                chosen: dict[str, Any] = {"profile_id": profile, "standing": standing}
                self.assertEqual(self.read(eab_keys.page(NOW, limit=10, **chosen)), expected, chosen)
                self.assertEqual(self.read(eab_keys.count(NOW, **chosen)), len(expected), chosen)


class SealingContract(DatabaseCase):
    def test_recorded(self) -> None:
        """The first secret is recorded, and another takes its place only where that one was seen."""
        self.assertIsNone(self.read(sealing.fingerprint()))
        self.write(sealing.record("one", None, NOW))
        self.conflict(sealing.record("two", None, NOW))
        self.conflict(sealing.record("two", "three", NOW))
        self.assertEqual(self.read(sealing.fingerprint()), "one")
        self.write(sealing.record("two", "one", NOW))
        self.assertEqual(self.read(sealing.fingerprint()), "two")
