"""The first page: what was issued, what fails and why, what ends soon, and how the servers are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from certctl.web.answer import Answer
from certctl.web.console.charts import Plot
from certctl.web.console.visit import Page, Visit

DAYS = 30
EXAMPLES = 6  # failed orders that are shown
ENDING = 8  # names that are shown
MEASURES = ("issued", "renewed", "revoked", "failed", "refused")


async def overview(visit: Visit) -> Answer:
    """Everything at a glance."""
    midnight = visit.door.administration.now().replace(hour=0, minute=0, second=0, microsecond=0)
    since = (midnight - timedelta(days=DAYS - 1)).isoformat()
    statistics = await visit.ask("show_statistics", query={"since": since, "top": "0"})
    failed = await visit.ask("list_orders", query={"status": "invalid", "per_page": str(EXAMPLES)})
    issuers = await visit.ask("list_issuers")
    profiles = await visit.ask("list_profiles", query={"archived": "false", "per_page": "500"})
    return visit.page(
        "dashboard.html",
        section="",
        statistics=statistics,
        plots=[_plot(measure, statistics.days) for measure in MEASURES],
        measures=MEASURES,
        failed=failed.data,
        failures=sorted(statistics.failures.items(), key=lambda each: -each[1]),
        refusals=sorted(statistics.refusals.items(), key=lambda each: -each[1]),
        ending=statistics.expiring[:ENDING],
        issuers=issuers.data,
        profiles=profiles,
        warnings=[(each.id, words) for each in profiles.data if each.enabled for words in each.warnings],
        soon=f"{statistics.until + timedelta(days=statistics.expiring_within_days):%Y-%m-%d}",
        system=await visit.ask("show_system"),
        trail=await visit.ask("audit_state"),
    )


def _plot(measure: str, days: Sequence[Any]) -> Plot:
    return Plot.of(measure, [(each.date, getattr(each, measure)) for each in days])


PAGES = (Page("GET", "", overview),)
