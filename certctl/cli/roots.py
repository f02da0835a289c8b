"""``certctl ca init``, ``sign`` and ``cross-sign``: a root, on a machine that need have nothing else.

And ``certctl ca request`` and ``install``: the CA with which a server begins, where its root is elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.acme.name_constraints import Subtrees
from certctl.cli import values
from certctl.cli.certificates import write
from certctl.cli.failures import Failure
from certctl.cli.output import Output
from certctl.cli.session import session, with_json
from certctl.issuance import founding, offline
from certctl.issuance.issuer import IssuerError
from certctl.issuance.offline import Bounds
from certctl.issuance.passphrase import Passphrase
from certctl.start import passphrase_of

DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
LARGEST_PATH = 10

in_directory = click.option(
    "--directory", "-d", type=DIRECTORY, default=Path(), help="Where the root is; if not given, here."
)
into_file = click.option("--output", "-o", "to", type=NEW_FILE, help="A file, and not stdout.")
with_key = click.option(
    "--key", "algorithm", type=click.Choice(list(offline.KEYS)), default="ecdsa-p256", show_default=True
)
with_passphrase = click.option(
    "--passphrase-file", "passphrase", type=FILE, help="The passphrase of the root's key, in a file."
)


def bounding(path_length: str, lifetime: str) -> Callable[[Any], Any]:
    """Give a command the options of what a CA's certificate allows below it."""

    def decorate(function: Any) -> Any:
        for option in (
            click.option(
                "--exclude", multiple=True, metavar="NAME|NETWORK", help="What it must not certify."
            ),
            click.option(
                "--permit",
                multiple=True,
                metavar="NAME|NETWORK",
                help="What alone it may certify: corp.example with all below it, 10.0.0.0/8.",
            ),
            click.option(
                "--path-length",
                default=path_length,
                show_default=True,
                help="Levels of CAs below it, or any.",
            ),
            click.option("--lifetime", default=lifetime, show_default=True, help="For how long."),
        ):
            function = option(function)
        return function

    return decorate


@click.command("init")
@in_directory
@click.option("--name", required=True, help="The root's name.")
@with_key
@bounding("1", "7300d")
@with_passphrase
@with_json
def init(directory: Path, name: str, algorithm: str, passphrase: Path | None, **bounds: Any) -> None:
    """Make a root: root-ca-key.pem, which stays there, and root-ca.pem, which clients trust."""
    paths = _told(
        lambda: offline.found_root(
            directory, name, algorithm, _bounds(**bounds), _now(), _passphrase(passphrase)
        )
    )
    session().output.done(
        f"{paths.root} is the root that clients trust; keep {paths.root_key} where no network reaches.",
        {"root": str(paths.root), "key": str(paths.root_key)},
    )


@click.command("sign")
@click.argument("request", type=FILE)
@in_directory
@bounding("0", "1825d")
@into_file
@with_passphrase
def sign(request: Path, directory: Path, to: Path | None, passphrase: Path | None, **bounds: Any) -> None:
    """Certify an issuing CA by its REQUEST: writes its certificate, and the root's after it."""
    made = _told(
        lambda: offline.sign_request(
            directory, request.read_bytes(), _bounds(**bounds), _now(), _passphrase(passphrase)
        )
    )
    write(session().output, _pem(made), to, binary=False)


@click.command("cross-sign")
@click.argument("certificate", type=FILE)
@in_directory
@click.option("--lifetime", default="1825d", show_default=True, help="For how long, at most.")
@into_file
@with_passphrase
def cross_sign(
    certificate: Path, directory: Path, lifetime: str, to: Path | None, passphrase: Path | None
) -> None:
    """Certify the CA of another root's CERTIFICATE by this root too, for clients that trust this one."""
    span = timedelta(seconds=values.span(lifetime))
    made = _told(
        lambda: offline.sign_across(
            directory, certificate.read_bytes(), span, _now(), _passphrase(passphrase)
        )
    )
    write(session().output, _pem(made), to, binary=False)


@click.command("request")
@click.option("--name", help="The issuing CA's name; if not given, CERTCTL_CA_COMMON_NAME.")
@with_key
@into_file
def request(name: str | None, algorithm: str, to: Path | None) -> None:
    """Make the key with which this host's server will sign, or find it, and write the request for its certificate.

    Before the server's first start, or for a renewed certificate. Further issuers: certctl issuer request.
    """
    settings = _own_settings()
    name = name or settings.ca_common_name
    made = _told(lambda: founding.request(settings.state_dir, name, algorithm, passphrase_of(settings)))
    write(session().output, made.public_bytes(Encoding.PEM), to, binary=False)


@click.command("install")
@click.argument("file", type=FILE)
@with_json
def install(file: Path) -> None:
    """Put the certificate in FILE, with those above it and the root, where this host's server finds it."""
    settings = _own_settings()
    found = _told(
        lambda: founding.install(settings.state_dir, file.read_bytes(), _now(), passphrase_of(settings))
    )
    words = f"{found[0].subject.rfc4514_string()} signs here, until {found[0].not_valid_after_utc:%Y-%m-%d}"
    _say(session().output, f"{words}: (re)start the server.", found)


def _own_settings() -> Any:
    settings = session().settings
    if settings.ca_cert_path is not None:
        raise Failure(f"CERTCTL_CA_CERT_PATH names {settings.ca_cert_path}: put the certificate there.")
    return settings


def _say(output: Output, words: str, found: list[x509.Certificate]) -> None:
    output.done(words, {"certificates": [each.public_bytes(Encoding.PEM).decode() for each in found]})


def _told(work: Callable[[], Any]) -> Any:
    """What some work returns; what is wrong with files becomes the command's failure."""
    try:
        return work()
    except (IssuerError, ValueError) as error:
        raise Failure(f"{error}.") from None


def _bounds(lifetime: str, path_length: str, permit: tuple[str, ...], exclude: tuple[str, ...]) -> Bounds:
    levels = None if path_length == "any" else int(path_length) if path_length.isdecimal() else -1
    if levels is not None and not 0 <= levels <= LARGEST_PATH:
        raise click.UsageError(f"--path-length is a number from 0 to {LARGEST_PATH}, or any")
    return Bounds(
        lifetime=timedelta(seconds=values.span(lifetime)),
        path_length=levels,
        permitted=Subtrees.parse(permit),
        excluded=Subtrees.parse(exclude),
    )


def _passphrase(file: Path | None) -> Passphrase | None:
    return None if file is None else Passphrase.read(file)


def _pem(made: list[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in made)


def _now() -> datetime:
    return datetime.now(UTC)
