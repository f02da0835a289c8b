"""The spent nonces of the embedded engine, and the key under which nonces are minted.

A nonce must be spent for ever, a restart included, but is worth no fsync: the file is written without one. What a
process wrote before it was killed is still there; only a crash of the machine can lose it, and after one the boot id
differs: then key and file are made anew, and every nonce from before is invalid instead of replayable.
"""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS epoch (boot_id TEXT NOT NULL, key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS acme_nonces (nonce BLOB PRIMARY KEY) WITHOUT ROWID;
"""


def boot_id() -> str:
    """What tells this run of the machine from all others; where it cannot be told, one that fits none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return secrets.token_hex(16)


class NonceStore:
    """Which nonces were spent."""

    key: bytes

    def __init__(self, path: Path) -> None:
        boot = boot_id()
        try:
            self._open(path, boot)
        except (sqlite3.DatabaseError, LookupError):  # from another boot, or damaged by its end
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._open(path, boot)

    def _open(self, path: Path, boot: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        try:
            for pragma in ("journal_mode = WAL", "synchronous = OFF"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._connection.executescript(_SCHEMA)
            row = self._connection.execute("SELECT boot_id, key FROM epoch").fetchone()
            if row is None:
                row = (boot, secrets.token_bytes(32))
                self._connection.execute("INSERT INTO epoch VALUES (?, ?)", row)
            if row[0] != boot:
                raise LookupError("the file is from another boot")
        except BaseException:
            self._connection.close()
            raise
        self.key = row[1]

    def spend(self, nonce: bytes) -> bool:
        """Spend a nonce; return whether it was unspent."""
        return (
            self._connection.execute("INSERT OR IGNORE INTO acme_nonces VALUES (?)", (nonce,)).rowcount == 1
        )

    def forget(self, floor: bytes, limit: int) -> int:
        """Delete ``limit`` nonces below ``floor`` at most, and say how many there were."""
        return self._connection.execute(
            "DELETE FROM acme_nonces WHERE nonce IN (SELECT nonce FROM acme_nonces WHERE nonce < ? LIMIT ?)",
            (floor, limit),
        ).rowcount

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
