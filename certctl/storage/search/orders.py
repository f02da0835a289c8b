"""Orders, as operators look for them."""

from __future__ import annotations

from datetime import datetime

import attrs

from certctl.acme import ids
from certctl.acme.identifiers import Identifier
from certctl.acme.objects import Order, Status
from certctl.storage.database import Query, Row, every, searching
from certctl.storage.orders import OPEN, unpack
from certctl.storage.search.where import Where

_COLUMNS = (
    "id, profile_id, account_id, status, identifiers, expires_at, created_at, not_before, not_after, error,"
    " certificate_id"
)
_NAMED = (
    "id IN (SELECT l.order_id FROM acme_authorizations a JOIN acme_order_authorizations l"
    " ON l.authorization_id = a.id WHERE a.identifier_type = ? AND a.identifier_value = ? AND a.wildcard = ?)"
)


def _of_status(status: str) -> tuple[str, ...]:
    """The condition in the words of the partial index that has such orders, if there is one."""
    if status == "invalid":
        return ("status = 'invalid'",)
    return ("status = ?", status) if status == "valid" else (f"{OPEN} AND status = ?", status)


@attrs.frozen(kw_only=True)
class OrderFilter:
    """Which orders are looked for; None stands for any."""

    profile_id: str | None = None
    account_id: str | None = None
    status: str | None = None
    identifier: Identifier | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def where(self) -> Where:
        """The conditions. The time is that of the ids."""
        where = Where().equal(profile_id=self.profile_id, account_id=self.account_id)
        if self.status is not None:
            where.also(*_of_status(self.status))
        if self.identifier is not None:
            base = self.identifier.base
            where.also(_NAMED, base.type.value, base.value, self.identifier.wildcard)
        if self.created_after is not None:
            where.also("id >= ?", ids.least(ids.ORDER, self.created_after))
        if self.created_before is not None:
            where.also("id < ?", ids.least(ids.ORDER, self.created_before))
        return where


def _order(row: Row) -> Order:
    (
        id,
        profile_id,
        account_id,
        status,
        identifiers,
        expires,
        created,
        not_before,
        not_after,
        error,
        certificate,
    ) = row
    return Order(
        id=id,
        profile_id=profile_id,
        account_id=account_id,
        status=Status(status),
        identifiers=unpack(identifiers),
        authorizations=(),
        expires_at=expires,
        created_at=created,
        not_before=not_before,
        not_after=not_after,
        error=error,
        certificate_id=certificate,
    )


def page(wanted: OrderFilter, before: str | None, limit: int) -> Query[list[Order]]:
    """Orders behind a cursor, the newest first, without their authorizations."""
    where = wanted.where().before("id", before)
    return searching(
        f"SELECT {_COLUMNS} FROM acme_orders WHERE id IN"
        f" (SELECT id FROM acme_orders{where} ORDER BY id DESC LIMIT ?) ORDER BY id DESC",
        (*where.parameters, limit),
        every(_order),
    )
