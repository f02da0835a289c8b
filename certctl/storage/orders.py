"""Orders in ``acme_orders``, and the authorizations that they hang on in ``acme_order_authorizations``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from certctl.acme.identifiers import Identifier, IdentifierType
from certctl.acme.objects import AuthorizationState, Order, Status
from certctl.storage.database import Json, Query, Row, Statement, placeholders

OPEN = "status IN ('pending', 'ready', 'processing')"
# An order that has a job ends with that, which has a deadline of its own.
_LEFT = f"{OPEN} AND NOT EXISTS (SELECT 1 FROM issuance_jobs j WHERE j.order_id = acme_orders.id)"

_OWN = (
    "id, profile_id, account_id, status, identifiers, expires_at, created_at, not_before, not_after, error,"
    " certificate_id, replaces, replaces_id"
)
_WIDTH = len(_OWN.split(", "))
_COLUMNS = ", ".join(f"o.{name}" for name in _OWN.split(", "))
_WITH_AUTHORIZATIONS = (
    f"SELECT {_COLUMNS}, a.id, a.status, a.expires_at FROM acme_orders o"
    " JOIN acme_order_authorizations l ON l.order_id = o.id JOIN acme_authorizations a ON a.id = l.authorization_id"
)


def pack(identifiers: Sequence[Identifier]) -> Json:
    """Identifiers as the columns of JSON hold them."""
    return Json([each.document() for each in identifiers])


def unpack(value: Sequence[Mapping[str, str]]) -> tuple[Identifier, ...]:
    """What ``pack`` packed."""
    return tuple(Identifier(IdentifierType(each["type"]), each["value"]) for each in value)


def _order(rows: list[Row]) -> Order | None:
    if not rows:
        return None
    (
        id,
        profile_id,
        account_id,
        status,
        identifiers,
        expires_at,
        created_at,
        not_before,
        not_after,
        error,
        cert,
        replaces,
        replaces_id,
    ) = rows[0][:_WIDTH]
    return Order(
        id=id,
        profile_id=profile_id,
        account_id=account_id,
        status=Status(status),
        identifiers=unpack(identifiers),
        authorizations=tuple(
            AuthorizationState(id, Status(state), until)
            for id, state, until in (row[_WIDTH:] for row in rows)
        ),
        expires_at=expires_at,
        created_at=created_at,
        not_before=not_before,
        not_after=not_after,
        error=error,
        certificate_id=cert,
        replaces=replaces,
        replaces_id=replaces_id,
    )


def by_id(order_id: str) -> Query[Order | None]:
    """The order of that id, with the state of its authorizations."""
    return Query(f"{_WITH_AUTHORIZATIONS} WHERE o.id = ? ORDER BY l.position", (order_id,), _order)


def hanging_on(authorization_id: str) -> Query[list[str]]:
    """The ids, in order, of the open orders that need an authorization."""
    return Query(
        "SELECT o.id FROM acme_order_authorizations l JOIN acme_orders o ON o.id = l.order_id"
        f" WHERE l.authorization_id = ? AND o.{OPEN} ORDER BY o.id",
        (authorization_id,),
        lambda rows: [row[0] for row in rows],
    )


def of_account(account_id: str, after: str, limit: int) -> Query[list[str]]:
    """The ids, in order, of an account's orders beyond ``after`` that are not invalid (RFC 8555 section 7.1.2.1)."""
    return Query(
        "SELECT id FROM acme_orders WHERE account_id = ? AND id > ? AND status <> 'invalid' ORDER BY id LIMIT ?",
        (account_id, after, limit),
        lambda rows: [row[0] for row in rows],
    )


def expired(now: datetime, limit: int) -> Query[list[str]]:
    """The ids of open orders whose time is over, and which no job will end."""
    return Query(
        f"SELECT id FROM acme_orders WHERE {_LEFT} AND expires_at < ? ORDER BY expires_at LIMIT ?",
        (now, limit),
        lambda rows: [row[0] for row in rows],
    )


def open_of_account(account_id: str, now: datetime) -> Query[int]:
    """How many open orders an account has whose time is not over."""
    return Query(_OPEN_OF_ACCOUNT, (account_id, now), lambda rows: int(rows[0][0]))


_OPEN_OF_ACCOUNT = f"SELECT count(*) FROM acme_orders WHERE account_id = ? AND {OPEN} AND expires_at >= ?"
_INSERT = f"INSERT INTO acme_orders ({_OWN}, updated_at)"


def insert(order: Order, most_open: int = 0) -> list[Statement]:
    """Add an order and what ties it to its authorizations, which must be there.

    Touches no row if the account has ``most_open`` open orders already (0 is no limit), or if another order that is
    not invalid replaces the same certificate.
    """
    values = (
        order.id,
        order.profile_id,
        order.account_id,
        order.status.value,
        pack(order.identifiers),
        order.expires_at,
        order.created_at,
        order.not_before,
        order.not_after,
        None,
        None,
        order.replaces,
        order.replaces_id,
        order.created_at,
    )
    if most_open:
        counted = (order.account_id, order.created_at, most_open)
        sql = f"{_INSERT} SELECT {placeholders(len(values))} WHERE ({_OPEN_OF_ACCOUNT}) < ? ON CONFLICT DO NOTHING"
        added = Statement(sql, (*values, *counted), rows=1)
    else:
        added = Statement(
            f"{_INSERT} VALUES ({placeholders(len(values))}) ON CONFLICT DO NOTHING", values, rows=1
        )
    ties = (
        Statement("INSERT INTO acme_order_authorizations VALUES (?, ?, ?)", (order.id, position, each.id))
        for position, each in enumerate(order.authorizations)
    )
    return [added, *ties]


def replacing(cert_id: str) -> Query[bool]:
    """Whether an order that is not invalid replaces the certificate of a certID (RFC 9773 section 5)."""
    return Query("SELECT 1 FROM acme_orders WHERE replaces = ? AND status <> 'invalid'", (cert_id,), bool)


def make_valid(order_id: str, certificate_id: str, now: datetime) -> Statement:
    """Move an order from ready to valid, its certificate issued."""
    return Statement(
        "UPDATE acme_orders SET status = 'valid', certificate_id = ?, updated_at = ?"
        " WHERE id = ? AND status = 'ready' AND expires_at >= ?",
        (certificate_id, now, order_id, now),
        rows=1,
    )


def make_processing(order_id: str, expires_at: datetime, now: datetime) -> Statement:
    """Move an order from ready to processing, and let it live until ``expires_at`` at least."""
    return Statement(
        "UPDATE acme_orders SET status = 'processing', updated_at = ?,"
        " expires_at = CASE WHEN expires_at < ? THEN ? ELSE expires_at END"
        " WHERE id = ? AND status = 'ready' AND expires_at >= ?",
        (now, expires_at, expires_at, order_id, now),
        rows=1,
    )


def finish(order_id: str, certificate_id: str, now: datetime) -> Statement:
    """Move an order from processing to valid, its certificate issued."""
    return Statement(
        "UPDATE acme_orders SET status = 'valid', certificate_id = ?, updated_at = ?"
        " WHERE id = ? AND status = 'processing'",
        (certificate_id, now, order_id),
        rows=1,
    )


def fail(order_id: str, error: Mapping[str, Any], now: datetime) -> Statement:
    """Move an order from processing to invalid."""
    return Statement(
        "UPDATE acme_orders SET status = 'invalid', error = ?, updated_at = ? WHERE id = ? AND status = 'processing'",
        (Json(error), now, order_id),
        rows=1,
    )


def touch(order_id: str, now: datetime) -> Statement:
    """Take hold of a pending order, so that of two authorizations that become valid together one sees the other."""
    return Statement(
        "UPDATE acme_orders SET updated_at = ? WHERE id = ? AND status = 'pending'", (now, order_id)
    )


def make_ready(order_id: str, now: datetime) -> Statement:
    """Move an order from pending to ready, if all of its authorizations are valid by now."""
    return Statement(
        "UPDATE acme_orders SET status = 'ready', updated_at = ? WHERE id = ? AND status = 'pending'"
        " AND NOT EXISTS (SELECT 1 FROM acme_order_authorizations l JOIN acme_authorizations a"
        " ON a.id = l.authorization_id WHERE l.order_id = acme_orders.id AND a.status <> 'valid')",
        (now, order_id),
    )


def make_invalid(order_id: str, error: Mapping[str, Any], now: datetime) -> Statement:
    """Move an order to invalid, if it is open still."""
    return Statement(
        f"UPDATE acme_orders SET status = 'invalid', error = ?, updated_at = ? WHERE id = ? AND {OPEN}",
        (Json(error), now, order_id),
    )


def cancel_all(account_id: str, error: Mapping[str, Any], now: datetime) -> Statement:
    """Move all open orders of an account to invalid."""
    return Statement(
        f"UPDATE acme_orders SET status = 'invalid', error = ?, updated_at = ? WHERE account_id = ? AND {OPEN}",
        (Json(error), now, account_id),
    )


def expire(order_ids: Sequence[str], error: Mapping[str, Any], now: datetime) -> Statement:
    """Move open orders whose time is over to invalid."""
    return Statement(
        "UPDATE acme_orders SET status = 'invalid', error = ?, updated_at = ?"
        f" WHERE id IN ({placeholders(len(order_ids))}) AND {_LEFT} AND expires_at < ?",
        (Json(error), now, *order_ids, now),
        rows=len(order_ids),
    )
