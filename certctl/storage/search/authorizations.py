"""Authorizations, as operators look for them, and what was seen when their challenges were validated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from certctl.acme.identifiers import Identifier, IdentifierType
from certctl.acme.objects import Authorization, Status
from certctl.storage.database import Query, Row, every, placeholders, searching
from certctl.storage.search.where import Where

_COLUMNS = (
    "id, profile_id, account_id, identifier_type, identifier_value, wildcard, status, proved, expires_at,"
    " created_at"
)
# States that walks would hardly meet, and the words of the index that has them.
_ENDED = ("invalid", "deactivated", "revoked")
_IS_ENDED = "status IN ('invalid', 'deactivated', 'revoked')"


@attrs.frozen(kw_only=True)
class AuthorizationFilter:
    """Which authorizations are looked for; None stands for any."""

    profile_id: str | None = None
    account_id: str | None = None
    status: str | None = None
    identifier: Identifier | None = None

    def where(self) -> Where:
        """The conditions."""
        where = Where().equal(profile_id=self.profile_id, account_id=self.account_id, status=self.status)
        if self.status in _ENDED:
            where.also(_IS_ENDED)
        if self.identifier is not None:
            base = self.identifier.base
            where.equal(identifier_value=base.value, identifier_type=base.type.value)
            where.also("wildcard = ?", self.identifier.wildcard)
        return where


def _authorization(row: Row) -> Authorization:
    id, profile_id, account_id, type, value, wildcard, status, proved, expires_at, created_at = row
    return Authorization(
        id=id,
        profile_id=profile_id,
        account_id=account_id,
        identifier=Identifier(IdentifierType(type), value),
        wildcard=wildcard,
        status=Status(status),
        proved=proved,
        expires_at=expires_at,
        created_at=created_at,
    )


def page(wanted: AuthorizationFilter, before: str | None, limit: int) -> Query[list[Authorization]]:
    """Authorizations behind a cursor, the newest first, without their challenges."""
    where = wanted.where().before("id", before)
    return searching(
        f"SELECT {_COLUMNS} FROM acme_authorizations WHERE id IN"
        f" (SELECT id FROM acme_authorizations{where} ORDER BY id DESC LIMIT ?) ORDER BY id DESC",
        (*where.parameters, limit),
        every(_authorization),
    )


def evidence(challenge_ids: Sequence[str]) -> Query[dict[str, dict[str, Any]]]:
    """What the trail says of how challenges ended, by the challenge's id."""
    return searching(
        f"SELECT resource_id, details FROM audit_events WHERE resource_id IN ({placeholders(len(challenge_ids))})"
        " AND action = 'acme_challenge_completed' ORDER BY id",
        tuple(challenge_ids),
        lambda rows: {row[0]: row[1] for row in rows},
    )
