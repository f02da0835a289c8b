"""The pages of the console. From this table come the routes."""

from __future__ import annotations

from certctl.web.console import certificates, dashboard, orders, revocations
from certctl.web.console.visit import Page

PAGES: tuple[Page, ...] = (
    *dashboard.PAGES,
    *certificates.PAGES,
    *revocations.PAGES,
    *orders.PAGES,
)
