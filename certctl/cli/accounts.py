"""``certctl account``: who asks for certificates."""

from __future__ import annotations

from typing import Any

import click

from certctl.cli import values
from certctl.cli.client import Api
from certctl.cli.output import Column, Output
from certctl.cli.session import Group, over_api

LIMITS = ("orders_per_hour", "concurrent_orders", "key_changes_per_hour", "challenge_responds_per_hour")
COLUMNS: tuple[Column, ...] = (
    ("id", "id"),
    ("profile", "profile_id"),
    ("status", lambda each: "paused" if each.get("paused_at") else each["status"]),
    ("contact", "contact"),
    ("bound by", "eab_key_id"),
    ("made", "created_at"),
)


@click.group(cls=Group)
def account() -> None:
    r"""Accounts: who asks for certificates.

    \b
    Examples:
      certctl account list --profile prof-web --status valid
      certctl account pause acme-acc-...
      certctl account limits acme-acc-... --orders-per-hour 10
      certctl account unpause acme-acc-... --name www.corp.example
    """


@account.command("list")
@click.option("--profile", "profile_id", help="Those of this profile.")
@click.option(
    "--status", type=click.Choice(["valid", "deactivated", "revoked"]), help="Those of this status."
)
@click.option("--thumbprint", help="The one with this key (RFC 7638).")
@click.option("--contact", help="Those with a contact that ends so: an address, or @DOMAIN.")
@click.option("--eab-key", "eab_key_id", help="Those that this key bound.")
@values.most
@over_api
async def list_accounts(api: Api, output: Output, limit: int, **asked: Any) -> None:
    """List accounts."""
    output.rows(await api.all("accounts", limit, **asked), COLUMNS, "There are no such accounts.")


@account.command("show")
@click.argument("id")
@over_api
async def show_account(api: Api, output: Output, id: str) -> None:
    """Show an account, and the names that failed validations have paused."""
    found = await api.get(f"accounts/{id}")
    pauses = (await api.get(f"accounts/{id}/pauses"))["data"]
    output.object({**found, "paused_names": pauses})


@account.command("deactivate")
@click.argument("id")
@values.yes
@over_api
async def deactivate(api: Api, output: Output, id: str, yes: bool) -> None:
    """Let an account ask for nothing more, for ever."""
    values.confirm(f"Deactivate {id}, for ever?", yes)
    answer = await api.call("POST", f"accounts/{id}/deactivate")
    output.done(f"{id} is deactivated.", answer.json if answer.body else None)


@account.command("pause")
@click.argument("id")
@over_api
async def pause(api: Api, output: Output, id: str) -> None:
    """Refuse an account's orders until it is unpaused."""
    output.done(f"{id} is paused.", (await api.call("PATCH", f"accounts/{id}", {"paused": True})).json)


@account.command("unpause")
@click.argument("id")
@click.option("--name", help="A name that failed validations have paused, and not the account.")
@click.option("--all-names", is_flag=True, help="All such names, and not the account.")
@over_api
async def unpause(api: Api, output: Output, id: str, name: str | None, all_names: bool) -> None:
    """Let a paused account, or names of it, have orders again."""
    if name or all_names:
        body = {"identifier": name} if name else {}
        answer = await api.call("POST", f"accounts/{id}/unpause", body)
        output.done(
            f"{name or 'All names'} of {id} may be ordered again.", answer.json if answer.body else None
        )
        return
    output.done(
        f"{id} is paused no more.", (await api.call("PATCH", f"accounts/{id}", {"paused": False})).json
    )


@account.command("limits")
@click.argument("id")
@click.option("--orders-per-hour", type=click.IntRange(0), help="0 is no limit.")
@click.option("--concurrent-orders", type=click.IntRange(0), help="0 is no limit.")
@click.option("--key-changes-per-hour", type=click.IntRange(0), help="0 is no limit.")
@click.option("--challenge-responds-per-hour", type=click.IntRange(0), help="0 is no limit.")
@click.option("--reset", is_flag=True, help="Go back to the profile's.")
@over_api
async def limits(api: Api, output: Output, id: str, reset: bool, **asked: int | None) -> None:
    """Show an account's own limits, or change them."""
    answer = await api.call("GET", f"accounts/{id}")
    chosen = {name: asked[name] for name in LIMITS if asked[name] is not None}
    if reset or chosen:
        changes = {"policy": {"limits": chosen if chosen and not reset else None}}
        etag = answer.headers.get("etag")
        answer = await api.call("PATCH", f"accounts/{id}", changes, if_match=etag)
    own = answer.json.get("policy", {}).get("limits") or {}
    if output.as_json:
        output.json(own)
    else:
        output.object({name: own.get(name, "the profile's") for name in LIMITS})
