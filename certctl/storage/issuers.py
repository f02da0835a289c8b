"""Issuers as the database knows them: their certificates, and what is to become of them. Their keys lie elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import attrs

from certctl.storage.database import Query, Row, Statement, every, first


@attrs.frozen(kw_only=True)
class IssuerRecord:
    """An issuer: one key under one name. Another key is another issuer, even where it takes this one's place."""

    id: str
    chain: tuple[bytes, ...]  # the issuing CA first, without the root
    root: bytes | None
    created_at: datetime
    version: int = 1  # counts its changes
    successor_id: str | None = None  # who takes its place
    switch_at: datetime | None = None  # when that is to happen
    switched_at: datetime | None = None  # since when it has happened
    renew_by: datetime | None = None  # by when its certificates are to be replaced by the successor's
    retired_at: datetime | None = None  # since when it signs no certificates any more


@attrs.frozen(kw_only=True)
class IssuerRequest:
    """A key that waits for its certificate."""

    id: str
    request: bytes  # a CSR
    created_by: str
    created_at: datetime


_COLUMNS = "id, chain, root, created_at, version, successor_id, switch_at, switched_at, renew_by, retired_at"


def _record(row: Row) -> IssuerRecord:
    id, chain, root, created_at, version, successor_id, switch_at, switched_at, renew_by, retired_at = row
    return IssuerRecord(
        id=id,
        chain=split(bytes(chain)),
        root=None if root is None else bytes(root),
        created_at=created_at,
        version=version,
        successor_id=successor_id,
        switch_at=switch_at,
        switched_at=switched_at,
        renew_by=renew_by,
        retired_at=retired_at,
    )


def _request(row: Row) -> IssuerRequest:
    id, request, created_by, created_at = row
    return IssuerRequest(id=id, request=bytes(request), created_by=created_by, created_at=created_at)


def certificate_of(issuer_id: str) -> Query[bytes | None]:
    """The DER of the issuing certificate that is recorded for an issuer."""
    return Query(
        "SELECT certificate FROM issuers WHERE id = ?",
        (issuer_id,),
        lambda rows: bytes(rows[0][0]) if rows else None,
    )


def by_id(issuer_id: str) -> Query[IssuerRecord | None]:
    """The issuer of that id."""
    return Query(f"SELECT {_COLUMNS} FROM issuers WHERE id = ?", (issuer_id,), first(_record))


def everyone() -> Query[list[IssuerRecord]]:
    """All issuers."""
    return Query(f"SELECT {_COLUMNS} FROM issuers ORDER BY id", (), every(_record))


def versions() -> Query[Mapping[str, int]]:
    """Which issuers there are, and how often each was changed."""
    return Query("SELECT id, version FROM issuers", (), lambda rows: {row[0]: row[1] for row in rows})


def alternates() -> Query[Mapping[str, tuple[tuple[bytes, ...], ...]]]:
    """The other chains of each issuer that has some."""

    def build(rows: list[Row]) -> Mapping[str, tuple[tuple[bytes, ...], ...]]:
        found: dict[str, tuple[tuple[bytes, ...], ...]] = {}
        for issuer_id, chain in rows:
            found[issuer_id] = (*found.get(issuer_id, ()), split(bytes(chain)))
        return found

    return Query(
        "SELECT issuer_id, chain FROM issuer_chains ORDER BY issuer_id, created_at, sha256", (), build
    )


def live(issuer_id: str, now: datetime) -> Query[tuple[int, datetime | None]]:
    """How many of an issuer's certificates are neither revoked nor over, and when the last of them ends."""
    which = "issuer_id = ? AND not_after > ? AND revoked_at IS NULL"
    return Query(
        f"SELECT not_after, (SELECT count(*) FROM certificate_versions WHERE {which}) FROM certificate_versions"
        f" WHERE {which} ORDER BY not_after DESC LIMIT 1",
        (issuer_id, now, issuer_id, now),
        lambda rows: (rows[0][1], rows[0][0]) if rows else (0, None),
    )


def record(
    issuer_id: str, chain: Sequence[bytes], seen: bytes | None, now: datetime, root: bytes | None = None
) -> Statement:
    """Record an issuer's certificates in place of the one that was seen; touches no row if that is not there now."""
    if seen is None:
        return Statement(
            "INSERT INTO issuers (id, certificate, chain, root, created_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (issuer_id, chain[0], b"".join(chain), root, now),
            rows=1,
        )
    return Statement(
        "UPDATE issuers SET certificate = ?, chain = ?, root = ?, version = version + 1"
        " WHERE id = ? AND certificate = ?",
        (chain[0], b"".join(chain), root, issuer_id, seen),
        rows=1,
    )


def plan(record: IssuerRecord) -> Statement:
    """Store what is to become of an issuer, as its next version; touches no row if it was changed since it was read."""
    return Statement(
        "UPDATE issuers SET successor_id = ?, switch_at = ?, switched_at = ?, renew_by = ?, version = version + 1"
        " WHERE id = ? AND version = ? AND retired_at IS NULL",
        (
            record.successor_id,
            record.switch_at,
            record.switched_at,
            record.renew_by,
            record.id,
            record.version,
        ),
        rows=1,
    )


def retire(record: IssuerRecord, now: datetime, *, even_with_live: bool) -> Statement:
    """Retire an issuer; touches no row if it was changed, or if profiles, jobs, or live certificates, hang on it."""
    unless = (
        ""
        if even_with_live
        else " AND NOT EXISTS (SELECT 1 FROM certificate_versions"
        " WHERE issuer_id = ? AND not_after > ? AND revoked_at IS NULL)"
    )
    more = () if even_with_live else (record.id, now)
    return Statement(
        "UPDATE issuers SET retired_at = ?, switch_at = NULL, version = version + 1"
        " WHERE id = ? AND version = ? AND retired_at IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM certificate_profiles WHERE issuer_id = ? AND archived_at IS NULL)"
        " AND NOT EXISTS (SELECT 1 FROM issuers AS earlier WHERE earlier.successor_id = ?"
        " AND earlier.switch_at IS NOT NULL AND earlier.switched_at IS NULL)"
        f" AND NOT EXISTS (SELECT 1 FROM issuance_jobs WHERE issuer_id = ?){unless}",
        (now, record.id, record.version, record.id, record.id, record.id, *more),
        rows=1,
    )


def add_chain(record: IssuerRecord, chain: Sequence[bytes], sha256: str, now: datetime) -> list[Statement]:
    """Add another chain to an issuer; touches no row if it has that already, or was changed since it was read."""
    return [
        Statement(
            "INSERT INTO issuer_chains (issuer_id, sha256, chain, created_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (record.id, sha256, b"".join(chain), now),
            rows=1,
        ),
        _touched(record),
    ]


def remove_chain(record: IssuerRecord, sha256: str) -> list[Statement]:
    """Take a chain away from an issuer; touches no row if it has none of that digest."""
    removed = Statement(
        "DELETE FROM issuer_chains WHERE issuer_id = ? AND sha256 = ?", (record.id, sha256), rows=1
    )
    return [removed, _touched(record)]


def _touched(record: IssuerRecord) -> Statement:
    return Statement(
        "UPDATE issuers SET version = version + 1 WHERE id = ? AND version = ?",
        (record.id, record.version),
        rows=1,
    )


def request_by_id(issuer_id: str) -> Query[IssuerRequest | None]:
    """The request of that id."""
    return Query(
        "SELECT id, request, created_by, created_at FROM issuer_requests WHERE id = ?",
        (issuer_id,),
        first(_request),
    )


def requests() -> Query[list[IssuerRequest]]:
    """All keys that wait for their certificates."""
    return Query(
        "SELECT id, request, created_by, created_at FROM issuer_requests ORDER BY id", (), every(_request)
    )


def add_request(request: IssuerRequest) -> Statement:
    """Add a request; touches no row if the id is taken, by a request or by an issuer."""
    return Statement(
        "INSERT INTO issuer_requests (id, request, created_by, created_at) SELECT ?, ?, ?, ?"
        " WHERE NOT EXISTS (SELECT 1 FROM issuers WHERE id = ?) ON CONFLICT DO NOTHING",
        (request.id, request.request, request.created_by, request.created_at, request.id),
        rows=1,
    )


def remove_request(issuer_id: str) -> Statement:
    """Remove a request; touches no row if there is none."""
    return Statement("DELETE FROM issuer_requests WHERE id = ?", (issuer_id,), rows=1)


def split(octets: bytes) -> tuple[bytes, ...]:
    """Take certificates that were joined apart: each is a DER SEQUENCE, whose head says its length."""
    found = []
    while octets:
        length, head = octets[1], 2
        if length & 0x80:
            head += length & 0x7F
            length = int.from_bytes(octets[2:head], "big")
        found.append(octets[: head + length])
        octets = octets[head + length :]
    return tuple(found)
