"""renewalInfo (RFC 9773 section 4)."""

from __future__ import annotations

from typing import Any

from certctl.web.acme.call import Call
from certctl.web.acme.orders import moment
from certctl.web.answer import Answer, document


async def renewal_info(call: Call[None]) -> Answer:
    """When a certificate should be renewed; asked by anybody, without a signature."""
    found = await call.authority.renewals.info(call.profile, call.arguments["id"])
    value: dict[str, Any] = {
        "suggestedWindow": {"start": moment(found.window.start), "end": moment(found.window.end)}
    }
    if call.authority.service.website:
        value["explanationURL"] = call.authority.service.website
    return document(value, headers={"Retry-After": str(int(found.ask_again.total_seconds()))})
