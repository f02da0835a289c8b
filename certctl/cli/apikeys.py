"""``certctl apikey``: keys of the REST API."""

from __future__ import annotations

import click

from certctl.cli import values
from certctl.cli.client import Api
from certctl.cli.output import Column, Output
from certctl.cli.session import Group, over_api

COLUMNS: tuple[Column, ...] = (
    ("id", "id"),
    ("name", "name"),
    ("role", "role"),
    ("state", lambda each: "revoked" if each.get("revoked_at") else "active"),
    ("ends", "expires_at"),
    ("made by", "created_by"),
    ("made", "created_at"),
)


@click.group(cls=Group)
def apikey() -> None:
    r"""Keys of the REST API.

    \b
    Examples:
      certctl apikey create monitoring --role read-only --expires 365d
      certctl apikey list
      certctl apikey revoke ID
    """


@apikey.command("create")
@click.argument("name")
@click.option(
    "--role", type=click.Choice(["read-only", "operator", "admin"]), required=True, help="What it may do."
)
@click.option("--expires", type=values.moment, help="When it ends, such as 365d; if not given, never.")
@over_api
async def create_key(api: Api, output: Output, name: str, role: str, expires: str | None) -> None:
    """Make a key; it is shown this once."""
    made = (await api.call("POST", "keys", {"name": name, "role": role, "expires_at": expires})).json
    output.object(made)
    if not output.as_json:
        output.warn("the key is shown this once: keep it now")


@apikey.command("list")
@over_api
async def list_keys(api: Api, output: Output) -> None:
    """List keys, without those of the settings."""
    output.rows(await api.all("keys"), COLUMNS, "There are no keys but those of the settings.")


@apikey.command("revoke")
@click.argument("id")
@values.yes
@over_api
async def revoke_key(api: Api, output: Output, id: str, yes: bool) -> None:
    """Answer no request with a key any more."""
    values.confirm(f"Revoke the API key {id}?", yes)
    await api.call("DELETE", f"keys/{id}")
    output.done(f"{id} is revoked.")
