"""Accounts in ``acme_accounts``."""

from __future__ import annotations

from datetime import datetime

from certctl.acme.objects import Account, Status
from certctl.storage.database import Json, Query, Row, Statement, first

_COLUMNS = "id, profile_id, thumbprint, jwk, contact, status, terms_agreed, created_at"


def _account(row: Row) -> Account:
    id, profile_id, thumbprint, jwk, contact, status, terms_agreed, created_at = row
    return Account(
        id=id,
        profile_id=profile_id,
        thumbprint=thumbprint,
        jwk=jwk,
        contact=tuple(contact),
        status=Status(status),
        terms_agreed=terms_agreed,
        created_at=created_at,
    )


def by_id(profile_id: str, account_id: str) -> Query[Account | None]:
    """The profile's account of that id."""
    return Query(
        f"SELECT {_COLUMNS} FROM acme_accounts WHERE id = ? AND profile_id = ?",
        (account_id, profile_id),
        first(_account),
    )


def by_thumbprint(profile_id: str, thumbprint: str) -> Query[Account | None]:
    """The profile's account that holds the key of that thumbprint (RFC 7638)."""
    return Query(
        f"SELECT {_COLUMNS} FROM acme_accounts WHERE profile_id = ? AND thumbprint = ?",
        (profile_id, thumbprint),
        first(_account),
    )


def insert(account: Account) -> Statement:
    """Add an account; touches no row if its key is taken."""
    return Statement(
        f"INSERT INTO acme_accounts ({_COLUMNS}, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            account.id,
            account.profile_id,
            account.thumbprint,
            account.jwk,
            Json(account.contact),
            account.status.value,
            account.terms_agreed,
            account.created_at,
            account.created_at,
        ),
        rows=1,
    )


def update(account_id: str, contact: tuple[str, ...], terms_agreed: bool, now: datetime) -> Statement:
    """Replace contacts and agreement of an account that is still valid."""
    return Statement(
        "UPDATE acme_accounts SET contact = ?, terms_agreed = ?, updated_at = ? WHERE id = ? AND status = 'valid'",
        (Json(contact), terms_agreed, now, account_id),
        rows=1,
    )


def deactivate(account_id: str, now: datetime) -> Statement:
    """Move an account from valid to deactivated."""
    return Statement(
        "UPDATE acme_accounts SET status = 'deactivated', updated_at = ? WHERE id = ? AND status = 'valid'",
        (now, account_id),
        rows=1,
    )


def roll_key(account: Account, jwk: str, thumbprint: str, now: datetime) -> Statement:
    """Give a valid account another key, unless its key changed meanwhile or another account holds the new one."""
    return Statement(
        "UPDATE acme_accounts SET jwk = ?, thumbprint = ?, updated_at = ?"
        " WHERE id = ? AND status = 'valid' AND thumbprint = ?"
        " AND NOT EXISTS (SELECT 1 FROM acme_accounts WHERE profile_id = ? AND thumbprint = ?)",
        (jwk, thumbprint, now, account.id, account.thumbprint, account.profile_id, thumbprint),
        rows=1,
    )
