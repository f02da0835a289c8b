"""Anti-replay nonces (RFC 8555 section 6.5) that cost no memory until they are spent.

A nonce is the time it was made and ten random octets, with a MAC by which every replica knows it again. Only
when one is redeemed does the storage keep its 16 octets, which sort by age, until that age has expired.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from datetime import timedelta
from hashlib import blake2b

from certctl.acme.encoding import base64url, from_base64url
from certctl.acme.problems import Problem, ProblemType

CLOCK_SKEW = timedelta(seconds=60)  # by which the clocks of two replicas may differ
MIN_KEY = 32  # octets; keyed BLAKE2b takes 64 at most (RFC 7693 section 2.9)
LENGTH = 43  # characters
_DOMAIN = b"certctl nonce 1"  # told apart from the key's other uses, if there ever are any
_TIME = 6  # octets: milliseconds until the year 10889
_RANDOM = 10
_ID = _TIME + _RANDOM
_MAC = 16


class NonceMint:
    """Makes nonces and recognises its own, and those of every other mint with the same key."""

    def __init__(self, key: Callable[[], bytes], lifetime: timedelta) -> None:
        """``key`` is asked for each nonce, as another may take its place; nonces under the old one are bad then."""
        if len(key()) < MIN_KEY:
            raise ValueError(f"the key of a mint has {MIN_KEY} octets at least")
        self._key = key
        self._lifetime = _milliseconds(lifetime)

    def mint(self, now: float) -> str:
        """Return a fresh nonce; ``now`` is in seconds since the epoch."""
        identity = int(now * 1000).to_bytes(_TIME, "big") + os.urandom(_RANDOM)
        return base64url(identity + self._mac(identity))

    def redeemable(self, nonce: str, now: float) -> bytes:
        """Return the 16 octets by which the storage spends ``nonce``; raise Problem badNonce if it is bad."""
        if len(nonce) != LENGTH:
            raise _bad("the nonce is not one of this server's")
        try:
            octets = from_base64url(nonce)
        except ValueError:
            raise _bad("the nonce is not one of this server's") from None
        identity = octets[:_ID]
        if not hmac.compare_digest(octets[_ID:], self._mac(identity)):
            raise _bad("the nonce is not one of this server's")
        minted, clock = int.from_bytes(identity[:_TIME], "big"), int(now * 1000)
        if minted < clock - self._lifetime:
            raise _bad("the nonce has expired")
        if minted > clock + _milliseconds(CLOCK_SKEW):
            raise _bad("the nonce is from the future")
        return identity

    def floor(self, now: float) -> bytes:
        """Return the 16 octets below which nonces have expired on all replicas: spent ones may be forgotten.

        A replica whose clock is behind still takes what has expired here: that is kept for CLOCK_SKEW longer,
        or it could be replayed there.
        """
        oldest = int(now * 1000) - self._lifetime - _milliseconds(CLOCK_SKEW)
        return max(oldest, 0).to_bytes(_TIME, "big") + bytes(_RANDOM)

    def _mac(self, identity: bytes) -> bytes:
        return blake2b(identity, key=self._key(), person=_DOMAIN, digest_size=_MAC).digest()


def _milliseconds(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


def _bad(detail: str) -> Problem:
    return Problem(ProblemType.BAD_NONCE, detail)
