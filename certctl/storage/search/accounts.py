"""Accounts, as operators look for them and change them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from certctl.acme.objects import Account
from certctl.storage import accounts
from certctl.storage.database import Json, Query, Row, Statement, every, first, searching
from certctl.storage.search.where import Where


@attrs.frozen(kw_only=True)
class AccountFilter:
    """Which accounts are looked for; None stands for any."""

    profile_id: str | None = None
    status: str | None = None
    thumbprint: str | None = None
    contact: str | None = None  # what one ends with, in whatever case
    eab_key_id: str | None = None

    def where(self) -> Where:
        """The conditions."""
        where = Where().equal(
            profile_id=self.profile_id,
            status=self.status,
            thumbprint=self.thumbprint,
            eab_key_id=self.eab_key_id,
        )
        if self.contact:
            least = accounts.backwards(self.contact)
            beyond = least[:-1] + bytes((least[-1] + 1,))  # UTF-8 has no octet 255
            where.also(
                "id IN (SELECT account_id FROM acme_account_contacts WHERE reversed_contact >= ?"
                " AND reversed_contact < ?)",
                least,
                beyond,
            )
        return where


@attrs.frozen(kw_only=True)
class SeenAccount:
    """An account, and when it was changed last."""

    account: Account
    updated_at: datetime


def _seen(row: Row) -> SeenAccount:
    return SeenAccount(account=accounts.read(row[:-1]), updated_at=row[-1])


_SELECT = f"SELECT {accounts.COLUMNS}, updated_at FROM acme_accounts"


def page(wanted: AccountFilter, limit: int, offset: int) -> Query[list[SeenAccount]]:
    """A page of accounts, the newest first."""
    where = wanted.where()
    return searching(
        f"{_SELECT} WHERE id IN (SELECT id FROM acme_accounts{where} ORDER BY id DESC LIMIT ? OFFSET ?)"
        " ORDER BY id DESC",
        (*where.parameters, limit, offset),
        every(_seen),
    )


def count(wanted: AccountFilter) -> Query[int]:
    """How many accounts there are."""
    where = wanted.where()
    return searching(
        f"SELECT count(*) FROM acme_accounts{where}", where.parameters, lambda rows: int(rows[0][0])
    )


def by_id(account_id: str) -> Query[SeenAccount | None]:
    """The account of that id, of whatever profile."""
    return Query(f"{_SELECT} WHERE id = ?", (account_id,), first(_seen))


def change(
    seen: SeenAccount, policy: Mapping[str, Any], paused_at: datetime | None, now: datetime
) -> Statement:
    """Give an account another policy or pause; touches no row if it was changed since it was seen."""
    return Statement(
        "UPDATE acme_accounts SET policy = ?, paused_at = ?, updated_at = ? WHERE id = ? AND updated_at = ?",
        (Json(policy), paused_at, now, seen.account.id, seen.updated_at),
        rows=1,
    )


@attrs.frozen(kw_only=True)
class Failures:
    """How often in a row an account failed to show control of a name."""

    identifier: str
    failures: int
    updated_at: datetime


def failures(account_id: str) -> Query[list[Failures]]:
    """The names of which an account failed to show control since it last did."""
    return Query(
        "SELECT identifier, failures, updated_at FROM acme_validation_failures WHERE account_id = ?"
        " ORDER BY identifier",
        (account_id,),
        every(lambda row: Failures(identifier=row[0], failures=row[1], updated_at=row[2])),
    )


def forget_failures(account_id: str, identifier: str | None) -> Statement:
    """Forget an account's failures, of one name or of all."""
    where = Where().equal(account_id=account_id, identifier=identifier)
    return Statement(f"DELETE FROM acme_validation_failures{where}", where.parameters)
