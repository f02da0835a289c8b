"""The spent nonces of the embedded engine, and the keys under which nonces are minted.

A nonce must be spent for ever, a restart included, but is worth no fsync and no row. The spent ones are kept in memory
and appended to a file for each minute in which they were minted; when all of a minute's have expired, its file goes
whole. What a process wrote before it was killed is still there; only a crash of the machine can lose it, and after one
the boot id differs: then the keys are made anew, and every nonce from before is invalid instead of replayable.
"""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

import attrs

from certctl.acme.nonces import NonceKey, NonceKeys, due, over

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_EPOCH = "epoch"
_NONCE = 16  # octets; the first six are the milliseconds since 1970
_KEY = 32  # octets
_MINUTE = 60_000  # milliseconds


def boot_id() -> str:
    """What tells this run of the machine from all others; where it cannot be told, one that fits none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return secrets.token_hex(16)


@attrs.define
class _Minute:
    """The spent nonces that were minted within a minute, and the file that has them too."""

    spent: set[bytes]
    path: Path | None
    descriptor: int | None

    def drop(self) -> int:
        if self.descriptor is not None and self.path is not None:
            os.close(self.descriptor)
            self.path.unlink(missing_ok=True)
        return len(self.spent)


class NonceStore:
    """Which nonces were spent; in a directory of its own, or in memory alone."""

    def __init__(self, directory: Path | None) -> None:
        """Open or make the directory; raise OSError if that cannot be."""
        self._directory = directory
        self._minutes: dict[int, _Minute] = {}
        self.keys: NonceKeys = (NonceKey(0, secrets.token_bytes(_KEY)),)
        if directory is None:
            return
        directory.mkdir(mode=0o700, exist_ok=True)
        if not (keys := _keys_of_this_boot(directory / _EPOCH)):
            for old in directory.iterdir():
                old.unlink()
            _write_epoch(directory / _EPOCH, self.keys)
        else:
            self.keys = keys
            for path in directory.glob("minute-*"):
                self._open(int(path.name.removeprefix("minute-")))

    def spend(self, nonce: bytes) -> bool:
        """Spend a nonce; return whether it was unspent. Raises OSError, and spends nothing, if it cannot be written."""
        number = int.from_bytes(nonce[:6], "big") // _MINUTE
        minute = self._minutes.get(number) or self._open(number)
        if nonce in minute.spent:
            return False
        if minute.descriptor is not None:
            _append(minute.descriptor, nonce)
        minute.spent.add(nonce)
        return True

    def forget(self, floor: bytes) -> int:
        """Forget the minutes that lie below ``floor`` whole; return how many nonces that were."""
        first = int.from_bytes(floor[:6], "big") // _MINUTE
        return sum(
            self._minutes.pop(number).drop() for number in [each for each in self._minutes if each < first]
        )

    def look_after_keys(self, now: float, floor: bytes) -> None:
        """Make the key that is due, and forget those whose nonces lie below ``floor``; raise OSError."""
        dead, begins = over(self.keys, floor), due(self.keys, now)
        kept = tuple(each for each in self.keys if each not in dead)
        if begins is not None:
            kept += (NonceKey(begins, secrets.token_bytes(_KEY)),)
        if kept != self.keys:
            if self._directory is not None:
                _write_epoch(self._directory / _EPOCH, kept)
            self.keys = kept

    def close(self) -> None:
        """Let go of the files."""
        for minute in self._minutes.values():
            if minute.descriptor is not None:
                os.close(minute.descriptor)
        self._minutes.clear()

    def _open(self, number: int) -> _Minute:
        minute = _Minute(set(), None, None)
        if self._directory is not None:
            minute.path = self._directory / f"minute-{number}"
            minute.descriptor = os.open(
                minute.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
            written = minute.path.read_bytes()
            whole = len(written) - len(written) % _NONCE
            os.ftruncate(
                minute.descriptor, whole
            )  # a kill can leave the last one unfinished, and so unanswered
            minute.spent = {written[at : at + _NONCE] for at in range(0, whole, _NONCE)}
        self._minutes[number] = minute
        return minute


def _append(descriptor: int, nonce: bytes) -> None:
    """Write a nonce whole or not at all: half a one, on a full disk, would shift all that follow."""
    written = os.write(descriptor, nonce)
    if written != _NONCE:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _keys_of_this_boot(path: Path) -> NonceKeys:
    """The keys, if the file is whole and from this boot; else none. A key without a time was the first."""
    try:
        (boot, first), *others = (line.split(" ") for line in path.read_text().splitlines())
        found = [NonceKey(0, bytes.fromhex(first)) if first else None]
        found += [NonceKey(int(begins), bytes.fromhex(key)) for begins, key in others]
    except (OSError, ValueError):
        return ()
    keys = tuple(sorted(each for each in found if each is not None))
    whole = keys and all(len(each.octets) == _KEY for each in keys)
    return keys if whole and boot == boot_id() else ()


def _write_epoch(path: Path, keys: NonceKeys) -> None:
    """Replace the file: the boot with the first of all keys, if it is there still; then a line for each other."""
    new = path.with_suffix(".new")
    first = "".join(each.octets.hex() for each in keys if not each.begins)
    lines = [f"{boot_id()} {first}", *(f"{each.begins} {each.octets.hex()}" for each in keys if each.begins)]
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(f"{line}\n" for line in lines))
    new.replace(path)
