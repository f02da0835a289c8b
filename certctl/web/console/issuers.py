"""Issuers: their chains and ends, what is told of revocations, and the steps from one to the next."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from certctl.web.answer import Answer
from certctl.web.api.call import ApiError
from certctl.web.console.fields import seconds
from certctl.web.console.visit import Page, Visit

PEM = "application/x-pem-file"
EVERY = {"per_page": "100"}


async def listed(visit: Visit) -> Answer:
    """All issuers, keys that wait for their certificates, and the form for a new one."""
    return await _listed(visit)


async def _listed(visit: Visit, error: str = "") -> Answer:
    found = (await visit.ask("list_issuers", query=EVERY)).data
    requests = (await visit.ask("list_issuer_requests", query=EVERY)).data
    return visit.page(
        "issuers.html",
        status=400 if error else 200,
        section="issuers",
        error=error,
        issuers=found,
        requests=requests,
        typed=visit.form.one,
    )


async def request(visit: Visit) -> Answer:
    """Make a key for a new issuer on this server, and the request for its certificate."""
    body = visit.form.given("id", "common_name", "key_algorithm")
    try:
        await visit.ask("create_issuer_request", body=body)
    except ApiError as refused:
        return await _listed(visit, _said(refused))
    return visit.go("issuers", done="issuer-requested")


async def install(visit: Visit) -> Answer:
    """Make an issuer of a request and the certificate that a CA above gave for it."""
    body = visit.form.given("id", "certificates")
    try:
        made = await visit.ask("install_issuer", body=body)
    except ApiError as refused:
        return await _listed(visit, _said(refused))
    return visit.go(f"issuers/{made.id}", done="issuer-installed")


async def withdraw(visit: Visit) -> Answer:
    """Give a request up."""
    await visit.ask("withdraw_issuer_request", id=visit.id)
    return visit.go("issuers", done="issuer-withdrawn")


async def shown(visit: Visit) -> Answer:
    """An issuer, what is told of its revocations, and the steps to another in its place."""
    return await _shown(visit)


async def _shown(visit: Visit, error: str = "") -> Answer:
    reply = await visit.reply("issuer", id=visit.id)
    issuer = reply.value
    profiles = await visit.ask("list_profiles", query={"issuer_id": visit.id, **EVERY})
    others = (await visit.ask("list_issuers", query=EVERY)).data
    return visit.page(
        "issuer.html",
        status=400 if error else 200,
        section="issuers",
        error=error,
        issuer=issuer,
        etag=reply.headers["ETag"],
        decoded=msgspec.structs.asdict(issuer.decoded),
        profiles=profiles.data,
        told=await visit.ask("issuer_status", id=visit.id),
        others=[each.id for each in others if each.id != issuer.id and each.signs_here],
    )


async def switch(visit: Visit) -> Answer:
    """Let another issuer take the place of this one, now or at a time."""
    form, now = visit.form, visit.door.administration.now()
    try:
        body = form.given("to")
        for name, label in (("at", "In how much time"), ("renew_by", "Certificates are renewed within")):
            if text := form.one(name):
                body[name] = (now + timedelta(seconds=seconds(text, label))).isoformat()
        await visit.ask("switch_issuer", id=visit.id, body=body, if_match=form.one("etag"))
    except ApiError as refused:
        return await _shown(visit, _said(refused))
    return visit.go(f"issuers/{visit.id}", done="issuer-switched")


async def stay(visit: Visit) -> Answer:
    """Take back a switch that is to come."""
    try:
        await visit.ask("cancel_switch", id=visit.id, if_match=visit.form.one("etag"))
    except ApiError as refused:
        return await _shown(visit, _said(refused))
    return visit.go(f"issuers/{visit.id}", done="issuer-stays")


async def retire(visit: Visit) -> Answer:
    """Let an issuer sign no certificates any more, if its id was typed."""
    form = visit.form
    if form.one("word") != visit.id:
        return await _shown(visit, "type the issuer's id to retire it")
    try:
        body = {"even_with_live": bool(form.one("even_with_live"))}
        await visit.ask("retire_issuer", id=visit.id, body=body, if_match=form.one("etag"))
    except ApiError as refused:
        return await _shown(visit, _said(refused))
    return visit.go(f"issuers/{visit.id}", done="issuer-retired")


def _said(refused: ApiError) -> str:
    """What a page says of a refusal; raises what is none of the form's."""
    if refused.status not in (400, 404, 409, 412):
        raise refused
    return refused.message


async def root(visit: Visit) -> Answer:
    """The root that clients trust, as a file."""
    found = (await visit.ask("issuer", id=visit.id)).root
    if found is None:
        raise ApiError(404, "not_found", "the server does not know the root of this issuer")
    headers = {"Content-Disposition": 'attachment; filename="root-ca.pem"'}
    return Answer(content_type=PEM, body=found.encode("ascii"), headers=headers)


PAGES = (
    Page("GET", "issuers", listed),
    Page("POST", "issuer-requests", request),
    Page("POST", "issuer-requests/<id>/withdraw", withdraw),
    Page("POST", "issuers", install),
    Page("GET", "issuers/<id>", shown),
    Page("POST", "issuers/<id>/switch", switch),
    Page("POST", "issuers/<id>/stay", stay),
    Page("POST", "issuers/<id>/retire", retire),
    Page("GET", "issuers/<id>/root-ca.pem", root),
)
