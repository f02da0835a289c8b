"""How often in a row an account failed to show control of a name, in ``acme_validation_failures``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from certctl.acme.identifiers import Identifier
from certctl.storage.database import Query, Statement, placeholders


def count(account_id: str, identifier: Identifier, now: datetime) -> Statement:
    """One failure more."""
    return Statement(
        "INSERT INTO acme_validation_failures (account_id, identifier, failures, updated_at) VALUES (?, ?, 1, ?)"
        " ON CONFLICT (account_id, identifier) DO UPDATE SET"
        " failures = acme_validation_failures.failures + 1, updated_at = excluded.updated_at",
        (account_id, identifier.value, now),
    )


def forget(account_id: str, identifier: Identifier) -> Statement:
    """No failure any more: control was shown."""
    return Statement(
        "DELETE FROM acme_validation_failures WHERE account_id = ? AND identifier = ?",
        (account_id, identifier.value),
    )


def any_old(before: datetime) -> Query[bool]:
    """Whether there are failures that nobody repeated for long."""
    return Query("SELECT 1 FROM acme_validation_failures WHERE updated_at < ? LIMIT 1", (before,), bool)


def forget_old(before: datetime, most: int) -> Statement:
    """Forget failures that nobody repeated for long, so many accounts' at most."""
    return Statement(
        "DELETE FROM acme_validation_failures WHERE updated_at < ? AND account_id IN"
        " (SELECT account_id FROM acme_validation_failures WHERE updated_at < ? ORDER BY updated_at LIMIT ?)",
        (before, before, most),
    )


def many(account_id: str, identifiers: Sequence[Identifier], limit: int, since: datetime) -> Query[set[str]]:
    """Those of the identifiers, as text, with ``limit`` failures or more of which the last was ``since`` then."""
    return Query(
        "SELECT identifier FROM acme_validation_failures WHERE account_id = ?"
        f" AND identifier IN ({placeholders(len(identifiers))}) AND failures >= ? AND updated_at >= ?",
        (account_id, *(each.value for each in identifiers), limit, since),
        lambda rows: {row[0] for row in rows},
    )
