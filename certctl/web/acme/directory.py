"""The directory and the nonces (RFC 8555 sections 7.1.1 and 7.2)."""

from __future__ import annotations

from typing import Any

from certctl.acme.profile_policy import Binding
from certctl.web.acme.call import Call
from certctl.web.answer import Answer, document


async def directory(call: Call[None]) -> Answer:
    """The URLs that a client starts from, and what it should know of the server."""
    service = call.authority.service
    rules = service.rules.under(call.profile.policy)
    meta: dict[str, Any] = {"externalAccountRequired": rules.binding is Binding.REQUIRED}
    if rules.terms_url:
        meta["termsOfService"] = rules.terms_url
    if service.website:
        meta["website"] = service.website
    if service.caa_identities:
        meta["caaIdentities"] = list(service.caa_identities)
    offered = await call.authority.orders.offered(call.profile)
    meta["profiles"] = {each.id: each.description or each.name for each in offered}
    urls = {member: call.urls.base + path for member, path in service.directory}
    return document({**urls, "meta": meta})


async def new_nonce(call: Call[None]) -> Answer:
    """A fresh nonce, which the dispatcher adds; a HEAD is answered 200 there."""
    return Answer(status=204)
