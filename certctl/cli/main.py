"""The command ``certctl``: its options, its groups, and how it ends."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from certctl import __version__
from certctl.cli import (
    accounts,
    apikeys,
    audit,
    backup,
    bundle,
    certificates,
    doctor,
    eab,
    issuers,
    keys_at_rest,
    migrate,
    orders,
    profiles,
    renewals,
    roots,
    storage,
    trail,
)
from certctl.cli.session import Group, given, session, session_of, with_json

FILE = click.Path(dir_okay=False, path_type=Path)
COMPLETE = "_CERTCTL_COMPLETE"


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--server", metavar="URL", help="The server; else CERTCTL_SERVER_URL, else the one on this host."
)
@click.option("--ca", type=FILE, help="PEM file of those who vouch for the server; else CERTCTL_CA_BUNDLE.")
@click.option("--key-file", type=FILE, help="File with the API key; else CERTCTL_API_KEY.")
@click.option("--settings", type=FILE, help="The server's settings file, on its host.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.pass_context
def cli(
    context: click.Context,
    server: str | None,
    ca: Path | None,
    key_file: Path | None,
    settings: Path | None,
    as_json: bool,
) -> None:
    r"""Run a certctl server: profiles, accounts, certificates, keys, backups, and what is wrong.

    \b
    On the server's host, as root, nothing needs to be told:
      sudo certctl profile list
    From elsewhere:
      export CERTCTL_SERVER_URL=https://certctl.corp.example:8443
      export CERTCTL_CA_BUNDLE=root-ca.pem CERTCTL_API_KEY=...
      certctl cert list --expires-before 14d

    \b
    Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no server that can be trusted,
    4 key missing or not allowed, 5 not found, 6 conflict, 7 try again later.
    """
    current = session_of(context)
    environ = current.given.environ or os.environ
    current.given = given(server, ca, key_file, settings, environ)
    current.output.as_json = as_json


@cli.command()
@with_json
def version() -> None:
    """Say which certctl this is."""
    found = {"version": __version__, "python": platform.python_version()}
    session().output.done(f"certctl {__version__} (Python {platform.python_version()})", found)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Write the completion script of a shell: source <(certctl completion bash)."""
    found = get_completion_class(shell)
    assert found is not None
    session().output.plain(found(cli, {}, "certctl", COMPLETE).source())


for command in (
    profiles.profile,
    accounts.account,
    orders.order,
    certificates.cert,
    renewals.renewals,
    eab.eab,
    issuers.issuer,
    apikeys.apikey,
    bundle.ca,
    doctor.doctor,
    backup.backup,
    backup.restore,
    migrate.migrate,
    storage.storage,
    audit.audit,
):
    cli.add_command(command)
for command in (
    keys_at_rest.encrypt_keys,
    roots.init,
    roots.request,
    roots.sign,
    roots.cross_sign,
    roots.install,
):
    bundle.ca.add_command(command)
for command in (trail.list_events, trail.follow_events):
    audit.audit.add_command(command)


def main() -> None:
    """Run the command and exit."""
    try:
        cli(prog_name="certctl", complete_var=COMPLETE)
    except BrokenPipeError:  # the pipe's reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("CERTCTL_LOG_LEVEL") == "debug":
            raise
        words = " ".join(f"{type(error).__name__}: {error}".split())
        click.echo(
            f"Error: this is a mistake in certctl ({words}): CERTCTL_LOG_LEVEL=debug shows where; please report it.",
            err=True,
        )
        sys.exit(1)
