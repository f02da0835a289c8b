"""Issuers: their chains, when they end, and what is told of revocations."""

from __future__ import annotations

import msgspec

from certctl.web.answer import Answer
from certctl.web.api.call import ApiError
from certctl.web.console.visit import Page, Visit

PEM = "application/x-pem-file"


async def listed(visit: Visit) -> Answer:
    """All issuers."""
    found = (await visit.ask("list_issuers", query={"per_page": "100"})).data
    return visit.page("issuers.html", section="issuers", issuers=found)


async def shown(visit: Visit) -> Answer:
    """An issuer."""
    issuer = await visit.ask("issuer", id=visit.id)
    profiles = await visit.ask("list_profiles", query={"issuer_id": visit.id, "per_page": "500"})
    return visit.page(
        "issuer.html",
        section="issuers",
        issuer=issuer,
        decoded=msgspec.structs.asdict(issuer.decoded),
        profiles=profiles.data,
        told=await visit.ask("issuer_status", id=visit.id),
    )


async def root(visit: Visit) -> Answer:
    """The root that clients trust, as a file."""
    found = (await visit.ask("issuer", id=visit.id)).root
    if found is None:
        raise ApiError(404, "not_found", "the server does not know the root of this issuer")
    headers = {"Content-Disposition": 'attachment; filename="root-ca.pem"'}
    return Answer(content_type=PEM, body=found.encode("ascii"), headers=headers)


PAGES = (
    Page("GET", "issuers", listed),
    Page("GET", "issuers/<id>", shown),
    Page("GET", "issuers/<id>/root-ca.pem", root),
)
