"""The request of a CA whose root is on another machine."""

from __future__ import annotations

from certctl.issuance import founding
from certctl.issuance.hierarchy import Files
from certctl.issuance.issuer import IssuerError
from tests.unit.issuance.cases import DirectoryCase

ALGORITHM = "ecdsa-p256"


class RequestTests(DirectoryCase):
    """What ``certctl ca request`` leaves behind."""

    def setUp(self) -> None:
        super().setUp()
        self.directory.mkdir(parents=True)
        self.key = Files.under(self.directory).issuing_key

    def test_name_that_no_certificate_can_have(self) -> None:
        """No key is made for it: a key without a certificate would keep the server from starting."""
        for name in ("", " ", "x" * 65, "\u00f4" * 33, "two\nlines", "\udc80"):
            with self.assertRaisesRegex(IssuerError, "choose another"):
                founding.request(self.directory, name, ALGORITHM, None)
            self.assertFalse(self.key.exists())

    def test_longest_name(self) -> None:
        """64 octets fit; asked again, the key is the same."""
        name = "\u00f4" * 32
        first, again = (founding.request(self.directory, name, ALGORITHM, None) for _ in range(2))
        self.assertEqual(first.subject.rfc4514_string(), f"CN={name}")
        self.assertEqual(first.public_key(), again.public_key())
