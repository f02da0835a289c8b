"""``certctl audit list`` and ``certctl audit follow``: the trail as the server tells it."""

from __future__ import annotations

from typing import Any

import click
from twisted.internet.task import deferLater

from certctl.cli import values
from certctl.cli.client import Api
from certctl.cli.output import Column, Output
from certctl.cli.session import over_api, session

PAUSE = 2.0  # seconds between two questions
COLUMNS: tuple[Column, ...] = (
    ("time", "created_at"),
    ("actor", "actor"),
    ("action", "action"),
    ("resource", lambda each: f"{each['resource_type']} {each['resource_id']}"),
    ("details", "details"),
)


def filters(function: Any) -> Any:
    """Give a command the options that choose events."""
    for option in (
        click.option("--resource", "resource_id", help="Those about the resource with this id."),
        click.option("--resource-type", help="Those about resources of this type."),
        click.option("--action", help="Those of this action, such as certificate_revoked."),
        click.option("--actor", help="Those of this actor, such as acme:acme-acc-... or api-key:NAME."),
    ):
        function = option(function)
    return function


@click.command("list")
@filters
@click.option("--since", type=values.moment, help="From then on, such as -1d.")
@click.option("--until", type=values.moment, help="Before then.")
@values.most
@over_api
async def list_events(api: Api, output: Output, limit: int, **asked: Any) -> None:
    """List events over the REST API, the newest first."""
    output.rows(await api.all("audit", limit, **asked), COLUMNS, "There are no such events.")


@click.command("follow")
@filters
@click.option("--until-idle", type=values.span, help="End when nothing happened for so long.")
@over_api
async def follow_events(api: Api, output: Output, until_idle: int | None, **asked: Any) -> None:
    """Write events as they happen, over the REST API, until Control-C."""
    newest = await api.all("audit", 1, **asked)
    seen, idle = (newest[0]["id"] if newest else 0), 0.0
    while until_idle is None or idle < until_idle:
        fresh = []
        async for each in api.each("audit", **asked):
            if each["id"] <= seen:
                break
            fresh.append(each)
        for each in reversed(fresh):
            output.event(each, COLUMNS)
        seen, idle = (fresh[0]["id"], 0.0) if fresh else (seen, idle + PAUSE)
        await deferLater(session().reactor, PAUSE)
