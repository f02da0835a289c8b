"""``certctl renewals``: many certificates that are to be renewed by a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from certctl.cli import values
from certctl.cli.certificates import REASONS
from certctl.cli.client import Api
from certctl.cli.failures import Failure
from certctl.cli.output import Column, Output, identifiers
from certctl.cli.session import Group, over_api

COLUMNS: tuple[Column, ...] = (
    ("id", "id"),
    ("status", "status"),
    ("name", "name"),
    ("kind", lambda each: "drill" if each["drill"] else "renewal"),
    ("started", "starts_at"),
    ("due", "due_at"),
    ("by", "created_by"),
)
ACCOUNTS: tuple[Column, ...] = (("account", "account_id"), ("waiting", "waiting"), ("contact", "contact"))
CERTIFICATES: tuple[Column, ...] = (
    ("id", "id"),
    ("names", identifiers),
    ("account", "account_id"),
    ("window", "window_start"),
    ("until", "window_end"),
    ("ends", "not_after"),
)
STATES = click.Choice(["waiting", "come", "revoked", "expired"])


def choosing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose which certificates are to be renewed."""
    options = (
        click.option("--profile", "profile_id", help="Those of this profile."),
        click.option("--issuer", "issuer_id", help="Those of this issuer."),
        click.option("--account", "account_id", help="Those of this account."),
        click.option("--serial", "serials", multiple=True, help="The one with this serial, in hexadecimal."),
        click.option(
            "--serials-from",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Those whose serials stand in this file, one a line.",
        ),
        click.option("--issued-before", type=values.moment, help="Those issued before then, such as -7d."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.group(cls=Group)
def renewals() -> None:
    r"""Mass renewals: have many certificates renewed by a time, see who comes, revoke the rest.

    \b
    Examples:
      certctl renewals start --name weak-rng --issuer iss-internal-ca --issued-before -1d --due 3d \
          --explanation 'Keys may be weak.' --url https://intranet.example/weak-keys
      certctl renewals show ID
      certctl renewals waiting ID
      certctl renewals finish ID --revoke waiting --reason superseded
    """


@renewals.command("start")
@choosing
@click.option("--name", required=True, help="What people call it.")
@click.option(
    "--due", "due_at", type=values.moment, required=True, help="By when all are to come, such as 3d."
)
@click.option("--explanation", default="", help="Why, in a sentence that clients' owners may read.")
@click.option(
    "--url", "explanation_url", help="The page that says why; else the server shows the explanation."
)
@click.option("--drill", is_flag=True, help="To see who would come: nothing is revoked at the end.")
@click.option("--dry-run", is_flag=True, help="Say how many would be asked, and ask none.")
@values.yes
@over_api
async def start(
    api: Api,
    output: Output,
    serials: tuple[str, ...],
    serials_from: Path | None,
    dry_run: bool,
    yes: bool,
    **asked: Any,
) -> None:
    """Have clients renew, spread evenly until it is due."""
    wanted = {name: value for name, value in asked.items() if value not in (None, "")}
    listed = [*serials, *_read(serials_from)]
    body = {**wanted, **({"serials": listed} if listed else {})}
    found = (await api.call("POST", "renewals/preview", body)).json
    for each in found["warnings"]:
        output.warn(each)
    told = f"{found['certificates']} certificates of {found['accounts']} accounts"
    if dry_run:
        output.done(f"{told} would be asked to renew by {asked['due_at']}.", found)
        return
    values.confirm(f"Have {told} renewed by {asked['due_at']}?", yes)
    made = (await api.call("POST", "renewals", body)).json
    output.done(f"{made['id']} has begun: {told} are told to renew by {made['due_at']}.", made)


def _read(path: Path | None) -> list[str]:
    """The serials in a file, without blank lines and comments."""
    if path is None:
        return []
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read: {error}.") from None
    return [serial for line in lines if (serial := line.partition("#")[0].strip())]


@renewals.command("list")
@click.option("--running", is_flag=True, help="Those that have not ended.")
@values.most
@over_api
async def list_renewals(api: Api, output: Output, limit: int, running: bool) -> None:
    """List mass renewals."""
    asked = {"running": True} if running else {}
    output.rows(await api.all("renewals", limit, **asked), COLUMNS, "There are no mass renewals.")


@renewals.command("show")
@click.argument("id")
@over_api
async def show(api: Api, output: Output, id: str) -> None:
    """Show a mass renewal, and how many have come."""
    output.object(await api.get(f"renewals/{id}"))


@renewals.command("waiting")
@click.argument("id")
@click.option("--certificates", is_flag=True, help="Certificate by certificate, and not by account.")
@click.option(
    "--state", type=STATES, default="waiting", show_default=True, help="Certificates in this state."
)
@values.most
@over_api
async def waiting(api: Api, output: Output, id: str, limit: int, certificates: bool, state: str) -> None:
    """Say who has not come: the accounts, with whom to write to, or the certificates."""
    nothing = "There are none."
    if certificates or state != "waiting":
        found = await api.all(f"renewals/{id}/certificates", limit, state=state)
        output.rows(found, CERTIFICATES, nothing)
        return
    output.rows(await api.all(f"renewals/{id}/accounts", limit), ACCOUNTS, nothing)


@renewals.command("cancel")
@click.argument("id")
@values.yes
@over_api
async def cancel(api: Api, output: Output, id: str, yes: bool) -> None:
    """Cancel a mass renewal: windows are where they were before."""
    values.confirm(f"Cancel {id}?", yes)
    done = (await api.call("POST", f"renewals/{id}/cancel")).json
    output.done(f"{id} is cancelled; {done['come']} of {done['certificates']} had come.", done)


@renewals.command("finish")
@click.argument("id")
@click.option(
    "--revoke",
    type=click.Choice(["none", "waiting", "all"]),
    default="none",
    show_default=True,
    help="Revoke what was not replaced, or the replaced as well.",
)
@click.option("--reason", type=REASONS, default="superseded", show_default=True)
@click.option("--dry-run", is_flag=True, help="Say how many would be revoked, and end nothing.")
@values.yes
@over_api
async def finish(
    api: Api, output: Output, id: str, revoke: str, reason: str, dry_run: bool, yes: bool
) -> None:
    """End a mass renewal, once the number of the certificates that are then revoked was typed."""
    body = {"revoke": revoke, "reason": reason}
    found = (await api.call("POST", f"renewals/{id}/finish", {**body, "dry_run": True})).json
    if dry_run:
        output.done(f"{found['revoked']} certificates would be revoked.", found)
        return
    if found["revoked"] and not yes:
        question = f"To end {id} and revoke {found['revoked']} certificates ({reason}), type their number"
        typed = click.prompt(question, err=True, default="", show_default=False)
        if typed.strip() != str(found["revoked"]):
            raise Failure("Nothing was ended or revoked: that is not their number.")
    elif not found["revoked"]:
        values.confirm(f"End {id} and revoke nothing?", yes)
    done = (await api.call("POST", f"renewals/{id}/finish", {**body, "dry_run": False})).json
    output.done(f"{id} has ended, and {done['revoked']} certificates are revoked.", done)
