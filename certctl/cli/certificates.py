"""``certctl cert``: what was issued."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from certctl.cli import values
from certctl.cli.client import Api
from certctl.cli.failures import Exit, Failure
from certctl.cli.output import Column, Output, identifiers
from certctl.cli.session import Group, over_api

REASONS = click.Choice(
    [
        "unspecified",
        "keyCompromise",
        "affiliationChanged",
        "superseded",
        "cessationOfOperation",
        "privilegeWithdrawn",
    ]
)  # RFC 5280 section 5.3.1, those that a CA gives for a certificate of somebody else
COLUMNS: tuple[Column, ...] = (
    ("id", "id"),
    ("status", "status"),
    ("names", identifiers),
    ("serial", lambda each: each.get("serial") or each.get("serial_number")),
    ("ends", "not_after"),
    ("profile", "profile_id"),
)
BINARY = ("der", "pkcs7")


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose certificates."""
    options = (
        click.option("--name", help="Those for this name, or *.suffix."),
        click.option("--serial", help="The one with this serial, in hexadecimal."),
        click.option("--account", "account_id", help="Those of this account."),
        click.option("--profile", "profile_id", help="Those of this profile."),
        click.option("--issuer", "issuer_id", help="Those of this issuer."),
        click.option(
            "--status", type=click.Choice(["valid", "expired", "revoked"]), help="Those of this status."
        ),
        click.option("--expires-after", type=values.moment, help="Those that end after then, such as 30d."),
        click.option("--expires-before", type=values.moment, help="Those that end before then."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.group(cls=Group)
def cert() -> None:
    r"""Certificates: what was issued.

    \b
    Examples:
      certctl cert search www.corp.example
      certctl cert list --name '*.corp.example' --expires-before 14d
      certctl cert download ID --format chain > chain.pem
      certctl cert revoke ID --reason keyCompromise
      certctl cert revoke-many --account acme-acc-... --reason keyCompromise
    """


@cert.command("list")
@click.argument("named", metavar="[NAME]", required=False)
@filters
@values.most
@over_api
async def list_certificates(api: Api, output: Output, limit: int, named: str | None, **asked: Any) -> None:
    """List certificates; NAME is the same as --name NAME."""
    if named is not None:
        if asked["name"] is not None:
            raise click.UsageError("NAME and --name are one and the same: give one of them")
        asked["name"] = named
    output.rows(await api.all("certificates", limit, **asked), COLUMNS, "There are no such certificates.")


cert.add_command(list_certificates, "search")


@cert.command("show")
@click.argument("id")
@over_api
async def show_certificate(api: Api, output: Output, id: str) -> None:
    """Show a certificate."""
    found = await api.get(f"certificates/{id}")
    if output.as_json:
        output.json(found)
        return
    output.object({**found, "names": identifiers(found)}, leave_out=("certificate", "decoded"))
    output.plain(found.get("certificate") or "")


@cert.command("download")
@click.argument("id")
@click.option(
    "--format",
    "form",
    type=click.Choice(["pem", "chain", "der", "pkcs7"]),
    default="chain",
    show_default=True,
)
@click.option(
    "--output", "-o", "to", type=click.Path(dir_okay=False, path_type=Path), help="A file, and not stdout."
)
@over_api
async def download(api: Api, output: Output, id: str, form: str, to: Path | None) -> None:
    """Write a certificate, with its chain or alone."""
    answer = await api.call("GET", f"certificates/{id}/download", query={"format": form})
    write(output, answer.body, to, binary=form in BINARY)


def write(output: Output, content: bytes, to: Path | None, *, binary: bool) -> None:
    """Write octets to a file, or to stdout unless a terminal would choke on them."""
    if to is not None:
        try:
            to.write_bytes(content)
        except OSError as error:
            raise Failure(f"{to} cannot be written: {error.strerror}.") from None
        output.done(f"{to} is written.", {"file": str(to)})
        return
    if binary and sys.stdout.isatty():
        raise Failure("This format is no text: give --output FILE, or send it on through a pipe.", Exit.USAGE)
    sys.stdout.buffer.write(content)


@cert.command("revoke")
@click.argument("id")
@click.option("--reason", type=REASONS, default="unspecified", show_default=True)
@values.yes
@over_api
async def revoke(api: Api, output: Output, id: str, reason: str, yes: bool) -> None:
    """Revoke a certificate."""
    if not yes:
        found = await api.get(f"certificates/{id}")
        values.confirm(f"Revoke {id}, for {identifiers(found)} ({reason})?", yes)
    answer = await api.call("POST", f"certificates/{id}/revoke", {"reason": reason})
    output.done(f"{id} is revoked ({reason}).", answer.json if answer.body else None)


@cert.command("revoke-many")
@filters
@click.option("--reason", type=REASONS, default="unspecified", show_default=True)
@click.option("--dry-run", is_flag=True, help="Say which, and revoke none.")
@values.yes
@over_api
async def revoke_many(api: Api, output: Output, reason: str, dry_run: bool, yes: bool, **asked: Any) -> None:
    """Revoke all certificates that a filter chooses, once their number was typed."""
    chosen = {name: value for name, value in asked.items() if value is not None}
    if not chosen:
        raise click.UsageError("choose certificates, by --account, --name or another option")
    body = {"filter": chosen, "reason": reason}
    found = (await api.call("POST", "certificates/revoke", {**body, "dry_run": True})).json
    total = int(found["total"])
    if dry_run or (not output.as_json and total):
        _told(output, found)
    if dry_run or not total:
        if not dry_run:
            output.done("There are no such certificates.", {"dry_run": False, "revoked": 0})
        return
    if not yes:
        typed = click.prompt(
            f"To revoke all {total} ({reason}), type their number", err=True, default="", show_default=False
        )
        if typed.strip() != str(total):
            raise Failure("Nothing was revoked: that is not their number.")
    done = (await api.call("POST", "certificates/revoke", {**body, "dry_run": False})).json
    output.done(f"{done['revoked']} certificates are revoked.", done)


def _told(output: Output, found: dict[str, Any]) -> None:
    """Say which certificates would be revoked: the first of them, and how many there are."""
    if output.as_json:
        output.json(found)
        return
    output.rows(found["data"], COLUMNS, "There are no such certificates.")
    if found["total"] > len(found["data"]):
        output.done(f"... and {found['total'] - len(found['data'])} more")
