"""The audit trail: filtered, followed, exported; and the state of its chain."""

from __future__ import annotations

from typing import Any

from certctl.authority.trail import Action
from certctl.web.answer import Answer
from certctl.web.console.fields import day
from certctl.web.console.visit import Page, Visit

FILTER = ("actor", "action", "resource_type", "resource_id", "since", "until")
PER_PAGE = "50"
PARTS = 20  # of 1000 events, in one export


async def listed(visit: Visit) -> Answer:
    """Events that a filter finds, the newest first."""
    query = _filter(visit) | visit.given("cursor") | {"per_page": PER_PAGE}
    found, error = await visit.search("list_audit", query)
    return visit.page(
        "audit.html",
        status=400 if error else 200,
        section="audit",
        error=error,
        events=found.data if found else [],
        cursor=found.next_cursor if found else None,
        actions=sorted(each.value for each in Action),
        filter=visit.given(*FILTER),
        following=visit.query.get("follow") == "yes",
        path_of=path_of,
        state=await visit.ask("audit_state"),
    )


async def export(visit: Visit) -> Answer:
    """Events that a filter finds as CSV, up to 20 000 of them."""
    query = _filter(visit) | {"format": "csv", "per_page": "1000"}
    parts: list[bytes] = []
    for _ in range(PARTS):
        reply = await visit.reply("list_audit", query=query)
        lines = reply.content or b""
        parts.append(lines if not parts else lines.partition(b"\r\n")[2])
        if "Next-Cursor" not in reply.headers:
            break
        query["cursor"] = reply.headers["Next-Cursor"]
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
    return Answer(content_type="text/csv; charset=utf-8", body=b"".join(parts), headers=headers)


def _filter(visit: Visit) -> dict[str, str]:
    given = visit.given(*FILTER)
    return given | {name: day(given[name]) for name in ("since", "until") if name in given}


_PAGES = {
    "acme_account": "accounts",
    "acme_order": "orders",
    "certificate": "certificates",
    "profile": "profiles",
    "issuer": "issuers",
}


def path_of(event: Any) -> str:
    """The page of what an event is about, empty if there is none."""
    page = _PAGES.get(event.resource_type)
    return f"{page}/{event.resource_id}" if page and "/" not in event.resource_id else ""


PAGES = (
    Page("GET", "audit", listed),
    Page("GET", "audit/export", export),
)
