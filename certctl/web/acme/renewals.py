"""renewalInfo (RFC 9773 section 4), and a page that says why a window is where it is."""

from __future__ import annotations

from typing import Any

from certctl.web.acme.call import Call
from certctl.web.acme.orders import moment
from certctl.web.answer import TEXT, Answer, document


async def renewal_info(call: Call[None]) -> Answer:
    """When a certificate should be renewed; asked by anybody, without a signature."""
    cert_id = call.arguments["id"]
    found = await call.authority.renewals.info(call.profile, cert_id)
    value: dict[str, Any] = {
        "suggestedWindow": {"start": moment(found.window.start), "end": moment(found.window.end)}
    }
    usual = call.authority.service.website if found.kind == "usual" else call.urls.to("explanation", cert_id)
    if url := found.explanation_url or usual:
        value["explanationURL"] = url
    return document(value, headers={"Retry-After": str(call.authority.renewals.ask_again)})


async def explanation(call: Call[None]) -> Answer:
    """Why a certificate should be renewed then, for people."""
    found = await call.authority.renewals.info(call.profile, call.arguments["id"])
    begins, ends = moment(found.window.start), moment(found.window.end)
    text = f"This certificate should be renewed between {begins} and {ends}: {found.why}.\n"
    return Answer(content_type=TEXT, body=text.encode("utf-8"))
