"""Accounts in ``acme_accounts``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from string import ascii_lowercase, ascii_uppercase

from certctl.acme.objects import Account, Profile, Status
from certctl.storage import profiles
from certctl.storage.database import Json, Query, Row, Statement, first, placeholders

_SMALL = str.maketrans(ascii_uppercase, ascii_lowercase)
COLUMNS = "id, profile_id, thumbprint, jwk, contact, status, terms_agreed, created_at, eab_key_id, policy, paused_at"


def read(row: Row) -> Account:
    """The account in a row of COLUMNS."""
    (
        id,
        profile_id,
        thumbprint,
        jwk,
        contact,
        status,
        terms_agreed,
        created_at,
        eab_key_id,
        policy,
        paused_at,
    ) = row
    return Account(
        id=id,
        profile_id=profile_id,
        thumbprint=thumbprint,
        jwk=jwk,
        contact=tuple(contact),
        status=Status(status),
        terms_agreed=terms_agreed,
        created_at=created_at,
        eab_key_id=eab_key_id,
        policy=policy,
        paused_at=paused_at,
    )


def _signer(rows: list[Row]) -> tuple[Profile | None, Account | None]:
    if not rows:
        return None, None
    profile, account = rows[0][: profiles.WIDTH], rows[0][profiles.WIDTH :]
    return profiles.read(profile), None if account[0] is None else read(account)


_JOINED = (
    f"SELECT {profiles.COLUMNS.format('p')}, {', '.join(f'a.{name}' for name in COLUMNS.split(', '))}"
    " FROM certificate_profiles p LEFT JOIN acme_accounts a ON a.profile_id = p.id AND"
)
_SIGNER_BY_ID = f"{_JOINED} a.id = ? WHERE p.id = ?"
_SIGNER_BY_THUMBPRINT = f"{_JOINED} a.thumbprint = ? WHERE p.id = ?"


def signer_by_id(profile_id: str, account_id: str) -> Query[tuple[Profile | None, Account | None]]:
    """A profile, and its account of that id."""
    return Query(_SIGNER_BY_ID, (account_id, profile_id), _signer, kept=True)


def signer_by_thumbprint(profile_id: str, thumbprint: str) -> Query[tuple[Profile | None, Account | None]]:
    """A profile, and its account that holds the key of that thumbprint (RFC 7638)."""
    return Query(_SIGNER_BY_THUMBPRINT, (thumbprint, profile_id), _signer, kept=True)


def by_id(profile_id: str, account_id: str) -> Query[Account | None]:
    """The profile's account of that id."""
    return Query(
        f"SELECT {COLUMNS} FROM acme_accounts WHERE id = ? AND profile_id = ?",
        (account_id, profile_id),
        first(read),
    )


def of_any_profile(account_id: str) -> Query[Account | None]:
    """The account of that id: an order may be under another profile than its account (draft-ietf-acme-profiles)."""
    return Query(f"SELECT {COLUMNS} FROM acme_accounts WHERE id = ?", (account_id,), first(read))


def by_thumbprint(profile_id: str, thumbprint: str) -> Query[Account | None]:
    """The profile's account that holds the key of that thumbprint (RFC 7638)."""
    return Query(
        f"SELECT {COLUMNS} FROM acme_accounts WHERE profile_id = ? AND thumbprint = ?",
        (profile_id, thumbprint),
        first(read),
    )


def insert(account: Account) -> Statement:
    """Add an account; touches no row if its key is taken."""
    return Statement(
        f"INSERT INTO acme_accounts ({COLUMNS}, updated_at) VALUES ({placeholders(12)}) ON CONFLICT DO NOTHING",
        (
            account.id,
            account.profile_id,
            account.thumbprint,
            account.jwk,
            Json(account.contact),
            account.status.value,
            account.terms_agreed,
            account.created_at,
            account.eab_key_id,
            Json(account.policy),
            account.paused_at,
            account.created_at,
        ),
        rows=1,
    )


def reachable(account_id: str, contact: Sequence[str]) -> Iterator[Statement]:
    """The contacts by which a new account is searched."""
    rows = [each for contact in dict.fromkeys(map(backwards, contact)) for each in (account_id, contact)]
    if rows:
        values = ", ".join(["(?, ?)"] * (len(rows) // 2))
        yield Statement(
            f"INSERT INTO acme_account_contacts (account_id, reversed_contact) VALUES {values}", rows
        )


def reachable_anew(account_id: str, contact: Sequence[str]) -> Iterator[Statement]:
    """The contacts by which an account is searched from now on."""
    yield Statement("DELETE FROM acme_account_contacts WHERE account_id = ?", (account_id,))
    yield from reachable(account_id, contact)


def backwards(contact: str) -> bytes:
    """A contact from its end to its beginning, in small letters: the octets by which it is searched (migration 25)."""
    return contact.translate(_SMALL)[::-1].encode("utf-8")


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
