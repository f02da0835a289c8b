"""The common name of a subject: what fits into one.

RFC 5280 appendix A.1 has 64 characters at most (ub-common-name); cryptography, which makes the names, 64 octets of
UTF-8, which are never more characters.
"""

from __future__ import annotations

MAX_COMMON_NAME = 64  # octets in UTF-8


def is_common_name(text: str) -> bool:
    """Whether a certificate can have this as a common name that people can read."""
    return text.isprintable() and bool(text.strip()) and len(text.encode("utf-8")) <= MAX_COMMON_NAME
