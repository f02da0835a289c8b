"""Ids of resources: a prefix that says what it is, the time in milliseconds, and 128 random bits."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime

ACCOUNT = "acme-acc"
ORDER = "acme-ord"
AUTHORIZATION = "acme-authz"
CHALLENGE = "acme-chall"
CERTIFICATE = "cv"  # a certificate version


def new(prefix: str, now: datetime) -> str:
    """A new id, 36 characters after the prefix.

    The time stands first, so that rows made together lie together in every index; the random part is what must not be
    guessed. The digits are those of base32hex, whose order is the order of their values.
    """
    raw = int(now.timestamp() * 1000).to_bytes(6, "big") + secrets.token_bytes(16)
    return f"{prefix}-{base64.b32hexencode(raw).decode('ascii').rstrip('=').lower()}"


def token() -> str:
    """A challenge's token: 256 random bits in base64url (RFC 8555 section 8.1 asks for 128)."""
    return secrets.token_urlsafe(32)
