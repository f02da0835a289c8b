"""Many certificates revoked at once: which they are is shown first, and how many is typed."""

from __future__ import annotations

from typing import Any

from certctl.web.answer import Answer
from certctl.web.api.call import ApiError
from certctl.web.console.certificates import FILTER, filtered
from certctl.web.console.visit import Page, Visit

REASON = "unspecified"


async def preview(visit: Visit) -> Answer:
    """What a filter would revoke."""
    return await _preview(visit, filtered(visit), visit.given(*FILTER))


async def revoke(visit: Visit) -> Answer:
    """Revoke what was shown, if it is still as many, and their number was typed."""
    chosen, typed = visit.form.given(*FILTER), visit.form.one("word")
    found = await _dry_run(visit, chosen)
    if typed != str(found.total):
        words = f"type {found.total}, the number of certificates, to revoke them"
        return await _preview(visit, chosen, chosen, words, status=400)
    body = {"filter": chosen, "reason": visit.form.one("reason"), "dry_run": False}
    revoked = (await visit.ask("revoke_certificates", body=body)).revoked
    return visit.go("certificates", done=f"revoked-{revoked}" if revoked else "revoked-none")


async def _preview(
    visit: Visit, chosen: dict[str, str], shown: dict[str, str], error: str = "", status: int = 200
) -> Answer:
    found = None
    try:
        found = await _dry_run(visit, chosen)
    except ApiError as refused:
        if refused.status != 400:
            raise
        error, status = refused.message, 400
    return visit.page(
        "revoke_many.html",
        status=status,
        section="certificates",
        error=error,
        chosen=chosen,
        filter=shown,
        found=found,
    )


async def _dry_run(visit: Visit, chosen: dict[str, str]) -> Any:
    return await visit.ask("revoke_certificates", body={"filter": chosen, "dry_run": True})


PAGES = (
    Page("GET", "revoke", preview),
    Page("POST", "revoke", revoke),
)
