"""As much of DER (X.690) as certificates, CRLs and OCSP need: written from parts, and read strictly of strangers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
ENUMERATED, UTC_TIME, GENERALIZED_TIME, SEQUENCE = 0x0A, 0x17, 0x18, 0x30
LAST_UTC_YEAR = 2049  # RFC 5280 section 5.1.2.4
TRUE = b"\x01\x01\xff"


class DerError(ValueError):
    """Octets that are not what they should be."""


def context(number: int) -> int:
    """The tag [number] of something constructed."""
    return 0xA0 | number


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return an element: its tag, the length of its parts together, and the parts."""
    return b"".join((header(tag, sum(map(len, parts))), *parts))


def header(tag: int, length: int) -> bytes:
    """Return what an element of so many octets begins with."""
    if length < 0x80:
        return bytes((tag, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets


def integer(value: int, tag: int = INTEGER) -> bytes:
    """Return a whole number that is not negative."""
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


@lru_cache(maxsize=64)
def oid(dotted: str) -> bytes:
    """Return an object identifier."""
    one, two, *rest = map(int, dotted.split("."))
    octets = bytearray()
    for arc in (40 * one + two, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | arc & 0x7F)
        octets += bytes(reversed(groups))
    return tlv(OID, bytes(octets))


def bit_string(octets: bytes) -> bytes:
    """Return a bit string of whole octets."""
    return tlv(BIT_STRING, b"\0", octets)


def time(moment: datetime) -> bytes:
    """Return a moment as certificates and CRLs write it (RFC 5280 sections 4.1.2.5 and 5.1.2.4)."""
    moment = moment.astimezone(UTC)
    if moment.year > LAST_UTC_YEAR:
        return generalized_time(moment)
    return tlv(UTC_TIME, moment.strftime("%y%m%d%H%M%SZ").encode("ascii"))


def generalized_time(moment: datetime) -> bytes:
    """Return a moment as OCSP writes it, without fractions of a second."""
    return tlv(GENERALIZED_TIME, moment.astimezone(UTC).strftime("%Y%m%d%H%M%SZ").encode("ascii"))


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    """Return an X.509 extension around the DER of its value."""
    return tlv(SEQUENCE, oid(dotted), TRUE if critical else b"", tlv(OCTET_STRING, value))


def elements(octets: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield tag, content and whole of each element in a row; raise DerError for anything but DER."""
    position, end = 0, len(octets)
    while position < end:
        start, tag = position, octets[position]
        if tag & 0x1F == 0x1F or position + 1 >= end:
            raise DerError("a tag of several octets, or nothing after the tag")
        length, position = octets[position + 1], position + 2
        if length & 0x80:
            count = length & 0x7F
            raw = octets[position : position + count]
            length, position = int.from_bytes(raw, "big"), position + count
            if not 1 <= count <= 4 or len(raw) != count or length < 0x80 or raw[0] == 0:
                raise DerError("a length that is not the shortest, or has no end")
        if position + length > end:
            raise DerError("an element is cut off")
        yield tag, octets[position : position + length], octets[start : position + length]
        position += length


def only(octets: bytes, tag: int) -> bytes:
    """Return the content of the one element that the octets are; raise DerError if it is another, or not alone."""
    found = list(elements(octets))
    if len(found) != 1 or found[0][0] != tag:
        raise DerError("another element than the one that belongs here")
    return found[0][1]


def natural(content: bytes) -> int:
    """Return the number that an INTEGER's content is; raise DerError for a negative or padded one."""
    if not content or content[0] & 0x80 or (len(content) > 1 and content[0] == 0 and not content[1] & 0x80):
        raise DerError("a number that is negative, empty or padded")
    return int.from_bytes(content, "big")
