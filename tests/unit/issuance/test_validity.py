"""For how long a certificate is given."""

from __future__ import annotations

from datetime import timedelta

from twisted.trial.unittest import SynchronousTestCase

from certctl.issuance.profile import ValidityError, validity
from tests.unit.issuance.test_profile import DAY, ISSUER, NOW, SECOND, octets, template


class ValidityTests(SynchronousTestCase):
    FAR = NOW + 1000 * DAY
    LIFETIME = 90 * DAY

    def test_plain(self) -> None:
        """It starts a minute ago and, both ends counted, lasts exactly its lifetime."""
        starts, ends = validity(NOW + timedelta(microseconds=7), self.LIFETIME, self.FAR)
        self.assertEqual(starts, NOW - timedelta(minutes=1))
        self.assertEqual(ends - starts + SECOND, self.LIFETIME)

    def test_short_life_is_not_eaten_up(self) -> None:
        starts, ends = validity(NOW, timedelta(seconds=60), self.FAR)
        self.assertEqual((starts, ends), (NOW - 6 * SECOND, NOW + 53 * SECOND))

    def test_issuer_ends_first(self) -> None:
        """What the client left open is cut to the issuer's end."""
        end = NOW + 10 * DAY
        self.assertEqual(validity(NOW, self.LIFETIME, end)[1], end)
        self.assertEqual(validity(NOW, self.LIFETIME, end, not_before=NOW + DAY), (NOW + DAY, end))

    def test_asked_and_given(self) -> None:
        starts, ends = NOW + DAY, NOW + 7 * DAY
        self.assertEqual(validity(NOW, self.LIFETIME, self.FAR, starts, ends), (starts, ends))
        self.assertEqual(
            validity(NOW, self.LIFETIME, self.FAR, not_after=ends), (NOW - timedelta(minutes=1), ends)
        )
        self.assertEqual(
            validity(NOW, self.LIFETIME, self.FAR, not_before=starts),
            (starts, starts + self.LIFETIME - SECOND),
        )

    def test_whole_lifetime_asked_from_now(self) -> None:
        """An end at the edge of the lifetime costs the backdating, not the order."""
        wanted = NOW + self.LIFETIME - SECOND
        self.assertEqual(validity(NOW, self.LIFETIME, self.FAR, not_after=wanted), (NOW, wanted))

    def test_asked_and_refused(self) -> None:
        """RFC 8555 section 7.4: a certificate with contents other than those requested must not be issued."""
        for starts, ends in (
            (None, NOW + 91 * DAY),  # longer than the lifetime
            (NOW, NOW + self.LIFETIME),  # by the one second that both ends make
            (None, NOW),  # over before it begins
            (NOW + DAY, NOW + DAY),
            (NOW + 2 * DAY, NOW + DAY),
            (NOW - 200 * DAY, None),  # would have ended
        ):
            self.assertRaises(ValidityError, validity, NOW, self.LIFETIME, self.FAR, starts, ends)

    def test_asked_beyond_the_issuer(self) -> None:
        error = self.assertRaises(
            ValidityError, validity, NOW, self.LIFETIME, NOW + 5 * DAY, None, NOW + 6 * DAY
        )
        self.assertEqual(str(error), "notAfter may be 2026-05-22T12:00:00Z at most, when the issuing CA ends")

    def test_issuer_ended(self) -> None:
        self.assertRaises(ValidityError, validity, NOW, self.LIFETIME, NOW - SECOND)

    def test_fits_the_profile(self) -> None:
        """What comes out goes into a template as it is."""
        starts, ends = validity(NOW, 10_000 * DAY, ISSUER.expires_at)
        octets(template(not_before=starts, not_after=ends))
