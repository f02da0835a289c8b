"""What operators ask of a filled database: pages of the console, and lists of the REST API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CERTIFICATES = (
    "",
    "name={name}",
    "name=*.{team}",
    "name=*.filled.internal",
    "name=*.filled.internal&status=revoked",
    "name=*.filled.internal&status=expired",
    "name=*.filled.internal&expires_before=2001-01-01T00:00:00Z",
    "name=nothing.example",
    "name=*.nothing.example",
    "serial={serial}",
    "serial=1",
    "account_id={account}",
    "account_id={account}&expires_before=2001-01-01T00:00:00Z",
    "account_id=nobody",
    "profile_id=prof-default",
    "profile_id=prof-other",
    "profile_id=prof-default&status=expired",
    "profile_id=prof-default&expires_before={soon}",
    "profile_id=prof-default&expires_before=2001-01-01T00:00:00Z",
    "issuer_id=iss-other",
    "status=valid",
    "status=expired",
    "status=revoked",
    "expires_before=2001-01-01T00:00:00Z",
    "expires_before={soon}",
    "expires_before={later}",
    "expires_after=2099-01-01T00:00:00Z",
    "expires_after={soon}&expires_before={later}",
    "cursor={old_certificate}",
)
ORDERS = (
    "",
    *(f"status={each}" for each in ("pending", "ready", "processing", "valid", "invalid")),
    "identifier={name}",
    "identifier=nothing.example",
    "account_id={account}",
    "account_id=nobody",
    "account_id={account}&status=invalid",
    "profile_id=prof-other",
    "profile_id=prof-default&status=invalid",
    "created_before=2001-01-01T00:00:00Z",
    "created_after={moment}",
    "cursor={old_order}",
)
AUTHORIZATIONS = (
    "",
    *(f"status={each}" for each in ("pending", "valid", "invalid", "deactivated", "expired", "revoked")),
    "account_id={account}",
    "account_id=nobody",
    "profile_id=prof-other",
    "identifier={name}",
    "identifier=nothing.example",
)
ACCOUNTS = (
    "",
    "page=1900",
    "status=deactivated",
    "status=revoked",
    "contact=host-77@team-77.filled.internal",
    "contact=team-77.filled.internal",
    "contact=nobody@nowhere",
    "contact=.filled.internal",
    "contact=q@nothing.internal",
    "profile_id=prof-other",
    "thumbprint=nothing",
    "eab_key_id=nothing",
)
AUDIT = (
    "",
    "action=certificate_revoked",
    "action=acme_order_created",
    "action=acme_order_failed",
    "action=nothing",
    "actor=api-key:admin",
    "actor=acme:{account}",
    "actor=nobody",
    "actor=acme:{account}&action=certificate_revoked",
    "actor=api-key:admin&action=acme_order_created",
    "resource_type=acme_order",
    "resource_type=nothing",
    "resource_id={order}",
    "resource_id=nothing",
    "since={moment}",
    "since={moment}&action=certificate_revoked",
    "until={moment}",
    "until=2001-01-01T00:00:00Z",
    "since={before}",
    "until={before}",
    "since={before}&action=nothing",
    "since={before}&resource_type=acme_order&until={before}",
    "cursor=1000",
)
CONSOLE = (
    "",
    *(f"certificates?{each}" for each in CERTIFICATES),
    "certificates/{certificate}",
    "certificates/{old_certificate}",
    "revoke?name={name}",
    "revoke?name=*.{team}",
    "revoke?account_id={account}",
    "revoke?status=expired",
    "revoke?profile_id=prof-default",
    *(f"orders?{each}" for each in ORDERS),
    "orders/{order}",
    "orders/{failed_order}",
    "profiles",
    "profiles/prof-default",
    "new-profile",
    *(f"accounts?{each}" for each in ACCOUNTS),
    "accounts/{account}",
    "eab-keys",
    "renewals",
    "issuers",
    "issuers/iss-internal-ca",
    *(f"audit?{each}" for each in AUDIT),
    "keys",
    "renewals/{renewal}",
)
API = (
    *(f"authorizations?{each}" for each in AUTHORIZATIONS),
    "authorizations/{authorization}",
    "statistics?top=0",
    "statistics",
    "statistics?expiring_within_days=90",
    "audit?per_page=1000&format=csv",
    "audit/state",
    "audit/checkpoints",
    "certificates?per_page=500",
    "certificates?per_page=500&expires_before={later}",
    "certificates/{certificate}/renewal",
    "issuers/iss-internal-ca/status",
    "renewals",
    "system",
    "renewals/{renewal}?wait=false",
    "renewals/{renewal}/accounts?wait=false",
    "renewals/{renewal}/certificates",
    "renewals/{renewal}/certificates?state=come",
)
NOWHERE = (
    "nothing",
    "nobody",
    "-other",
    "2001-",
    "2099-",
    "serial=1",
    "pending",
    "deactivated",
)  # in filters
_NAMES = """
SELECT o.id, o.account_id, v.id, v.serial_number, o.identifiers -> 0 ->> 'value', l.authorization_id,
    to_char(o.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
FROM acme_orders o JOIN certificate_versions v ON v.order_id = o.id
    JOIN acme_order_authorizations l ON l.order_id = o.id
WHERE right(o.identifiers -> 0 ->> 'value', 15) = 'filled.internal' ORDER BY o.id DESC LIMIT 1
"""
_SOON = """
SELECT to_char((now() + interval '1 day') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
    to_char((now() + interval '30 days') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
    to_char((now() - interval '30 days') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
    (SELECT id FROM acme_orders ORDER BY id OFFSET 20 LIMIT 1),
    (SELECT id FROM certificate_versions ORDER BY id OFFSET 20 LIMIT 1),
    (SELECT id FROM acme_orders WHERE status = 'invalid' ORDER BY id DESC LIMIT 1)
"""


# A mass renewal of everything, which this database says was begun an hour ago.
_RENEWAL = """
INSERT INTO mass_renewals (id, name, drill, profile_id, serials, issued_before, starts_at, due_at, explanation,
    created_by) VALUES ('renew-0', 'everything', TRUE, 'prof-default', '[]', now() - interval '1 hour',
    now() - interval '1 hour', now() + interval '1 day', '', 'the benchmark') ON CONFLICT DO NOTHING
"""
END_OF_RENEWAL = "DELETE FROM mass_renewals WHERE id = 'renew-0'"


def paths(sql: Callable[[str], list[tuple[Any, ...]]]) -> list[str]:
    """All paths, with what the database has in the places of what they are about; a mass renewal is begun for them."""
    sql(_RENEWAL)
    ((order, account, certificate, serial, name, authorization, moment),) = sql(_NAMES)
    ((soon, later, before, old_order, old_certificate, failed_order),) = sql(_SOON)
    about = {
        "renewal": "renew-0",
        "order": order,
        "account": account,
        "certificate": certificate,
        "serial": serial,
        "name": name,
        "team": name.partition(".")[2],
        "authorization": authorization,
        "moment": moment,
        "soon": soon,
        "later": later,
        "before": before,
        "old_order": old_order,
        "old_certificate": old_certificate,
        "failed_order": failed_order,
    }
    doors = (("console", CONSOLE), ("api", API))
    found = [f"{door}/{each.format(**about)}" for door, some in doors for each in some]
    return sorted(found, key=lambda path: "/renew-0" in path)  # that counting goes on behind them
