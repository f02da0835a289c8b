"""Keys that bind accounts (external account binding): listed, made and shown once, revoked."""

from __future__ import annotations

from typing import Any

from certctl.web.answer import Answer
from certctl.web.api.call import ApiError
from certctl.web.console import policy_form
from certctl.web.console.fields import day
from certctl.web.console.visit import Page, Visit


async def listed(visit: Visit) -> Answer:
    """Keys, the newest first, and the form for a new one."""
    return await _listed(visit)


async def _listed(visit: Visit, error: str = "", made: Any = None) -> Answer:
    found = await visit.ask("list_eab_keys", query=visit.given("profile_id", "status", "page"))
    profiles = await visit.ask("list_profiles", query={"archived": "false", "per_page": "500"})
    return visit.page(
        "eab_keys.html",
        status=400 if error else 200,
        section="eab-keys",
        error=error,
        made=made,
        page=found,
        profiles=profiles.data,
        typed=visit.form.one,
    )


async def create(visit: Visit) -> Answer:
    """Make a key, and show it this once."""
    form = visit.form
    try:
        body: dict[str, Any] = {
            **{name: form.one(name) for name in ("profile_id", "name")},
            "single_use": bool(form.one("single_use")),
            "policy": policy_form.narrowed(form, {}),
        }
        if ends := form.one("expires_at"):
            body["expires_at"] = day(ends)
        made = await visit.ask("create_eab_key", body=body)
    except ApiError as refused:
        if refused.status not in (400, 404, 409):
            raise
        return await _listed(visit, refused.message)
    return await _listed(visit, made=made)


async def revoke(visit: Visit) -> Answer:
    """Revoke a key."""
    await visit.ask("revoke_eab_key", id=visit.id)
    return visit.go("eab-keys", done="eab-revoked")


PAGES = (
    Page("GET", "eab-keys", listed),
    Page("POST", "eab-keys", create),
    Page("POST", "eab-keys/<id>/revoke", revoke),
)
