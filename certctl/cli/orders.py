"""``certctl order``: what was asked for, and what became of it."""

from __future__ import annotations

from typing import Any

import click

from certctl.cli import values
from certctl.cli.client import Api
from certctl.cli.output import Column, Output, identifiers
from certctl.cli.session import Group, over_api

COLUMNS: tuple[Column, ...] = (
    ("id", "id"),
    ("status", "status"),
    ("names", identifiers),
    ("profile", "profile_id"),
    ("account", "account_id"),
    ("made", "created_at"),
)
STATUSES = click.Choice(["pending", "ready", "processing", "valid", "invalid"])


@click.group(cls=Group)
def order() -> None:
    r"""Orders: what was asked for, and what became of it.

    \b
    Examples:
      certctl order list --status invalid --after -1d
      certctl order list --name www.corp.example
      certctl order show acme-ord-...
    """


@order.command("list")
@click.option("--profile", "profile_id", help="Those of this profile.")
@click.option("--account", "account_id", help="Those of this account.")
@click.option("--status", type=STATUSES, help="Those of this status.")
@click.option("--name", "identifier", help="Those for this name or address.")
@click.option("--after", "created_after", type=values.moment, help="Those made since then, such as -1d.")
@click.option("--before", "created_before", type=values.moment, help="Those made before then.")
@values.most
@over_api
async def list_orders(api: Api, output: Output, limit: int, **asked: Any) -> None:
    """List orders, the newest first."""
    output.rows(await api.all("orders", limit, **asked), COLUMNS, "There are no such orders.")


@order.command("show")
@click.argument("id")
@over_api
async def show_order(api: Api, output: Output, id: str) -> None:
    """Show an order with its authorizations."""
    output.object(await api.get(f"orders/{id}"))
