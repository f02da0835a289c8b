"""Orders, as operators see them (``/api/orders``)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from certctl.acme.objects import Authorization, Order
from certctl.authority.operators import absent
from certctl.storage import authorizations, orders
from certctl.storage.search import audit
from certctl.storage.search import orders as search
from certctl.storage.search.orders import OrderFilter
from certctl.web.api.audit import EventDocument, described_event
from certctl.web.api.authorizations import AuthorizationDocument, described
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import READ, Operation
from certctl.web.api.schema import (
    Following,
    Id,
    IdentifierDocument,
    Moment,
    Name,
    Window,
    given,
    identifier,
    window,
)

MOST_EVENTS = 1000  # of a story
OrderStatus = Literal["pending", "ready", "processing", "valid", "invalid"]


class OrderDocument(msgspec.Struct, kw_only=True):
    """An order: a request for one certificate (RFC 8555 section 7.1.3). ``error`` is a problem document."""

    id: str
    profile_id: str
    account_id: str
    status: OrderStatus
    identifiers: list[IdentifierDocument]
    not_before: datetime | None
    not_after: datetime | None
    expires_at: datetime
    created_at: datetime
    certificate_id: str | None
    error: dict[str, Any] | None


class WholeOrder(OrderDocument, kw_only=True):
    """An order, with the authorizations that it hangs on."""

    authorizations: list[AuthorizationDocument]


class OrderQuery(Following):
    """Which orders are asked for. ``identifier`` is a name (with ``*.`` for a wildcard) or an address."""

    profile_id: Id | UnsetType = UNSET
    account_id: Id | UnsetType = UNSET
    status: OrderStatus | UnsetType = UNSET
    identifier: Name | UnsetType = UNSET
    created_after: Moment | UnsetType = UNSET
    created_before: Moment | UnsetType = UNSET


async def list_orders(call: Call[Nothing, OrderQuery]) -> Reply:
    """List orders, the newest first."""
    asked = call.query
    wanted = OrderFilter(
        **given(asked, "profile_id", "account_id", "status", "created_after", "created_before"),
        identifier=identifier(asked.identifier, "identifier"),
    )
    found = await call.administration.database.read(
        search.page(wanted, asked.cursor or None, asked.per_page + 1)
    )
    page, cursor = window(found, asked, lambda each: each.id)
    data = [OrderDocument(**_members(each)) for each in page]
    return Reply(value=Window(data=data, next_cursor=cursor, per_page=asked.per_page))


async def order(call: Call[Nothing, Nothing]) -> Reply:
    """Show an order, and the authorizations that it hangs on."""
    database = call.administration.database
    found = await _by_id(call)
    held: Sequence[Authorization | None] = [
        await database.read(authorizations.by_id(each.id)) for each in found.authorizations
    ]
    shown = await described(database, [each for each in held if each is not None])
    return Reply(value=WholeOrder(authorizations=shown, **_members(found)))


class Story(msgspec.Struct, kw_only=True):
    """What the audit trail says of an order, its authorizations and challenges and its certificate, the oldest first.

    Details of ``acme_challenge_completed`` have what was dialled and seen, or the problem; and in ``tries`` what failed
    before that and was tried again.
    """

    data: list[EventDocument]


async def order_story(call: Call[Nothing, Nothing]) -> Reply:
    """Tell an order's story: all that was asked, dialled, seen and decided."""
    database = call.administration.database
    found = await _by_id(call)
    about = [found.id]
    for each in found.authorizations:
        held = await database.read(authorizations.by_id(each.id))
        about += [each.id, *(challenge.id for challenge in (held.challenges if held else ()))]
    if found.certificate_id:
        about.append(found.certificate_id)
    events = [
        event
        for first in range(0, len(about), 100)
        for event in await database.read(audit.about(about[first : first + 100], MOST_EVENTS))
    ]
    events.sort(key=lambda event: event.id)
    return Reply(value=Story(data=[described_event(event) for event in events[:MOST_EVENTS]]))


async def _by_id(call: Call[Any, Any]) -> Order:
    found = await call.administration.database.read(orders.by_id(call.id))
    if found is None:
        raise absent("order", call.id)
    return found


def _members(order: Order) -> dict[str, Any]:
    return {
        "id": order.id,
        "profile_id": order.profile_id,
        "account_id": order.account_id,
        "status": order.status.value,
        "identifiers": [IdentifierDocument.of(each) for each in order.identifiers],
        "not_before": order.not_before,
        "not_after": order.not_after,
        "expires_at": order.expires_at,
        "created_at": order.created_at,
        "certificate_id": order.certificate_id,
        "error": None if order.error is None else dict(order.error),
    }


OPERATIONS = (
    Operation("GET", "orders", list_orders, READ, Window[OrderDocument], query=OrderQuery),
    Operation("GET", "orders/<id>", order, READ, WholeOrder),
    Operation("GET", "orders/<id>/story", order_story, READ, Story),
)
