"""Issuers as the database knows them; their keys lie elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from certctl.storage.database import Query, Statement


def certificate_of(issuer_id: str) -> Query[bytes | None]:
    """The DER of the issuing certificate that is recorded for an issuer."""
    return Query(
        "SELECT certificate FROM issuers WHERE id = ?",
        (issuer_id,),
        lambda rows: bytes(rows[0][0]) if rows else None,
    )


def record(issuer_id: str, chain: Sequence[bytes], seen: bytes | None, now: datetime) -> Statement:
    """Record an issuer's certificates in place of the one that was seen; touches no row if that is not there now."""
    if seen is None:
        return Statement(
            "INSERT INTO issuers (id, certificate, chain, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (issuer_id, chain[0], b"".join(chain), now),
            rows=1,
        )
    return Statement(
        "UPDATE issuers SET certificate = ?, chain = ? WHERE id = ? AND certificate = ?",
        (chain[0], b"".join(chain), issuer_id, seen),
        rows=1,
    )
