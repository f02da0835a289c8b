from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme import ids
from certctl.acme.mass_renewal import PARTS, MassRenewal, moved
from certctl.acme.renewal import LEAST, Window

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@attrs.frozen
class Facts:
    """What decides whether a certificate is meant."""

    id: str
    profile_id: str = "prof-a"
    issuer_id: str = "iss-a"
    account_id: str = "acme-acc-a"
    serial: str = "a1"


def renewal(**changes: Any) -> MassRenewal:
    """A mass renewal of what was issued before NOW, within a day."""
    values = {"id": "renew-1", "name": "x", "created_by": "me", "issued_before": NOW, "starts_at": NOW}
    return MassRenewal(**{**values, "due_at": NOW + 24 * HOUR, **changes})


def issued(at: datetime) -> Facts:
    """A certificate issued then."""
    return Facts(ids.new(ids.CERTIFICATE, at))


class MeaningTests(SynchronousTestCase):
    def test_issued_before(self) -> None:
        """What was issued before the time is meant, and never what was issued after the start."""
        self.assertTrue(renewal().means(issued(NOW - HOUR)))
        self.assertFalse(renewal().means(issued(NOW)))
        early = renewal(issued_before=NOW - 2 * HOUR)
        self.assertFalse(early.means(issued(NOW - HOUR)))
        self.assertTrue(early.means(issued(NOW - 3 * HOUR)))
        self.assertFalse(renewal(issued_before=NOW + HOUR).means(issued(NOW + HOUR / 2)))

    def test_every_member_counts(self) -> None:
        """A certificate must fit all that is given."""
        old = issued(NOW - HOUR)
        for member, good in (("profile_id", "prof-a"), ("issuer_id", "iss-a"), ("account_id", "acme-acc-a")):
            self.assertTrue(renewal(**{member: good}).means(old))
            self.assertFalse(renewal(**{member: "other"}).means(old))
        self.assertTrue(renewal(serials=("ff", "a1")).means(old))
        self.assertFalse(renewal(serials=("ff",)).means(old))
        self.assertFalse(renewal(serials=("a1",), profile_id="other").means(old))


class WindowTests(SynchronousTestCase):
    def test_the_same_everywhere(self) -> None:
        """A certificate's window depends on nothing but the renewal and the certificate."""
        self.assertEqual(renewal().window("cv-1"), renewal(name="y", created_by="other").window("cv-1"))
        self.assertNotEqual(renewal().window("cv-1"), renewal().window("cv-2"))
        self.assertNotEqual(renewal().window("cv-1"), renewal(id="renew-2").window("cv-1"))

    def test_spread_evenly(self) -> None:
        """In each twelfth of the time begins about a twelfth of the windows."""
        starts = [renewal().window(f"cv-{number}").start for number in range(6000)]
        span = 24 * HOUR * (PARTS - 1) / PARTS
        shares = [0] * 12
        for each in starts:
            shares[min(11, int((each - NOW) / span * 12))] += 1
        self.assertTrue(all(400 < share < 600 for share in shares), shares)

    @given(st.integers(min_value=2, max_value=10**8), st.text(max_size=50))
    def test_within(self, seconds: int, certificate: str) -> None:
        """Windows are not empty, and lie between start and end (to the second)."""
        found = renewal(due_at=NOW + timedelta(seconds=seconds)).window(certificate)
        self.assertGreaterEqual(found.end - found.start, LEAST)
        self.assertGreaterEqual(found.start, NOW)
        self.assertLessEqual(found.end, NOW + timedelta(seconds=seconds))

    def test_moved_to_earlier_alone(self) -> None:
        """A window moves only towards an earlier time; of several renewals the earliest counts."""
        old = issued(NOW - HOUR)
        late, early = Window(NOW + 99 * HOUR, NOW + 100 * HOUR), Window(NOW - 2 * HOUR, NOW - HOUR)
        self.assertIsNone(moved([renewal()], old, early))
        self.assertIsNone(moved([], old, late))
        self.assertIsNone(moved([renewal(profile_id="other")], old, late))
        soon = renewal(id="renew-2", due_at=NOW + timedelta(seconds=24))
        found = moved([renewal(), soon], old, late)
        assert found is not None
        self.assertEqual(found, (soon.window(old.id), soon))
