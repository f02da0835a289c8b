"""``certctl eab``: keys that bind accounts to whom the organisation knows (RFC 8555 section 7.3.4)."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import click

from certctl.cli import values
from certctl.cli.client import Api
from certctl.cli.output import Column, Output
from certctl.cli.session import Group, over_api

COLUMNS: tuple[Column, ...] = (
    ("id", "id"),
    ("name", "name"),
    ("profile", "profile_id"),
    ("status", "status"),
    ("uses", lambda each: f"{each.get('uses', 0)}{' of 1' if each.get('single_use') else ''}"),
    ("ends", "expires_at"),
)


@click.group(cls=Group)
def eab() -> None:
    r"""Keys for external account binding.

    \b
    Examples:
      certctl eab create prof-web "team web" --single-use --expires 30d
      certctl eab list --status active
      certctl eab revoke ID
    """


@eab.command("create")
@click.argument("profile")
@click.argument("name")
@click.option("--single-use", is_flag=True, help="It binds one account.")
@click.option("--expires", type=values.moment, help="When it ends, such as 30d; if not given, never.")
@click.option("--allow", multiple=True, metavar="NAME", help="A name, *.suffix or network for its accounts.")
@click.option(
    "--deny", multiple=True, metavar="NAME", help="A name, *.suffix or network not for its accounts."
)
@over_api
async def create_key(api: Api, output: Output, profile: str, name: str, **given: Any) -> None:
    """Make a key, shown this once, and say how clients take it."""
    body: dict[str, Any] = {"profile_id": profile, "name": name, "single_use": given["single_use"]}
    if given["expires"]:
        body["expires_at"] = given["expires"]
    if policy := values.name_policy(given["allow"], given["deny"]):
        body["policy"] = policy
    made = (await api.call("POST", "eab-keys", body)).json
    output.object(made)
    if output.as_json:
        return
    output.warn("mac_key is shown this once: keep it now")
    directory = (await api.get(f"profiles/{profile}"))["directory_url"]
    output.plain("\n" + snippets(directory, made["id"], made["mac_key"]))


@eab.command("list")
@click.option("--profile", "profile_id", help="Those of this profile.")
@click.option(
    "--status", type=click.Choice(["active", "used", "expired", "revoked"]), help="Those of this status."
)
@values.most
@over_api
async def list_keys(api: Api, output: Output, limit: int, **asked: Any) -> None:
    """List keys."""
    output.rows(await api.all("eab-keys", limit, **asked), COLUMNS, "There are no such keys.")


@eab.command("show")
@click.argument("id")
@over_api
async def show_key(api: Api, output: Output, id: str) -> None:
    """Show a key, without its MAC key."""
    output.object(await api.get(f"eab-keys/{id}"))


@eab.command("revoke")
@click.argument("id")
@values.yes
@over_api
async def revoke_key(api: Api, output: Output, id: str, yes: bool) -> None:
    """Let a key bind no more accounts; those that it bound stay."""
    values.confirm(f"Revoke the key {id}?", yes)
    await api.call("DELETE", f"eab-keys/{id}")
    output.done(f"{id} is revoked.")


def snippets(directory: str, key_id: str, mac_key: str) -> str:
    """How certbot, lego, Caddy and cert-manager take a key."""
    return dedent(f"""\
        # certbot
        certbot register --server {directory} --agree-tos --register-unsafely-without-email \\
            --eab-kid {key_id} --eab-hmac-key {mac_key}

        # lego
        lego --server {directory} --accept-tos --email you@example.com --eab \\
            --kid {key_id} --hmac {mac_key} --domains NAME --http run

        # Caddy, in the Caddyfile's global options
        {{
            acme_ca {directory}
            acme_eab {{
                key_id {key_id}
                mac_key {mac_key}
            }}
        }}

        # cert-manager: kubectl create secret generic certctl-eab --namespace cert-manager \\
        #     --from-literal=secret={mac_key}
        apiVersion: cert-manager.io/v1
        kind: ClusterIssuer
        metadata:
          name: certctl
        spec:
          acme:
            server: {directory}
            externalAccountBinding:
              keyID: {key_id}
              keySecretRef:
                name: certctl-eab
                key: secret
            privateKeySecretRef:
              name: certctl-account
            solvers:
              - http01:
                  ingress: {{}}
        """)
