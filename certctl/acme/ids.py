"""Ids of resources: a prefix that says what it is, the time in milliseconds, and 128 random bits."""

from __future__ import annotations

import secrets
from datetime import datetime

ACCOUNT = "acme-acc"
ORDER = "acme-ord"
AUTHORIZATION = "acme-authz"
CHALLENGE = "acme-chall"
PROFILE = "prof"
EAB_KEY = "eab"
API_KEY = "key"
MASS_RENEWAL = "renew"
CERTIFICATE = "cv"  # a certificate version


def new(prefix: str, now: datetime) -> str:
    """A new id, 44 hexadecimal digits after the prefix.

    The time stands first, so that rows made together lie together in every index; the random part is what must not be
    guessed.
    """
    return f"{prefix}-{int(now.timestamp() * 1000):012x}{secrets.token_hex(16)}"


def least(prefix: str, moment: datetime) -> str:
    """What sorts before every id that is made at that time or later, and behind all others."""
    return f"{prefix}-{max(0, int(moment.timestamp() * 1000)):012x}"


def token() -> str:
    """A challenge's token: 256 random bits in base64url (RFC 8555 section 8.1 asks for 128)."""
    return secrets.token_urlsafe(32)
