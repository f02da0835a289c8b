"""Accounts: looked for, shown, paused, narrowed, deactivated; and names that are paused after failures."""

from __future__ import annotations

from certctl.web.answer import Answer
from certctl.web.api.call import ApiError
from certctl.web.console import policy_form
from certctl.web.console.visit import Page, Visit

FILTER = ("contact", "profile_id", "status", "thumbprint", "eab_key_id")
STATUSES = ("valid", "deactivated")
SHOWN = "8"  # orders, on an account's page


async def listed(visit: Visit) -> Answer:
    """Accounts that a filter finds, the newest first."""
    query = visit.given(*FILTER, "page")
    page, error = await visit.search("list_accounts", query)
    profiles = await visit.ask("list_profiles", query={"per_page": "500"})
    return visit.page(
        "accounts.html",
        status=400 if error else 200,
        section="accounts",
        error=error,
        page=page,
        profiles=profiles.data,
        statuses=STATUSES,
    )


async def shown(visit: Visit) -> Answer:
    """An account, what it ordered last, and names that are paused."""
    return await _shown(visit)


async def _shown(visit: Visit, error: str = "") -> Answer:
    reply = await visit.reply("account", id=visit.id)
    orders = await visit.ask("list_orders", query={"account_id": visit.id, "per_page": SHOWN})
    pauses = await visit.ask("list_pauses", id=visit.id, query={"per_page": "100"})
    return visit.page(
        "account.html",
        status=400 if error else 200,
        section="accounts",
        error=error,
        account=reply.value,
        etag=reply.headers["ETag"],
        orders=orders.data,
        pauses=pauses.data,
        policy=policy_form.shown(reply.value.policy),
        limits=policy_form.LIMITS,
    )


async def pause(visit: Visit) -> Answer:
    """Pause an account, or let it go on."""
    paused = visit.form.one("paused") == "yes"
    await visit.ask("change_account", id=visit.id, body={"paused": paused}, if_match=visit.form.one("etag"))
    return visit.go(f"accounts/{visit.id}", done="account-paused" if paused else "account-resumed")


async def narrow(visit: Visit) -> Answer:
    """Put the form's policy in the place of the account's."""
    account = await visit.ask("account", id=visit.id)
    try:
        policy = policy_form.narrowed(visit.form, account.policy)
        patch = {**dict.fromkeys(account.policy), **_whole(account.policy, policy)}
        body = {"policy": patch}
        await visit.ask("change_account", id=visit.id, body=body, if_match=visit.form.one("etag"))
    except ApiError as refused:
        if refused.status not in (400, 412):
            raise
        return await _shown(visit, refused.message)
    return visit.go(f"accounts/{visit.id}", done="account-changed")


def _whole(old: dict[str, object], new: dict[str, object]) -> dict[str, object]:
    """A merge patch that leaves nothing of what the new objects do not have (RFC 7396)."""
    patch: dict[str, object] = {}
    for name, value in new.items():
        before = old.get(name)
        gone = dict.fromkeys(before) if isinstance(before, dict) and isinstance(value, dict) else {}
        patch[name] = {**gone, **value} if isinstance(value, dict) else value
    return patch


async def deactivate(visit: Visit) -> Answer:
    """Deactivate an account for good, if the end of its id was typed."""
    if visit.form.one("word").lower() != visit.id[-6:].lower():
        return await _shown(visit, "type the last six characters of the account's id to deactivate it")
    await visit.ask("deactivate_account", id=visit.id)
    return visit.go(f"accounts/{visit.id}", done="account-deactivated")


async def unpause(visit: Visit) -> Answer:
    """Let a name be ordered again, or all names of the account."""
    body = visit.form.given("identifier")
    await visit.ask("unpause_account", id=visit.id, body=body)
    return visit.go(f"accounts/{visit.id}", done="names-unpaused")


PAGES = (
    Page("GET", "accounts", listed),
    Page("GET", "accounts/<id>", shown),
    Page("POST", "accounts/<id>/pause", pause),
    Page("POST", "accounts/<id>/policy", narrow),
    Page("POST", "accounts/<id>/deactivate", deactivate),
    Page("POST", "accounts/<id>/unpause", unpause),
)
