"""``certctl issuer``: who signs."""

from __future__ import annotations

import re
from typing import Any

import click

from certctl.cli.client import Api
from certctl.cli.output import Column, Output
from certctl.cli.session import Group, over_api

COLUMNS: tuple[Column, ...] = (("id", "id"), ("subject", "subject"), ("ends", "not_after"))


@click.group(cls=Group)
def issuer() -> None:
    r"""Issuers: who signs.

    \b
    Examples:
      certctl issuer list
      certctl issuer show iss-internal-ca --pem
    """


@issuer.command("list")
@over_api
async def list_issuers(api: Api, output: Output) -> None:
    """List issuers."""
    output.rows(await api.all("issuers"), COLUMNS, "There are no issuers.")


@issuer.command("show")
@click.argument("id")
@click.option("--pem", is_flag=True, help="Write its chain in PEM, and nothing else.")
@over_api
async def show_issuer(api: Api, output: Output, id: str, pem: bool) -> None:
    """Show an issuer."""
    found = await api.get(f"issuers/{id}")
    if pem:
        output.plain("".join(chain(found)))
    else:
        output.object(found, leave_out=("certificate", "chain", "root", "decoded"))


def chain(found: dict[str, Any]) -> list[str]:
    """The certificates of an issuer in PEM: its own first, then those above it."""
    texts = [found.get("certificate") or ""]
    above = found.get("chain") or []
    texts += [above] if isinstance(above, str) else above
    blocks = re.findall(
        r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", "\n".join(texts), re.DOTALL
    )
    return list(dict.fromkeys(each.rstrip("\n") + "\n" for each in blocks))
