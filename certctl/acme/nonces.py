"""Anti-replay nonces (RFC 8555 section 6.5) that cost no memory until they are spent.

A nonce is the time it was made and ten random octets, with a MAC by which every replica knows it again. Only
when one is redeemed does the storage keep its 16 octets, which sort by age, until that age has expired.

Keys follow one another by the day, and the time in a nonce names the key of its MAC: that of its day, whatever the
clock of who looks says. Each key is there a day or two before its own day, so that all replicas know it in time.
"""

from __future__ import annotations

import hmac
import itertools
import os
from collections.abc import Callable
from datetime import timedelta
from hashlib import blake2b
from typing import NamedTuple

from certctl.acme.encoding import base64url, from_base64url
from certctl.acme.problems import Problem, ProblemType

CLOCK_SKEW = timedelta(seconds=60)  # by which the clocks of two replicas may differ
KEY_PERIOD = timedelta(
    days=1
)  # for which nonces are minted under a key; all replicas look for new ones within it
MIN_KEY = 32  # octets; keyed BLAKE2b takes 64 at most (RFC 7693 section 2.9)
LENGTH = 43  # characters
_DOMAIN = b"certctl nonce 1"  # told apart from the key's other uses, if there ever are any
_TIME = 6  # octets: milliseconds until the year 10889
_RANDOM = 10
_ID = _TIME + _RANDOM
_MAC = 16


class NonceKey(NamedTuple):
    """A key, and from when on nonces are minted under it, in milliseconds since 1970."""

    begins: int
    octets: bytes


NonceKeys = tuple[NonceKey, ...]  # ascending; nonces from before the first are under the first


def due(keys: NonceKeys, now: float) -> int | None:
    """When the key begins that must be made now; None if it is there.

    It is the same for all replicas, so that of two that make it at once one is too late and takes the other's.
    """
    period = _milliseconds(KEY_PERIOD)
    begins = (int(now * 1000) // period + 2) * period
    return begins if all(each.begins < begins for each in keys) else None


def over(keys: NonceKeys, floor: bytes) -> NonceKeys:
    """The keys of which all nonces lie below ``floor``: each whose successor begins there."""
    oldest = int.from_bytes(floor[:_TIME], "big")
    return tuple(key for key, successor in itertools.pairwise(keys) if successor.begins <= oldest)


class NonceMint:
    """Makes nonces and recognises its own, and those of every other mint with the same keys."""

    def __init__(self, keys: Callable[[], NonceKeys], lifetime: timedelta) -> None:
        """``keys`` is asked with each nonce; one under a key that is not among them any more is bad."""
        if any(len(each.octets) < MIN_KEY for each in keys()):
            raise ValueError(f"the key of a mint has {MIN_KEY} octets at least")
        self._keys = keys
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
        return blake2b(identity, key=self._key_of(identity), person=_DOMAIN, digest_size=_MAC).digest()

    def _key_of(self, identity: bytes) -> bytes:
        """The key of the time at which a nonce was minted."""
        minted, keys = int.from_bytes(identity[:_TIME], "big"), self._keys()
        for key in reversed(keys):
            if key.begins <= minted:
                return key.octets
        return keys[0].octets


def _milliseconds(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)


def _bad(detail: str) -> Problem:
    return Problem(ProblemType.BAD_NONCE, detail)
