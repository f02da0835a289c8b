"""The audit trail's chain as values: digests of events, batches that follow one another, signed checkpoints.

An event's digest is over its canonical JSON without its id; which id has which digest is what a batch says. So an event
that stands under another id is known again. All of it can be computed anew by whoever has the rows and this page:

- canonical JSON has its members sorted, no white space, and nothing but ASCII;
- the digest of an event is SHA-256 of ``certctl audit event 1`` and a line feed, and the canonical JSON of ``action``,
  ``actor``, ``created_at``, ``details``, ``resource_id`` and ``resource_type``;
- the hash of a batch is SHA-256 of ``certctl audit batch 1`` and a line feed, and the canonical JSON of its
  ``header``;
- what a checkpoint signs is ``certctl audit checkpoint 1`` and a line feed, and the canonical JSON of its document
  without the signature.

Times are in UTC with microseconds, octets in hexadecimal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DIGEST = 32  # octets of a SHA-256
GENESIS = bytes(DIGEST)  # what the first batch follows
MOST_IN_BATCH = 1_000_000  # ids that a batch may name, so that nobody fills the memory of who reads it

_EVENT = b"certctl audit event 1\n"
_BATCH = b"certctl audit batch 1\n"
_CHECKPOINT = b"certctl audit checkpoint 1\n"
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=repr).encode
_HEX = re.compile(r"(?:[0-9a-f]{2})*")

Ranges = tuple[tuple[int, int], ...]  # first and last ids, ascending


class Entry(NamedTuple):
    """A row of the trail as the database has it: time and details as text, whatever they say."""

    id: int
    created_at: Any
    actor: Any
    action: Any
    resource_type: Any
    resource_id: Any
    details: Any

    def document(self) -> dict[str, Any]:
        """The event's members, without its id."""
        return {
            "action": self.action,
            "actor": self.actor,
            "created_at": canonical_time(self.created_at),
            "details": _details(self.details),
            "resource_id": self.resource_id,
            "resource_type": self.resource_type,
        }

    def digest(self) -> bytes:
        """What a batch keeps of the event. Never raises: what is no event has a digest like no event's."""
        return sha256(_EVENT + _encode(self.document()).encode("ascii")).digest()


def canonical_time(text: Any) -> Any:
    """A time as either engine writes it, in the one form in which it is hashed; what is none stays as it is."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="microseconds")
    except (TypeError, ValueError, OverflowError):
        return text


def _details(text: Any) -> Any:
    try:
        return _decode(text)
    except (TypeError, ValueError, RecursionError):
        return text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of an object; a member that stands twice would say one thing here and another elsewhere."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


_decode = json.JSONDecoder(object_pairs_hook=_once).decode


@attrs.frozen(kw_only=True)
class Batch:
    """A link of the chain: which events it holds, with what digests, and the hash of the link before."""

    id: int
    created_at: datetime
    ranges: Ranges
    last_event_id: int  # the largest id in this batch and all before it
    digests: bytes = attrs.field(repr=False)
    previous: bytes
    hash: bytes

    @classmethod
    def of(cls, entries: Sequence[Entry], after: Batch | None, now: datetime) -> Batch:
        """The batch that follows ``after`` and holds these entries, which are in order of their ids."""
        unsigned = cls(
            id=1 if after is None else after.id + 1,
            created_at=now,
            ranges=ranges_of(each.id for each in entries),
            last_event_id=max(entries[-1].id, 0 if after is None else after.last_event_id),
            digests=b"".join(each.digest() for each in entries),
            previous=GENESIS if after is None else after.hash,
            hash=b"",
        )
        return attrs.evolve(unsigned, hash=unsigned.computed_hash())

    def header(self) -> dict[str, Any]:
        """What is hashed."""
        return {
            "created_at": self.created_at.astimezone(UTC).isoformat(timespec="microseconds"),
            "digests": sha256(self.digests).hexdigest(),
            "id": self.id,
            "last_event_id": self.last_event_id,
            "previous": self.previous.hex(),
            "ranges": [list(each) for each in self.ranges],
        }

    def computed_hash(self) -> bytes:
        """The hash that the batch must have."""
        return sha256(_BATCH + _encode(self.header()).encode("ascii")).digest()

    def items(self) -> Iterator[tuple[int, bytes]]:
        """The ids, ascending, with the digests of their events."""
        position = 0
        for first, last in self.ranges:
            for id in range(first, last + 1):
                yield id, self.digests[position : position + DIGEST]
                position += DIGEST


class Damaged(Exception):
    """What is stored as a batch or a checkpoint cannot be one."""


def batch_of(row: Sequence[Any]) -> Batch:
    """The batch of a row (id, created_at and ranges as text, last_event_id, digests, previous, hash); raise Damaged."""
    id, created_at, ranges, last_event_id, digests, previous, hash = row
    try:
        batch = Batch(
            id=id,
            created_at=_moment(created_at),
            ranges=tuple((_number(first), _number(last)) for first, last in json.loads(ranges)),
            last_event_id=_number(last_event_id),
            digests=bytes(memoryview(digests)),
            previous=bytes(memoryview(previous)),
            hash=bytes(memoryview(hash)),
        )
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise Damaged("what it holds is not what a batch holds") from None
    ends = [0, *(each for pair in batch.ranges for each in pair)]
    ascending = all(ends[at] < ends[at + 1] for at in range(0, len(ends) - 1, 2))
    ordered = ascending and all(first <= last for first, last in batch.ranges)
    count = sum(last - first + 1 for first, last in batch.ranges) if ordered else 0
    if not ordered or not 0 < count <= MOST_IN_BATCH or count * DIGEST != len(batch.digests):
        raise Damaged("its ranges and its digests do not fit together")
    return batch


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("not a whole number")
    return value


def ranges_of(ids: Iterable[int]) -> Ranges:
    """Ascending ids as ranges."""
    found: list[tuple[int, int]] = []
    for id in ids:
        if found and found[-1][1] == id - 1:
            found[-1] = found[-1][0], id
        else:
            found.append((id, id))
    return tuple(found)


@attrs.frozen(kw_only=True)
class Checkpoint:
    """A signature over the chain's end at some time: proof, for who has kept it, of all that came before."""

    batch_id: int
    hash: bytes
    last_event_id: int
    created_at: datetime
    public_key: bytes  # Ed25519, 32 octets
    signature: bytes = b""

    @classmethod
    def over(cls, batch: Batch, key: Ed25519PrivateKey, now: datetime) -> Checkpoint:
        """Sign the chain up to this batch."""
        unsigned = cls(
            batch_id=batch.id,
            hash=batch.hash,
            last_event_id=batch.last_event_id,
            created_at=now,
            public_key=key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw),
        )
        return attrs.evolve(unsigned, signature=key.sign(unsigned._signed()))

    def document(self) -> dict[str, Any]:
        """The checkpoint as JSON shows it."""
        return {
            "batch_id": self.batch_id,
            "created_at": self.created_at.astimezone(UTC).isoformat(timespec="microseconds"),
            "hash": self.hash.hex(),
            "last_event_id": self.last_event_id,
            "public_key": self.public_key.hex(),
            "signature": self.signature.hex(),
        }

    def line(self) -> str:
        """The checkpoint as a line of a file."""
        return _encode(self.document()) + "\n"

    def is_signed(self) -> bool:
        """Whether the signature is that of the key that the checkpoint names."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(self.signature, self._signed())
        except (InvalidSignature, ValueError):
            return False
        return True

    def _signed(self) -> bytes:
        document = self.document()
        del document["signature"]
        return _CHECKPOINT + _encode(document).encode("ascii")


def checkpoint_of_row(row: Sequence[Any]) -> Checkpoint:
    """The checkpoint of a row (batch_id, hash, last_event_id, created_at as text, public_key, signature).

    Raises Damaged.
    """
    batch_id, hash, last_event_id, created_at, public_key, signature = row
    try:
        return Checkpoint(
            batch_id=_number(batch_id),
            hash=bytes(memoryview(hash)),
            last_event_id=_number(last_event_id),
            created_at=_moment(created_at),
            public_key=bytes(memoryview(public_key)),
            signature=bytes(memoryview(signature)),
        )
    except (TypeError, ValueError, OverflowError):
        raise Damaged("what it holds is not what a checkpoint holds") from None


def checkpoint_of(document: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint that a JSON object shows; raise Damaged."""
    try:
        checkpoint = Checkpoint(
            batch_id=_number(document["batch_id"]),
            hash=_octets(document["hash"]),
            last_event_id=_number(document["last_event_id"]),
            created_at=_moment(document["created_at"]),
            public_key=_octets(document["public_key"]),
            signature=_octets(document["signature"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise Damaged("this is no checkpoint") from None
    return checkpoint


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment


def _octets(text: Any) -> bytes:
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        raise ValueError("not octets in hexadecimal")
    return bytes.fromhex(text)
