"""Orders: looked for, and the story of each: what was asked, dialled, seen and judged, and what to do about it."""

from __future__ import annotations

from certctl.web.answer import Answer
from certctl.web.console import advice
from certctl.web.console.story import told
from certctl.web.console.visit import Page, Visit

FILTER = ("identifier", "profile_id", "account_id", "status", "created_after", "created_before")
PER_PAGE = "50"
STATUSES = ("pending", "ready", "processing", "valid", "invalid")


async def listed(visit: Visit) -> Answer:
    """Orders that a filter finds, the newest first."""
    query = visit.given(*FILTER, "cursor") | {"per_page": PER_PAGE}
    for name in ("created_after", "created_before"):
        if len(query.get(name, "")) == len("2026-01-01"):
            query[name] += "T00:00:00Z"
    found, error = await visit.search("list_orders", query)
    profiles = await visit.ask("list_profiles", query={"per_page": "500"})
    return visit.page(
        "orders.html",
        status=400 if error else 200,
        section="orders",
        error=error,
        orders=found.data if found else [],
        cursor=found.next_cursor if found else None,
        profiles=profiles.data,
        statuses=STATUSES,
    )


async def shown(visit: Visit) -> Answer:
    """An order and its story."""
    order = await visit.ask("order", id=visit.id)
    story = await visit.ask("order_story", id=visit.id)
    return visit.page(
        "order.html",
        section="orders",
        order=order,
        story=told(story.data),
        advice=advice.of(order.error) if order.error else "",
    )


PAGES = (
    Page("GET", "orders", listed),
    Page("GET", "orders/<id>", shown),
)
