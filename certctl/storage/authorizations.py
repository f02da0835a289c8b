"""Authorizations in ``acme_authorizations`` and their challenges in ``acme_challenges``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from certctl.acme.identifiers import Identifier, IdentifierType
from certctl.acme.objects import Authorization, AuthorizationState, Challenge, ChallengeType, Status
from certctl.storage.database import Json, Query, Row, Statement, placeholders

_OWN = "id, profile_id, account_id, identifier_type, identifier_value, wildcard, status, proved, expires_at, created_at"
_COLUMNS = ", ".join(f"a.{name}" for name in _OWN.split(", "))
_CHALLENGE = "id, authorization_id, type, token, status, validated_at, error"
# Said twice, for SQLite takes a partial index only for a condition that it finds in the query word for word.
_HELD = "status IN ('pending', 'valid') AND status = 'valid'"
_WITH_CHALLENGES = (
    f"SELECT {_COLUMNS}, {', '.join(f'c.{name}' for name in _CHALLENGE.split(', '))}"
    " FROM acme_authorizations a JOIN acme_challenges c ON c.authorization_id = a.id"
)


def _challenge(row: Row) -> Challenge:
    id, authorization_id, type, token, status, validated_at, error = row
    return Challenge(
        id=id,
        authorization_id=authorization_id,
        type=ChallengeType(type),
        token=token,
        status=Status(status),
        validated_at=validated_at,
        error=error,
    )


def _authorization(rows: list[Row]) -> Authorization | None:
    if not rows:
        return None
    id, profile_id, account_id, kind, value, wildcard, status, proved, expires_at, created_at = rows[0][:10]
    return Authorization(
        id=id,
        profile_id=profile_id,
        account_id=account_id,
        identifier=Identifier(IdentifierType(kind), value),
        wildcard=wildcard,
        status=Status(status),
        proved=proved,
        expires_at=expires_at,
        created_at=created_at,
        challenges=tuple(_challenge(row[10:]) for row in rows),
    )


def by_id(authorization_id: str) -> Query[Authorization | None]:
    """The authorization of that id with its challenges."""
    return Query(f"{_WITH_CHALLENGES} WHERE a.id = ? ORDER BY c.type", (authorization_id,), _authorization)


def by_challenge(challenge_id: str) -> Query[Authorization | None]:
    """The authorization to which a challenge belongs, with all of its challenges."""
    return Query(
        f"{_WITH_CHALLENGES} WHERE a.id = (SELECT authorization_id FROM acme_challenges WHERE id = ?) ORDER BY c.type",
        (challenge_id,),
        _authorization,
    )


def valid_for(account_id: str, now: datetime) -> Query[set[Identifier]]:
    """The identifiers, wildcards with their asterisk, that an account has proved to control and still holds."""
    return Query(
        "SELECT identifier_type, identifier_value, wildcard FROM acme_authorizations"
        f" WHERE account_id = ? AND proved AND {_HELD} AND expires_at >= ?",
        (account_id, now),
        lambda rows: {_covers(row) for row in rows},
    )


def reusable(
    account_id: str, identifiers: Sequence[Identifier], until: datetime
) -> Query[dict[Identifier, AuthorizationState]]:
    """The account's valid authorizations, shown by a challenge, that hold until then, for any of the identifiers."""
    return Query(
        "SELECT identifier_type, identifier_value, wildcard, id, status, expires_at FROM acme_authorizations"
        f" WHERE account_id = ? AND identifier_value IN ({placeholders(len(identifiers))})"
        f" AND proved AND {_HELD} AND expires_at >= ? ORDER BY expires_at",
        (account_id, *(each.base.value for each in identifiers), until),
        lambda rows: {_covers(row): AuthorizationState(row[3], Status(row[4]), row[5]) for row in rows},
    )


def methods(order_id: str) -> Query[dict[Identifier, ChallengeType]]:
    """How control of each of an order's identifiers was shown, where it was shown by a challenge."""
    return Query(
        "SELECT a.identifier_type, a.identifier_value, a.wildcard, c.type FROM acme_order_authorizations l"
        " JOIN acme_authorizations a ON a.id = l.authorization_id"
        " JOIN acme_challenges c ON c.authorization_id = a.id AND c.status = 'valid'"
        " WHERE l.order_id = ? AND a.proved",
        (order_id,),
        lambda rows: {_covers(row): ChallengeType(row[3]) for row in rows},
    )


def _covers(row: Row) -> Identifier:
    """The identifier, with the asterisk of a wildcard, of a row that begins with type, value and wildcard."""
    return Identifier(IdentifierType(row[0]), ("*." if row[2] else "") + row[1])


def expired(now: datetime, limit: int) -> Query[list[str]]:
    """The ids of pending and valid authorizations whose time is over."""
    return Query(
        "SELECT id FROM acme_authorizations WHERE status IN ('pending', 'valid') AND expires_at < ?"
        " ORDER BY expires_at LIMIT ?",
        (now, limit),
        lambda rows: [row[0] for row in rows],
    )


def insert(authorization: Authorization) -> list[Statement]:
    """Add an authorization and its challenges, if it has any."""
    added = Statement(
        f"INSERT INTO acme_authorizations ({_OWN}, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            authorization.id,
            authorization.profile_id,
            authorization.account_id,
            authorization.identifier.type.value,
            authorization.identifier.value,
            authorization.wildcard,
            authorization.status.value,
            authorization.proved,
            authorization.expires_at,
            authorization.created_at,
            authorization.created_at,
        ),
    )
    if not authorization.challenges:
        return [added]
    return [added, _insert_challenges(authorization.challenges, authorization.created_at)]


def _insert_challenges(challenges: Sequence[Challenge], now: datetime) -> Statement:
    """Add all challenges of an authorization at once."""
    rows = ", ".join(["(?, ?, ?, ?, ?, ?, NULL, ?, ?)"] * len(challenges))
    values = (
        (
            each.id,
            each.authorization_id,
            each.type.value,
            each.token,
            each.status.value,
            each.validated_at,
            now,
            now,
        )
        for each in challenges
    )
    return Statement(
        f"INSERT INTO acme_challenges ({_CHALLENGE}, created_at, updated_at) VALUES {rows}", [*chain(*values)]
    )


def move(authorization: Authorization, to: Status, now: datetime) -> Statement:
    """Move an authorization on from the state that it was seen in."""
    return Statement(
        "UPDATE acme_authorizations SET status = ?, updated_at = ? WHERE id = ? AND status = ?",
        (to.value, now, authorization.id, authorization.status.value),
        rows=1,
    )


def expire(authorization_ids: Sequence[str], now: datetime) -> Statement:
    """Move authorizations whose time is over on: from valid to expired, from pending to invalid."""
    return Statement(
        "UPDATE acme_authorizations SET status = CASE status WHEN 'valid' THEN 'expired' ELSE 'invalid' END,"
        f" updated_at = ? WHERE id IN ({placeholders(len(authorization_ids))})"
        " AND status IN ('pending', 'valid') AND expires_at < ?",
        (now, *authorization_ids, now),
        rows=len(authorization_ids),
    )


def deactivate_all(account_id: str, now: datetime) -> Statement:
    """Move all authorizations of an account that could still serve to deactivated."""
    return Statement(
        "UPDATE acme_authorizations SET status = 'deactivated', updated_at = ?"
        " WHERE account_id = ? AND status IN ('pending', 'valid')",
        (now, account_id),
    )


def processing(before: datetime) -> Query[list[tuple[str, str]]]:
    """The ids of the challenges that have been processing without news since then, behind their authorizations'."""
    return Query(
        "SELECT authorization_id, id FROM acme_challenges WHERE status = 'processing' AND updated_at <= ?"
        " ORDER BY updated_at",
        (before,),
        lambda rows: [(row[0], row[1]) for row in rows],
    )


def process(challenge_id: str, now: datetime) -> Statement:
    """Move a challenge from pending to processing, while its authorization is pending."""
    return Statement(
        "UPDATE acme_challenges SET status = 'processing', updated_at = ? WHERE id = ? AND status = 'pending'"
        " AND EXISTS (SELECT 1 FROM acme_authorizations a WHERE a.id = authorization_id AND a.status = 'pending')",
        (now, challenge_id),
        rows=1,
    )


def note(challenge: Challenge, error: Mapping[str, Any], now: datetime) -> Statement:
    """Show why the last try failed, while the challenge is processing still (RFC 8555 section 8.2)."""
    return Statement(
        "UPDATE acme_challenges SET error = ?, updated_at = ? WHERE id = ? AND status = 'processing'",
        (Json(error), now, challenge.id),
    )


def prove(challenge: Challenge, expires_at: datetime, now: datetime) -> list[Statement]:
    """Move a challenge from processing, and its authorization from pending, to valid."""
    return [
        Statement(
            "UPDATE acme_challenges SET status = 'valid', validated_at = ?, error = NULL, updated_at = ?"
            " WHERE id = ? AND status = 'processing'",
            (now, now, challenge.id),
            rows=1,
        ),
        Statement(
            "UPDATE acme_authorizations SET status = 'valid', proved = TRUE, expires_at = ?, updated_at = ?"
            " WHERE id = ? AND status = 'pending' AND expires_at >= ?",
            (expires_at, now, challenge.authorization_id, now),
            rows=1,
        ),
    ]


def disprove(challenge: Challenge, error: Mapping[str, Any], now: datetime) -> list[Statement]:
    """Move a challenge from processing, and its authorization from pending, to invalid."""
    return [
        abandon(challenge, error, now),
        Statement(
            "UPDATE acme_authorizations SET status = 'invalid', updated_at = ? WHERE id = ? AND status = 'pending'",
            (now, challenge.authorization_id),
            rows=1,
        ),
    ]


def abandon(challenge: Challenge, error: Mapping[str, Any], now: datetime) -> Statement:
    """Move a challenge from processing to invalid, whatever its authorization is."""
    return Statement(
        "UPDATE acme_challenges SET status = 'invalid', error = ?, updated_at = ?"
        " WHERE id = ? AND status = 'processing'",
        (Json(error), now, challenge.id),
        rows=1,
    )
