"""The operations of the REST API. From this table come the routes and the OpenAPI document."""

from __future__ import annotations

from certctl.web.api import (
    accounts,
    audit,
    audit_state,
    authorizations,
    certificates,
    eab_keys,
    issuer_status,
    issuers,
    keys,
    orders,
    profiles,
    renewals,
    revocations,
    statistics,
    system,
)
from certctl.web.api.operation import Operation

__all__ = ["OPERATIONS", "Operation"]

OPERATIONS: tuple[Operation, ...] = (
    *profiles.OPERATIONS,
    *accounts.OPERATIONS,
    *orders.OPERATIONS,
    *authorizations.OPERATIONS,
    *certificates.OPERATIONS,
    *revocations.OPERATIONS,
    *renewals.OPERATIONS,
    *eab_keys.OPERATIONS,
    *issuers.OPERATIONS,
    *issuer_status.OPERATIONS,
    *audit.OPERATIONS,
    *audit_state.OPERATIONS,
    *statistics.OPERATIONS,
    *system.OPERATIONS,
    *keys.OPERATIONS,
)
