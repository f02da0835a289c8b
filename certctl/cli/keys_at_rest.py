"""``certctl ca encrypt-keys``, and what the doctor says of keys under a passphrase."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from certctl.cli.failures import Exit, Failure
from certctl.cli.findings import Finding, ok, warn
from certctl.cli.session import session, with_json
from certctl.issuance import files, rekeying
from certctl.issuance.issuer import IssuerError
from certctl.issuance.passphrase import Passphrase
from certctl.settings import Settings
from certctl.start import passphrase_of

FILE = click.Path(dir_okay=False, path_type=Path)
SHORT = 16  # octets; less is guessed by who has the file and time


@click.command("encrypt-keys")
@click.option("--old-passphrase-file", "old", type=FILE, help="The passphrase that keys are under by now.")
@with_json
def encrypt_keys(old: Path | None) -> None:
    """Put the private keys of CAs and OCSP responders on this host under the passphrase that the settings name.

    Those in the state directory, and CERTCTL_CA_KEY_PATH; with --old-passphrase-file those that are under another
    passphrase too. The server may run; it needs the passphrase from its next start on.
    """
    current = session()
    settings = current.settings
    try:
        passphrase = passphrase_of(settings)
        if passphrase is None:
            raise Failure(
                "No passphrase is set: make one (openssl rand -base64 32), and name its file in"
                " CERTCTL_CA_PASSPHRASE_FILE.",
                Exit.USAGE,
            )
        paths = rekeying.key_files(settings.state_dir, settings.ca_key_path)
        if not paths:
            raise Failure(f"There are no keys in {settings.state_dir}: start the server, which makes them.")
        former = None if old is None else Passphrase.read(old)
        changed = rekeying.encrypt(settings.state_dir, paths, passphrase, former)
    except IssuerError as error:
        raise Failure(f"{error}.") from None
    if current.output.as_json:
        current.output.json(
            {"encrypted": [str(each) for each in changed], "keys": [str(each) for each in paths]}
        )
        return
    for each in changed:
        current.output.done(f"{each} is encrypted.")
    if not changed:
        current.output.done(f"All {len(paths)} keys are under this passphrase already.")
    else:
        current.output.warn(
            "what was there in the clear may still be in backups, snapshots and free blocks of the disk"
        )


def look_at_keys(settings: Settings) -> Iterator[Finding]:
    """Whether keys are encrypted, as far as the settings ask for that."""
    try:
        passphrase = passphrase_of(settings)
    except IssuerError:
        return  # said of the CA
    if passphrase is None:
        return
    paths = rekeying.key_files(settings.state_dir, settings.ca_key_path)
    plain = [str(each) for each in paths if not files.is_encrypted(each.read_bytes())]
    if plain:
        words = f"a passphrase is set, and not encrypted are {', '.join(plain)}"
        yield warn("CA", words, "run: certctl ca encrypt-keys")
    elif paths:
        yield ok("CA", f"its keys are encrypted, under the passphrase in {passphrase.source}")
    if len(passphrase.octets) < SHORT:
        words = f"the passphrase in {passphrase.source} is short"
        yield warn(
            "CA", words, "make another (openssl rand -base64 32); certctl ca encrypt-keys takes the old one"
        )
