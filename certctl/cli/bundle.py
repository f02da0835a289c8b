"""``certctl ca bundle``: what clients must trust, in the form that they take."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12
from cryptography.x509.oid import NameOID

from certctl.cli import access
from certctl.cli.certificates import write
from certctl.cli.client import Api
from certctl.cli.failures import Exit, Failure
from certctl.cli.issuers import chain
from certctl.cli.output import Output
from certctl.cli.session import Group, Session, session, with_json
from certctl.issuance import files
from certctl.issuance.hierarchy import Files
from certctl.issuance.issuer import IssuerError

PASSWORD = "changeit"  # what Java's own tools take where none is given; a trust store holds nothing secret
FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=Group)
def ca() -> None:
    r"""The CA: made and certified by files, and given to those who must trust it (docs/ca.md).

    \b
    Examples:
      certctl ca init --name 'Corp Root' --permit corp.example     on a machine of its own
      certctl ca request --output request.pem                       on the server
      certctl ca sign request.pem --output chain.pem                where the root is
      certctl ca install chain.pem                                  on the server
      certctl ca bundle > root.pem
      kubectl patch ... caBundle: "$(certctl ca bundle --format base64)"
      certctl ca bundle --format pkcs12 --output trust.p12     for Java: -Djavax.net.ssl.trustStore=trust.p12
    """


@ca.command("bundle")
@click.option(
    "--format", "form", type=click.Choice(["pem", "base64", "pkcs12"]), default="pem", show_default=True
)
@click.option("--output", "-o", "to", type=FILE, help="A file, and not stdout.")
@click.option("--password-file", type=FILE, help=f"The password of pkcs12; if not given, {PASSWORD}.")
@with_json
def bundle(form: str, to: Path | None, password_file: Path | None) -> None:
    """Write the certificates that clients must trust: of the server that is named, or of the one on this host."""
    current = session()
    found = _roots(current)
    password = PASSWORD if password_file is None else _password(password_file)
    if current.output.as_json and to is None:
        current.output.json({"certificates": [_pem(each) for each in found]})
        return
    content = encoded(found, form, password)
    write(current.output, content, to, binary=form == "pkcs12")


def encoded(found: list[x509.Certificate], form: str, password: str = PASSWORD) -> bytes:
    """Certificates in one of the forms."""
    pem = "".join(_pem(each) for each in found).encode()
    if form == "pem":
        return pem
    if form == "base64":  # of the PEM, as Kubernetes has it, on one line
        return base64.b64encode(pem) + b"\n"
    entries = [
        pkcs12.PKCS12Certificate(each, (_name(each) or f"certctl-{secrets.token_hex(4)}").encode())
        for each in found
    ]
    return pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(password.encode()))


def _roots(current: Session) -> list[x509.Certificate]:
    """The root of each issuer; where it is not known, the last certificate of the chain."""
    if current.given.server or current.given.environ.get(access.SERVER_URL):
        found = current.ask(_told)
        for each in found:
            _warn_of(current.output, each)
        return found
    settings = current.settings
    path = settings.ca_cert_path or Files.under(settings.state_dir).root
    try:
        last = files.read_certificates(path)[-1]
    except IssuerError as error:
        raise Failure(f"{error}; or name a server with --server.", Exit.USAGE) from None
    _warn_of(current.output, last)
    further = (files.read_certificates(each)[0] for each in access.further_roots(settings))
    return list(dict.fromkeys((last, *further)))


async def _told(api: Api) -> list[x509.Certificate]:
    texts = [each.get("root") or chain(each)[-1] for each in await api.all("issuers")]
    return [x509.load_pem_x509_certificate(each.encode()) for each in dict.fromkeys(texts)]


def _warn_of(output: Output, last: x509.Certificate) -> None:
    if last.subject != last.issuer:
        output.warn(f"{last.subject.rfc4514_string()} is not a root: OpenSSL wants the root above it as well")


def _password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise Failure(f"The password file {path} cannot be read as text.", Exit.USAGE) from None


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
