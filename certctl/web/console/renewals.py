"""Mass renewals: planned and looked at first, started, watched while clients come, ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from certctl.web.answer import Answer
from certctl.web.api.call import ApiError
from certctl.web.console.fields import day, seconds
from certctl.web.console.visit import Page, Visit

PLAN = (
    "name",
    "due_in",
    "profile_id",
    "issuer_id",
    "account_id",
    "issued_before",
    "explanation",
    "explanation_url",
    "drill",
)
SHOWN = "50"  # certificates and accounts that have not come
REVOKING = {
    "none": "revoke nothing",
    "waiting": "revoke what was not replaced",
    "all": "revoke all of it, what was replaced too",
}


async def listed(visit: Visit) -> Answer:
    """Mass renewals, the newest first, and the form for another."""
    return await _listed(visit, {name: visit.query.get(name, "") for name in PLAN})


async def _listed(visit: Visit, values: dict[str, str], error: str = "", foreseen: Any = None) -> Answer:
    found = await visit.ask("list_mass_renewals", query=visit.given("page"))
    profiles = await visit.ask("list_profiles", query={"archived": "false", "per_page": "500"})
    issuers = await visit.ask("list_issuers", query={"per_page": "100"})
    return visit.page(
        "renewals.html",
        status=400 if error else 200,
        section="renewals",
        page=found,
        values=values,
        error=error,
        foreseen=foreseen,
        profiles=profiles.data,
        issuers=issuers.data,
    )


async def plan(visit: Visit) -> Answer:
    """Say whom a mass renewal would ask to come; or start it, if the number of certificates was typed."""
    values = {name: visit.form.one(name) for name in PLAN}
    try:
        body = _body(visit)
        foreseen = await visit.ask("preview_mass_renewal", body=body)
        typed = visit.form.one("word")
        if not typed or not foreseen.certificates:
            return await _listed(visit, values, foreseen=foreseen)
        if typed != str(foreseen.certificates):
            words = f"type {foreseen.certificates}, the number of certificates, to start it"
            return await _listed(visit, values, words, foreseen)
        made = await visit.ask("start_mass_renewal", body=body)
    except ApiError as refused:
        if refused.status not in (400, 404, 409):
            raise
        return await _listed(visit, values, refused.message)
    return visit.go(f"renewals/{made.id}", done="renewal-started")


def _body(visit: Visit) -> dict[str, Any]:
    form = visit.form
    due = timedelta(seconds=seconds(form.one("due_in"), "Until when"))
    body: dict[str, Any] = form.given("name", "profile_id", "issuer_id", "account_id", "explanation_url")
    body["explanation"] = form.one("explanation")
    body["due_at"] = (visit.door.administration.now() + due).isoformat()
    body["drill"] = bool(form.one("drill"))
    if before := form.one("issued_before"):
        body["issued_before"] = day(before)
    return body


async def shown(visit: Visit) -> Answer:
    """How far a mass renewal has come, and who has not."""
    return await _shown(visit)


async def _shown(visit: Visit, error: str = "", finishing: Any = None) -> Answer:
    renewal = await visit.ask("mass_renewal", id=visit.id, query={"wait": "false"})
    waiting, accounts = [], []
    if renewal.counted_at is not None:
        query = {"per_page": SHOWN}
        waiting = (await visit.ask("list_mass_renewal_certificates", id=visit.id, query=query)).data
        query["wait"] = "false"
        accounts = (await visit.ask("list_mass_renewal_accounts", id=visit.id, query=query)).data
    return visit.page(
        "renewal.html",
        status=400 if error else 200,
        section="renewals",
        error=error,
        renewal=renewal,
        waiting=waiting,
        accounts=accounts,
        revoking=REVOKING,
        finishing=finishing,
        chosen=visit.form.one("revoke"),
        reason=visit.form.one("reason"),
    )


async def cancel(visit: Visit) -> Answer:
    """Cancel a mass renewal."""
    await visit.ask("cancel_mass_renewal", id=visit.id)
    return visit.go(f"renewals/{visit.id}", done="renewal-cancelled")


async def finish(visit: Visit) -> Answer:
    """End a mass renewal; what would be revoked is said first, and its number typed."""
    form = visit.form
    body: dict[str, Any] = {"revoke": form.one("revoke") or "none", "reason": form.one("reason")}
    try:
        found = await visit.ask("finish_mass_renewal", id=visit.id, body={**body, "dry_run": True})
        if found.revoked and form.one("word") != str(found.revoked):
            words = f"type {found.revoked} to revoke so many" if form.one("word") else ""
            return await _shown(visit, words, found)
        await visit.ask("finish_mass_renewal", id=visit.id, body={**body, "dry_run": False})
    except ApiError as refused:
        if refused.status not in (400, 409):
            raise
        return await _shown(visit, refused.message)
    return visit.go(f"renewals/{visit.id}", done="renewal-finished")


PAGES = (
    Page("GET", "renewals", listed),
    Page("POST", "renewals", plan),
    Page("GET", "renewals/<id>", shown),
    Page("POST", "renewals/<id>/cancel", cancel),
    Page("POST", "renewals/<id>/finish", finish),
)
