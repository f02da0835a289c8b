"""The pages of the console. From this table come the routes."""

from __future__ import annotations

from certctl.web.console import (
    accounts,
    api_keys,
    audit,
    certificates,
    dashboard,
    eab_keys,
    issuers,
    orders,
    profiles,
    renewals,
    revocations,
)
from certctl.web.console.visit import Page

PAGES: tuple[Page, ...] = (
    *dashboard.PAGES,
    *certificates.PAGES,
    *revocations.PAGES,
    *renewals.PAGES,
    *orders.PAGES,
    *profiles.PAGES,
    *accounts.PAGES,
    *eab_keys.PAGES,
    *issuers.PAGES,
    *audit.PAGES,
    *api_keys.PAGES,
)
