"""When a certificate should be renewed, and how ACME names it meanwhile (RFC 9773)."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs
from cryptography import x509

from certctl.acme.encoding import base64url, from_base64url
from certctl.acme.members import Members, PolicyError

MAX_SERIAL = 21  # octets: twenty (RFC 5280 section 4.1.2.2) and the zero before a leading one bit
MAX_KEY_IDENTIFIER = 64  # octets; SHA-512 has as many, and RFC 5280 section 4.2.1.2 uses twenty
LEAST = timedelta(seconds=2)  # of a window: Caddy's client takes a shorter one for malformed
PAST = timedelta(days=1)  # the length of a window that lies in the past


@attrs.frozen
class CertID:
    """A certificate by its authority key identifier and serial (RFC 9773 section 4.1)."""

    key_identifier: bytes
    serial: str  # lower-case hex without leading zeros

    @classmethod
    def parse(cls, text: str) -> CertID:
        """Read a certID in its one form; raise ValueError for any other."""
        parts = text.split(".")
        if len(parts) != 2:
            raise ValueError("a certID is two parts with a period between them")
        key_identifier, serial = (from_base64url(part) for part in parts)
        if not 0 < len(key_identifier) <= MAX_KEY_IDENTIFIER:
            raise ValueError("a certID begins with the authority key identifier")
        if not 0 < len(serial) <= MAX_SERIAL:
            raise ValueError("a certID ends with the serial number")
        if serial[0] >= 0x80 or (len(serial) > 1 and serial[0] == 0 and serial[1] < 0x80) or serial == b"\0":
            raise ValueError("the serial number in a certID is a positive integer as DER writes it")
        return cls(key_identifier, f"{int.from_bytes(serial, 'big'):x}")

    @classmethod
    def of(cls, certificate: x509.Certificate) -> CertID:
        """The certID of a certificate, which must have an authority key identifier."""
        return cls(key_identifier_of(certificate), f"{certificate.serial_number:x}")

    def __str__(self) -> str:
        number = int(self.serial, 16)
        octets = number.to_bytes(number.bit_length() // 8 + 1, "big")
        return f"{base64url(self.key_identifier)}.{base64url(octets)}"


def key_identifier_of(certificate: x509.Certificate) -> bytes:
    """The key identifier of the authority that signed a certificate; empty if the certificate names none."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return b""
    return extension.value.key_identifier or b""


@attrs.frozen
class Window:
    """The time in which a certificate should be renewed, in whole seconds; ``end`` is later than ``start``."""

    start: datetime
    end: datetime


@attrs.frozen(kw_only=True)
class RenewalPolicy:
    """When a profile wants its certificates renewed, in parts of their lives, and the page that says why."""

    begins: float = 2 / 3  # after which the window begins
    ends: float = 5 / 6  # and ends: half of the last third is left for those who fail at first
    explanation_url: str | None = None

    @classmethod
    def of(cls, policy: Members) -> RenewalPolicy:
        """Read the member ``renewal`` of a profile's policy; raise PolicyError."""
        known = ("begins_percent", "ends_percent", "explanation_url")
        renewal = policy.within("renewal", known)
        begins, ends = (
            usual if (percent := renewal.number(name, 1, 99)) is None else percent / 100
            for name, usual in (("begins_percent", _USUAL.begins), ("ends_percent", _USUAL.ends))
        )
        if begins >= ends:
            raise PolicyError(renewal.at("ends_percent"), f"must be more than where it begins, {begins:.0%}")
        return cls(begins=begins, ends=ends, explanation_url=renewal.url("explanation_url"))

    def window(self, not_before: datetime, not_after: datetime) -> Window:
        """The window of a certificate by its life alone."""
        lifetime = not_after - not_before
        start, end = (
            (not_before + lifetime * part).replace(microsecond=0) for part in (self.begins, self.ends)
        )
        return Window(start, max(end, start + LEAST))


_USUAL = RenewalPolicy()


def overdue(since: datetime) -> Window:
    """The window of a certificate that should have been renewed, such as a revoked one: in the past (RFC 9773
    section 4.2).
    """
    end = since.replace(microsecond=0)
    return Window(end - PAST, end)


def hurried(window: Window, start: datetime, end: datetime) -> Window:
    """The window of a certificate that is to be replaced between two moments, if its own ends later.

    The same for all of them: a client picks its moment in it at random (RFC 9773 section 4.2), which spreads them.
    """
    if window.end <= end:
        return window
    start, end = start.replace(microsecond=0), end.replace(microsecond=0)
    return Window(start, max(end, start + LEAST))
