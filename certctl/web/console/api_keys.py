"""Keys of the REST API, which open the console as well: listed, made and shown once, revoked."""

from __future__ import annotations

from typing import Any

from certctl.web.answer import Answer
from certctl.web.api.call import ApiError
from certctl.web.console.fields import day
from certctl.web.console.visit import Page, Visit


async def listed(visit: Visit) -> Answer:
    """Keys, and the form for a new one."""
    return await _listed(visit)


async def _listed(visit: Visit, error: str = "", made: Any = None) -> Answer:
    found = await visit.ask("list_keys", query={"per_page": "500"})
    return visit.page(
        "api_keys.html",
        status=400 if error else 200,
        section="keys",
        error=error,
        made=made,
        keys=sorted(found.data, key=lambda each: each.created_at, reverse=True),
        typed=visit.form.one,
    )


async def create(visit: Visit) -> Answer:
    """Make a key, and show it this once."""
    body = visit.form.given("name", "role")
    if ends := visit.form.one("expires_at"):
        body["expires_at"] = day(ends)
    try:
        made = await visit.ask("create_key", body=body)
    except ApiError as refused:
        if refused.status not in (400, 409):
            raise
        return await _listed(visit, refused.message)
    return await _listed(visit, made=made)


async def revoke(visit: Visit) -> Answer:
    """Revoke a key."""
    await visit.ask("revoke_key", id=visit.id)
    return visit.go("keys", done="key-revoked")


PAGES = (
    Page("GET", "keys", listed),
    Page("POST", "keys", create),
    Page("POST", "keys/<id>/revoke", revoke),
)
