"""``certctl profile``: which names, for how long, and how accounts show that they may have them."""

from __future__ import annotations

import json
from typing import Any

import click

from certctl.cli import values
from certctl.cli.client import Api
from certctl.cli.failures import Exit, Failure
from certctl.cli.output import Column, Output
from certctl.cli.session import Group, over_api

MODES = click.Choice(["trust_authenticated", "challenge"])
WRITABLE = (
    "name",
    "description",
    "issuer_id",
    "enabled",
    "acme_auth_mode",
    "max_ttl_seconds",
    "policy",
)
COLUMNS: tuple[Column, ...] = (
    ("id", "id"),
    ("name", "name"),
    ("mode", "acme_auth_mode"),
    ("state", lambda each: "archived" if each.get("archived_at") else "on" if each["enabled"] else "off"),
    ("longest", lambda each: f"{each['max_ttl_seconds'] / 86400:g} d"),
    ("names", lambda each: each["policy"].get("names", {}).get("allow") or "any"),
)


@click.group(cls=Group)
def profile() -> None:
    r"""Profiles: which names, for how long, and how that is shown.

    \b
    Examples:
      certctl profile list
      certctl profile create --id prof-web --name Web --max-ttl 90d --allow '*.corp.example'
      certctl profile edit prof-web --set policy.max_identifiers=5
      certctl profile check prof-web www.corp.example 10.1.2.3
    """


@profile.command("list")
@click.option("--enabled/--disabled", default=None, help="Those that are in use, or those that are not.")
@click.option(
    "--archived/--not-archived", default=None, help="Those that are archived, or those that are not."
)
@click.option("--mode", type=MODES, help="Those of this mode.")
@click.option("--issuer", help="Those of this issuer.")
@values.most
@over_api
async def list_profiles(
    api: Api,
    output: Output,
    enabled: bool | None,
    archived: bool | None,
    mode: str | None,
    issuer: str | None,
    limit: int,
) -> None:
    """List profiles."""
    asked = {"enabled": enabled, "archived": archived, "acme_auth_mode": mode, "issuer_id": issuer}
    output.rows(await api.all("profiles", limit, **asked), COLUMNS, "There are no such profiles.")


@profile.command("show")
@click.argument("id")
@over_api
async def show_profile(api: Api, output: Output, id: str) -> None:
    """Show a profile."""
    _told(output, await api.get(f"profiles/{id}"))


@profile.command("create")
@click.option("--name", required=True, help="What people call it.")
@click.option("--id", help="Its id, prof-...; made if not given.")
@click.option("--issuer", default="iss-internal-ca", show_default=True, help="Who signs.")
@click.option(
    "--max-ttl", type=values.span, default="90d", show_default=True, help="How long a certificate lives."
)
@click.option(
    "--mode", type=MODES, help="How accounts show that they may have names; if not given, the server's."
)
@click.option("--description", default="", help="A sentence for operators.")
@click.option("--disabled", is_flag=True, help="Make it, and do not let it be used yet.")
@click.option("--allow", multiple=True, metavar="NAME", help="A name, *.suffix or network that is allowed.")
@click.option("--deny", multiple=True, metavar="NAME", help="A name, *.suffix or network that is not.")
@click.option(
    "--set", "assignments", multiple=True, metavar="PATH=VALUE", help="A member, such as policy.eab=required."
)
@over_api
async def create_profile(api: Api, output: Output, **given: Any) -> None:
    """Make a profile."""
    asked: dict[str, Any] = {
        "name": given["name"],
        "issuer_id": given["issuer"],
        "max_ttl_seconds": given["max_ttl"],
        "description": given["description"],
        "enabled": not given["disabled"],
        "policy": values.name_policy(given["allow"], given["deny"]),
    }
    asked |= {
        name: value for name, value in (("id", given["id"]), ("acme_auth_mode", given["mode"])) if value
    }
    made = await api.call("POST", "profiles", values.merged(asked, values.members(given["assignments"])))
    _told(output, made.json)


@profile.command("edit")
@click.argument("id")
@click.option("--set", "assignments", multiple=True, metavar="PATH=VALUE", help="Change a member.")
@click.option("--unset", "removed", multiple=True, metavar="PATH", help="Remove a member of the policy.")
@over_api
async def edit_profile(
    api: Api, output: Output, id: str, assignments: tuple[str, ...], removed: tuple[str, ...]
) -> None:
    """Change members of a profile, or all of it in $EDITOR."""
    answer = await api.call("GET", f"profiles/{id}")
    etag = answer.headers.get("etag")
    if assignments or removed:
        changes = values.merged(
            values.members(assignments), values.members(f"{path}=null" for path in removed)
        )
        _told(output, (await api.call("PATCH", f"profiles/{id}", changes, if_match=etag)).json)
        return
    changed = _edited({name: answer.json[name] for name in WRITABLE if name in answer.json})
    if changed is None:
        output.done(f"{id} stays as it is.", answer.json)
        return
    _told(output, (await api.call("PUT", f"profiles/{id}", changed, if_match=etag)).json)


def _edited(document: dict[str, Any]) -> dict[str, Any] | None:
    """The document as the operator leaves it in the editor; None if nothing was changed."""
    before = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    after = click.edit(before, extension=".json")
    if after is None or after == before:
        return None
    try:
        changed = json.loads(after)
    except ValueError as error:
        raise Failure(f"What was written is not JSON ({error}); nothing was changed.") from None
    if not isinstance(changed, dict):
        raise Failure("What was written is not a JSON object; nothing was changed.")
    return changed


@profile.command("enable")
@click.argument("id")
@over_api
async def enable(api: Api, output: Output, id: str) -> None:
    """Let a profile be used from the next request on."""
    output.done(f"{id} is enabled.", (await api.call("PATCH", f"profiles/{id}", {"enabled": True})).json)


@profile.command("disable")
@click.argument("id")
@over_api
async def disable(api: Api, output: Output, id: str) -> None:
    """Let nobody use a profile from the next request on."""
    output.done(f"{id} is disabled.", (await api.call("PATCH", f"profiles/{id}", {"enabled": False})).json)


@profile.command("archive")
@click.argument("id")
@over_api
async def archive(api: Api, output: Output, id: str) -> None:
    """Put a profile away on which accounts or orders hang."""
    answer = await api.call("DELETE", f"profiles/{id}", query={"archive": True})
    output.done(f"{id} is archived.", answer.json)


@profile.command("delete")
@click.argument("id")
@values.yes
@over_api
async def delete(api: Api, output: Output, id: str, yes: bool) -> None:
    """Delete a profile on which nothing hangs."""
    values.confirm(f"Delete the profile {id}?", yes)
    try:
        await api.call("DELETE", f"profiles/{id}")
    except Failure as failure:
        if failure.exit_code != Exit.CONFLICT:
            raise
        raise Failure(
            f"Accounts, orders or EAB keys hang on {id}: put it away with certctl profile archive {id}.",
            Exit.CONFLICT,
        ) from None
    output.done(f"{id} is deleted.")


@profile.command("check")
@click.argument("id")
@click.argument("names", nargs=-1, required=True)
@over_api
async def check(api: Api, output: Output, id: str, names: tuple[str, ...]) -> None:
    """Say which names a profile lets pass, and by which rule; exit 1 if it refuses one."""
    asked = {"identifiers": [values.identifier(each) for each in names]}
    found = (await api.call("POST", f"profiles/{id}/check", asked)).json["data"]
    columns: tuple[Column, ...] = (
        ("allowed", "allowed"),
        ("name", lambda each: each["identifier"]["value"]),
        ("rule", "rule"),
    )
    output.rows(found, columns, "No name was judged.")
    if refused := [each["identifier"]["value"] for each in found if not each["allowed"]]:
        raise Failure(f"{id} refuses {', '.join(refused)}.", Exit.FAILED)


def _told(output: Output, found: dict[str, Any]) -> None:
    """Show a profile, and what its operator should know of it."""
    output.object(found, leave_out=("warnings",))
    if not output.as_json:
        for each in found.get("warnings", ()):
            output.warn(each)
