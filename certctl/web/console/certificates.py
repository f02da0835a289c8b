"""Certificates: looked for, shown, downloaded, revoked one by one."""

from __future__ import annotations

import msgspec

from certctl.web.answer import Answer
from certctl.web.api.call import ApiError
from certctl.web.console.visit import Page, Visit

FILTER = (
    "name",
    "serial",
    "account_id",
    "profile_id",
    "issuer_id",
    "status",
    "expires_after",
    "expires_before",
)
PER_PAGE = "50"
STATUSES = ("valid", "expired", "revoked")


async def listed(visit: Visit) -> Answer:
    """Certificates that a filter finds, the newest first, or the last to end if they are looked for by that."""
    query = filtered(visit) | visit.given("cursor") | {"per_page": PER_PAGE}
    found, error = await visit.search("list_certificates", query)
    profiles = await visit.ask("list_profiles", query={"per_page": "500"})
    return visit.page(
        "certificates.html",
        status=400 if error else 200,
        section="certificates",
        error=error,
        certificates=found.data if found else [],
        cursor=found.next_cursor if found else None,
        filter=visit.given(*FILTER),
        profiles=profiles.data,
        statuses=STATUSES,
    )


def filtered(visit: Visit) -> dict[str, str]:
    """The filter of the query as the API takes it: dates without a time are the beginning of that day, in UTC."""
    given = visit.given(*FILTER)
    for name in ("expires_after", "expires_before"):
        if len(given.get(name, "")) == len("2026-01-01"):
            given[name] += "T00:00:00Z"
    return given


async def shown(visit: Visit) -> Answer:
    """A certificate, decoded."""
    return await _shown(visit)


async def _shown(visit: Visit, error: str = "", status: int = 200) -> Answer:
    certificate = await visit.ask("certificate", id=visit.id)
    try:
        issuer = await visit.ask("issuer", id=certificate.issuer_id)
    except ApiError:  # one that is not there any more
        issuer = None
    history = await visit.ask("list_audit", query={"resource_id": certificate.id})
    return visit.page(
        "certificate.html",
        status=status,
        section="certificates",
        error=error,
        certificate=certificate,
        decoded=msgspec.structs.asdict(certificate.decoded),
        issuer=issuer,
        history=history.data,
        renewal=await visit.ask("certificate_renewal", id=visit.id),
    )


async def download(visit: Visit) -> Answer:
    """A certificate as a file."""
    reply = await visit.reply("download_certificate", id=visit.id, query=visit.given("format"))
    return Answer(content_type=reply.content_type, body=reply.content or b"", headers=reply.headers)


async def revoke(visit: Visit) -> Answer:
    """Revoke one, if its serial was typed."""
    certificate = await visit.ask("certificate", id=visit.id)
    if visit.form.one("word").lower() != certificate.serial[-6:]:
        words = "type the last six characters of the serial to revoke the certificate"
        return await _shown(visit, words, status=400)
    await visit.ask("revoke_certificate", id=visit.id, body={"reason": visit.form.one("reason")})
    return visit.go(f"certificates/{visit.id}", done="revoked")


PAGES = (
    Page("GET", "certificates", listed),
    Page("GET", "certificates/<id>", shown),
    Page("GET", "certificates/<id>/download", download),
    Page("POST", "certificates/<id>/revoke", revoke),
)
