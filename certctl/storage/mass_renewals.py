"""Mass renewals in ``mass_renewals``."""

from __future__ import annotations

from datetime import datetime

from certctl.acme.mass_renewal import MassRenewal, Outcome
from certctl.storage.database import Json, Query, Row, Statement, every, first, placeholders

_NAMES = (
    "id",
    "name",
    "drill",
    "profile_id",
    "issuer_id",
    "account_id",
    "serials",
    "issued_before",
    "starts_at",
    "due_at",
    "explanation",
    "explanation_url",
    "created_by",
    "ended_at",
    "outcome",
)
_COLUMNS = ", ".join(_NAMES)
_SELECT = f"SELECT {_COLUMNS} FROM mass_renewals"
_RUNNING = "ended_at IS NULL"


def _renewal(row: Row) -> MassRenewal:
    found = dict(zip(_NAMES, row, strict=True))
    outcome = found["outcome"]
    return MassRenewal(
        **{
            **found,
            "drill": bool(found["drill"]),
            "serials": tuple(found["serials"]),
            "outcome": None if outcome is None else Outcome(outcome),
        }
    )


def by_id(renewal_id: str) -> Query[MassRenewal | None]:
    """The mass renewal of that id."""
    return Query(f"{_SELECT} WHERE id = ?", (renewal_id,), first(_renewal))


def running_ids() -> Query[tuple[str, ...]]:
    """The ids of those that have not ended: as long as these are the same, nothing has changed."""
    return Query(
        f"SELECT id FROM mass_renewals WHERE {_RUNNING} ORDER BY id",
        (),
        lambda rows: tuple(row[0] for row in rows),
    )


def running() -> Query[list[MassRenewal]]:
    """Those that have not ended."""
    return Query(f"{_SELECT} WHERE {_RUNNING} ORDER BY id", (), every(_renewal))


def page(is_running: bool | None, limit: int, offset: int) -> Query[list[MassRenewal]]:
    """Mass renewals, the newest first: those that run, those that do not, or all."""
    return Query(
        f"{_SELECT}{_where(is_running)} ORDER BY id DESC LIMIT ? OFFSET ?", (limit, offset), every(_renewal)
    )


def count(is_running: bool | None) -> Query[int]:
    """How many there are."""
    sql = f"SELECT count(*) FROM mass_renewals{_where(is_running)}"
    return Query(sql, (), lambda rows: int(rows[0][0]))


def _where(is_running: bool | None) -> str:
    if is_running is None:
        return ""
    return f" WHERE {_RUNNING}" if is_running else " WHERE ended_at IS NOT NULL"


def insert(renewal: MassRenewal) -> Statement:
    """Add a mass renewal."""
    values = (getattr(renewal, name) for name in _NAMES)
    return Statement(
        f"INSERT INTO mass_renewals ({_COLUMNS}) VALUES ({placeholders(len(_NAMES))})",
        tuple(Json(list(each)) if isinstance(each, tuple) else each for each in values),
        rows=1,
    )


def end(renewal_id: str, outcome: Outcome, now: datetime) -> Statement:
    """Let a mass renewal end; touches no row if it has ended."""
    return Statement(
        f"UPDATE mass_renewals SET ended_at = ?, outcome = ? WHERE id = ? AND {_RUNNING}",
        (now, outcome.value, renewal_id),
        rows=1,
    )
