"""newOrder, order, finalize (RFC 8555 section 7.4)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from certctl.acme import lifecycle
from certctl.acme.objects import Order, Status
from certctl.web.acme.call import Call, Urls
from certctl.web.answer import Answer, document

POLL_AFTER = "2"  # seconds until a challenge that is being validated is asked for again


@lru_cache(maxsize=8192)
def moment(value: datetime) -> str:
    """A time as RFC 3339 writes it, in UTC and whole seconds; that of an object is told with each look at it."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def order_document(order: Order, urls: Urls) -> dict[str, Any]:
    """RFC 8555 section 7.1.3."""
    value: dict[str, Any] = {
        "status": order.status.value,
        "expires": moment(order.expires_at),
        "identifiers": [each.document() for each in order.identifiers],
        "profile": order.profile_id,
        "authorizations": [urls.to("authorization", each.id) for each in order.authorizations],
        "finalize": urls.to("finalize", order.id),
    }
    if order.not_before is not None:
        value["notBefore"] = moment(order.not_before)
    if order.not_after is not None:
        value["notAfter"] = moment(order.not_after)
    if order.replaces is not None:
        value["replaces"] = order.replaces
    if order.error is not None:
        value["error"] = order.error
    if order.certificate_id is not None:
        value["certificate"] = urls.to("certificate", order.certificate_id)
    return value


async def _shown(call: Call[Any], order: Order, *, status: int = 200) -> Answer:
    headers = {}
    if order.status is Status.PROCESSING:
        headers = {"Retry-After": str(await call.authority.jobs.poll_after(order))}
    location = call.urls.to("order", order.id)
    return document(order_document(order, call.urls), status=status, location=location, headers=headers)


async def new_order(call: Call[None]) -> Answer:
    """Make an order, if the profile allows all that it asks for."""
    made = await call.authority.orders.create(call.profile, call.signer, call.payload)
    return await _shown(call, made, status=201)


async def order(call: Call[Order]) -> Answer:
    """Show an order as it is now; one that is processing, after a moment in which it may end."""
    found = lifecycle.settled(call.found, call.authority.now())
    if found.status is Status.PROCESSING:
        found = await call.authority.jobs.settled(found)
    return await _shown(call, found)


async def finalize(call: Call[Order]) -> Answer:
    """Issue the certificate of an order, or begin to."""
    issued = await call.authority.issuance.finalize(call.profile, call.signer, call.found, call.payload)
    return await _shown(call, issued)
