"""Profiles: listed, shown with what clients need, made, changed, archived; and whether a name would pass."""

from __future__ import annotations

from typing import Any

from certctl.web.answer import Answer
from certctl.web.api.call import ApiError
from certctl.web.console import policy_form, snippets
from certctl.web.console.fields import seconds, span
from certctl.web.console.forms import Form
from certctl.web.console.visit import Page, Visit

EVERY = {"per_page": "500"}
CHOICES = {
    "algorithms": policy_form.KEYS,
    "purposes": policy_form.PURPOSES,
    "stapling": policy_form.STAPLING,
    "naming": policy_form.NAMING,
    "binding": policy_form.BINDING,
    "limits": policy_form.LIMITS,
}
_NEW = {"id": "", "name": "", "description": "", "issuer_id": "", "enabled": True, "max_ttl": "90d"}


async def listed(visit: Visit) -> Answer:
    """All profiles; archived ones if asked for."""
    archived = visit.query.get("archived") == "true"
    query = EVERY if archived else {**EVERY, "archived": "false"}
    found = await visit.ask("list_profiles", query=query)
    return visit.page("profiles.html", section="profiles", profiles=found.data, archived=archived, span=span)


async def shown(visit: Visit) -> Answer:
    """A profile, what clients need to use it, and whether a name would pass."""
    profile = await visit.ask("profile", id=visit.id)
    asked = visit.query.get("name", "").strip()
    try:
        root = (await visit.ask("issuer", id=profile.issuer_id)).root or ""
    except ApiError:  # its issuer is not there any more
        root = ""
    return visit.page(
        "profile.html",
        section="profiles",
        profile=profile,
        policy=policy_form.shown(profile.policy),
        asked=asked[:300],
        verdict=await _verdict(visit, asked) if asked else None,
        snippets=snippets.of(profile, root),
        root=root,
        span=span,
        choices=CHOICES,
    )


async def _verdict(visit: Visit, name: str) -> Any:
    """Whether the profile allows a name, and by which rule; a text that is neither name nor address is refused."""
    type = "ip" if ":" in name or name.replace(".", "").isdecimal() else "dns"
    body = {"identifiers": [{"type": type, "value": name[:300]}]}
    return (await visit.ask("check_names", id=visit.id, body=body)).data[0]


async def new(visit: Visit) -> Answer:
    """The form for a new profile."""
    values = {**_NEW, "acme_auth_mode": "trust_authenticated", **policy_form.shown({})}
    return await _form(visit, values)


async def create(visit: Visit) -> Answer:
    """Make a profile."""
    try:
        document = _document(visit.form, {})
        if id := visit.form.one("id"):
            document["id"] = id
        made = await visit.ask("create_profile", body=document)
    except ApiError as refused:
        return await _refused(visit, refused)
    return visit.go(f"profiles/{made.id}", done="profile-created")


async def edit(visit: Visit) -> Answer:
    """The form for a profile that is there."""
    profile = await visit.ask("profile", id=visit.id)
    return await _form(visit, _values(profile), profile)


async def change(visit: Visit) -> Answer:
    """Put what the form says in the place of a profile, if nobody changed it meanwhile."""
    profile = await visit.ask("profile", id=visit.id)
    try:
        document = _document(visit.form, profile.policy)
        seen = f'"{visit.form.one("version")}"'
        await visit.ask("replace_profile", id=visit.id, body=document, if_match=seen)
    except ApiError as refused:
        return await _refused(visit, refused, profile)
    return visit.go(f"profiles/{visit.id}", done="profile-changed")


async def remove(visit: Visit) -> Answer:
    """Archive a profile, or delete one that nothing hangs on."""
    archive = visit.form.one("how") != "delete"
    query = {"archive": "true"} if archive else {}
    await visit.ask("delete_profile", id=visit.id, query=query, if_match=f'"{visit.form.one("version")}"')
    if archive:
        return visit.go(f"profiles/{visit.id}", done="profile-archived")
    return visit.go("profiles", done="profile-deleted")


async def _form(visit: Visit, values: dict[str, Any], profile: Any = None, error: str = "") -> Answer:
    issuers = (await visit.ask("list_issuers")).data
    others = (await visit.ask("list_profiles", query=EVERY)).data
    return visit.page(
        "profile_form.html",
        status=400 if error else 200,
        section="profiles",
        profile=profile,
        values=values,
        issuers=issuers,
        others=[each.id for each in others if profile is None or each.id != profile.id],
        error=error,
        choices=CHOICES,
    )


async def _refused(visit: Visit, refused: ApiError, profile: Any = None) -> Answer:
    """The form once more, with what was typed and why it was refused."""
    if refused.status not in (400, 404, 409, 412):
        raise refused
    message = refused.message
    if refused.status == 412:
        message = "Somebody else changed the profile meanwhile. Open it again, and make your change to what it is now"
    form = visit.form
    try:
        policy = policy_form.read(form, {} if profile is None else profile.policy)
    except ApiError:  # the message says so already
        policy = {}
    plain = ("id", "name", "description", "issuer_id", "acme_auth_mode", "max_ttl")
    values: dict[str, Any] = {name: form.one(name) for name in plain}
    values |= {"enabled": bool(form.one("enabled")), **policy_form.shown(policy)}
    return await _form(visit, values, profile, message)


def _document(form: Form, old: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: form.one(name) for name in ("name", "description", "issuer_id", "acme_auth_mode")},
        "enabled": bool(form.one("enabled")),
        "max_ttl_seconds": seconds(form.one("max_ttl"), "Longest life"),
        "policy": policy_form.read(form, old),
    }


def _values(profile: Any) -> dict[str, Any]:
    plain = ("id", "name", "description", "issuer_id", "enabled")
    return {
        **{name: getattr(profile, name) for name in plain},
        "acme_auth_mode": profile.acme_auth_mode.value,
        "max_ttl": span(profile.max_ttl_seconds),
        **policy_form.shown(profile.policy),
    }


PAGES = (
    Page("GET", "profiles", listed),
    Page("GET", "new-profile", new, needs="create_profile"),
    Page("POST", "new-profile", create),
    Page("GET", "profiles/<id>", shown),
    Page("GET", "profiles/<id>/edit", edit, needs="replace_profile"),
    Page("POST", "profiles/<id>/edit", change),
    Page("POST", "profiles/<id>/remove", remove),
)
