"""``certctl issuer``: who signs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from certctl.cli import values
from certctl.cli.certificates import write
from certctl.cli.client import Api
from certctl.cli.failures import Failure
from certctl.cli.output import Column, Output
from certctl.cli.session import Group, over_api

COLUMNS: tuple[Column, ...] = (
    ("id", "id"),
    ("subject", "subject"),
    ("state", lambda each: state(each)),
    ("ends", "not_after"),
    ("successor", "successor_id"),
)
REQUESTS: tuple[Column, ...] = (("id", "id"), ("by", "created_by"), ("since", "created_at"))
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=Group)
def issuer() -> None:
    r"""Issuers: who signs; another one beside it, or in its place (docs/ca.md).

    \b
    Examples:
      certctl issuer list
      certctl issuer show iss-internal-ca --pem
      certctl issuer request iss-2027 --name 'Corp issuing CA 2027' --output request.pem
      certctl issuer install iss-2027 chain.pem
      certctl issuer switch iss-internal-ca --to iss-2027 --renew-by 30d
      certctl issuer retire iss-internal-ca
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
        output.object(found, leave_out=("certificate", "chain", "root", "alternates", "decoded"))


def state(each: dict[str, Any]) -> str:
    """What an issuer does, in a word."""
    if each.get("retired_at"):
        return "retired"
    if not each["signs_here"]:
        return "no key here"
    if each.get("switched_at"):
        return "switched"
    return "to be switched" if each.get("switch_at") else "signs"


@issuer.command("request")
@click.argument("id")
@click.option("--name", required=True, help="The name of the issuing CA.")
@click.option(
    "--key",
    "algorithm",
    default="ecdsa-p256",
    show_default=True,
    help="ecdsa-p384, rsa-3072 and rsa-4096 too.",
)
@click.option(
    "--output", "-o", "to", type=click.Path(dir_okay=False, path_type=Path), help="A file, and not stdout."
)
@over_api
async def request_issuer(
    api: Api, output: Output, id: str, name: str, algorithm: str, to: Path | None
) -> None:
    """Make a key on the server, and write the request for its certificate; again, if it was made before."""
    body = {"id": id, "common_name": name, "key_algorithm": algorithm}
    known = {each["id"]: each for each in await api.all("issuer-requests")}
    found = known.get(id) or (await api.call("POST", "issuer-requests", body)).json
    write(output, found["request"].encode(), to, binary=False)


@issuer.command("requests")
@over_api
async def list_requests(api: Api, output: Output) -> None:
    """List the keys that wait for their certificates."""
    output.rows(await api.all("issuer-requests"), REQUESTS, "No key waits for its certificate.")


@issuer.command("withdraw")
@click.argument("id")
@over_api
async def withdraw_request(api: Api, output: Output, id: str) -> None:
    """Give a request up."""
    await api.call("DELETE", f"issuer-requests/{id}")
    output.done(f"The request {id} is given up; its key stays in the server's issuers/{id}.")


@issuer.command("install")
@click.argument("id")
@click.argument("file", type=FILE)
@click.option("--renew", is_flag=True, help="In the place of a certificate of the same name and key.")
@over_api
async def install_issuer(api: Api, output: Output, id: str, file: Path, renew: bool) -> None:
    """Make an issuer of a request and its certificate, which is in FILE with those above it."""
    body = {"certificates": _text(file)}
    if renew:
        answer = await api.call("PUT", f"issuers/{id}/certificate", body)
    else:
        answer = await api.call("POST", "issuers", {"id": id, **body})
    found = answer.json
    output.done(f"{id} signs as {found['subject']}, until {found['expires_at']}.", found)


@issuer.command("add-chain")
@click.argument("id")
@click.argument("file", type=FILE)
@over_api
async def add_chain(api: Api, output: Output, id: str, file: Path) -> None:
    """Offer another chain too, by the cross-certificate in FILE."""
    found = (await api.call("POST", f"issuers/{id}/chains", {"certificates": _text(file)})).json
    output.done(f"{id} has {len(found['alternates'])} other chains now.", found)


@issuer.command("remove-chain")
@click.argument("id")
@click.argument("sha256")
@over_api
async def remove_chain(api: Api, output: Output, id: str, sha256: str) -> None:
    """Offer a chain no more, by the digest that show has."""
    found = (await api.call("DELETE", f"issuers/{id}/chains/{sha256}")).json
    output.done(f"{id} has {len(found['alternates'])} other chains now.", found)


@issuer.command("switch")
@click.argument("id")
@click.option("--to", metavar="ID", help="Who takes its place.")
@click.option("--at", metavar="WHEN", help="When; if not given, now.")
@click.option("--renew-by", metavar="WHEN", help="By when clients are to have replaced what it signed.")
@click.option("--cancel", is_flag=True, help="Take back a switch that is to come.")
@values.yes
@over_api
async def switch_issuer(
    api: Api,
    output: Output,
    id: str,
    to: str | None,
    at: str | None,
    renew_by: str | None,
    cancel: bool,
    yes: bool,
) -> None:
    """Let another issuer take the place of one: the profiles that name it name the other."""
    if cancel:
        found = (await api.call("DELETE", f"issuers/{id}/switch")).json
        output.done(f"{id} is not going to be switched.", found)
        return
    if to is None:
        raise click.UsageError("say who takes its place: --to ID")
    values.confirm(f"Let {to} take the place of {id}?", yes)
    answer = await api.call("GET", f"issuers/{id}")
    body = {"to": to, "at": at and values.moment(at), "renew_by": renew_by and values.moment(renew_by)}
    found = (await api.call("POST", f"issuers/{id}/switch", body, if_match=answer.headers.get("etag"))).json
    words = "has taken" if found["switched_at"] else f"will at {found['switch_at']} take"
    output.done(f"{to} {words} the place of {id}.", found)


@issuer.command("retire")
@click.argument("id")
@click.option("--even-with-live", is_flag=True, help="Though certificates of it live.")
@values.yes
@over_api
async def retire_issuer(api: Api, output: Output, id: str, even_with_live: bool, yes: bool) -> None:
    """Let an issuer sign no certificates any more; its CRL and OCSP answers go on."""
    values.confirm(f"Retire {id} for good?", yes)
    found = (await api.call("POST", f"issuers/{id}/retire", {"even_with_live": even_with_live})).json
    output.done(f"{id} is retired. Keep its key until the last of its certificates has ended.", found)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise Failure(f"{file} cannot be read as PEM.") from None


def chain(found: dict[str, Any]) -> list[str]:
    """The certificates of an issuer in PEM: its own first, then those above it."""
    texts = [found.get("certificate") or ""]
    above = found.get("chain") or []
    texts += [above] if isinstance(above, str) else above
    blocks = re.findall(
        r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", "\n".join(texts), re.DOTALL
    )
    return list(dict.fromkeys(each.rstrip("\n") + "\n" for each in blocks))
