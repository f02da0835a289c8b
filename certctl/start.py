"""The steps of a start: directory, socket, names, first contents, and what is told about it."""

from __future__ import annotations

import hashlib
import resource
import secrets
import shlex
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from certctl.acme.identifiers import Identifier, IdentifierError, dns_name, ip_address
from certctl.acme.objects import AuthMode, Profile
from certctl.acme.profile_policy import warnings
from certctl.authority.trail import SYSTEM, Action, Event, Trail
from certctl.issuance import files
from certctl.issuance.hierarchy import ROOT_CERTIFICATE
from certctl.issuance.issuer import Issuer, Keyring
from certctl.issuance.passphrase import Passphrase
from certctl.sealing import FILE as SECRET_KEY
from certctl.sealing import Seal
from certctl.settings import Settings
from certctl.storage import issuers, profiles, restores, sealing
from certctl.storage.database import Conflict, Database

DEFAULT_PROFILE = "prof-default"
RESTORED = "restored"  # the file in the state directory that a restore leaves for the next start
API_KEY = "api-key"  # the file in the state directory whose key may do everything
DEFAULT_LIFETIME = timedelta(days=90)
FILES = 65_536  # open files and sockets
NO_DRIVER = "PostgreSQL needs psycopg2 and txpostgres: install certctl with its extra, certctl[postgres]"
ALWAYS = ("localhost", "127.0.0.1", "::1")  # names that every server answers to

_STRANGER = (
    "the CA of this server (its certificate's SHA-256 is {own}) is not the one that the database records ({known}): "
    "copy the CA's files from the state directory of a server that is right, or, if this CA is to take the place of "
    "the recorded one, set CERTCTL_CA_ACCEPT to {own}"
)
_OTHER_SECRET = (
    "the secret-key of this server (its fingerprint is {own}) is not the one that the database records ({known}): "
    "copy that file from the state directory of a server that is right, or, if it is lost, set "
    "CERTCTL_SECRET_KEY_ACCEPT to {own}, and make new EAB keys"
)

T = TypeVar("T")


class StartError(Exception):
    """Why the server cannot start: one sentence."""


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def private_directory(path: Path) -> str:
    """Make the state directory, and an API key in it, for nobody but the server's user; return the key."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = path / API_KEY
    if not file.exists():
        files.write(file, f"{secrets.token_urlsafe(32)}\n".encode(), 0o600)
    key = file.read_text().strip()
    return key


def passphrase_of(settings: Settings) -> Passphrase | None:
    """The passphrase of the CA's keys, if the settings name one; raises IssuerError."""
    path = settings.ca_passphrase_file
    return None if path is None else Passphrase.read(path)


def raise_file_limit() -> None:
    """Let the process have as many connections as its limits allow at all; a validation alone opens three sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def opened(open: Callable[[], T]) -> T:
    """Open the database; raise StartError if the file is none or cannot be had."""
    try:
        return open()
    except sqlite3.Error as error:
        raise StartError(f"the database cannot be opened ({error}): see CERTCTL_DATABASE_URL") from None


def names(settings: Settings) -> list[Identifier]:
    """What the server's own certificate is for: this host, whatever it is called, and what the settings add."""
    external = (settings.server_external_url or "").removeprefix("https://")
    host = external.rpartition(":")[0] if external.rpartition(":")[2].isdigit() else external
    texts = (
        *ALWAYS,
        socket.gethostname(),
        settings.server_host,
        host.strip("[]"),
        *settings.server_tls_names,
    )
    found: dict[Identifier, None] = {}
    for text in texts:
        for read in (ip_address, dns_name):
            try:
                found[read(text)] = None
                break
            except IdentifierError:  # a host's name may be none that a certificate could have
                continue
    return [each for each in found if each.value not in ("0.0.0.0", "::")]


async def note_restore(database: Database, trail: Trail, state: Path) -> None:
    """Record that a backup was put back, if ``certctl restore`` says so by a file, which goes then."""
    marker = state / RESTORED
    if not marker.exists():
        return
    at = trail.now()
    event = Event(
        actor=SYSTEM, action=Action.RESTORED, resource_type="server", resource_id=socket.gethostname()
    )
    await trail.record(at, event, restores.record(at))
    marker.unlink()


async def is_retired(database: Database, issuer_id: str) -> bool:
    """Whether an issuer is recorded as retired, so that a server can be without it."""
    record = await database.read(issuers.by_id(issuer_id))
    return record is not None and record.retired_at is not None


async def refuse_strangers(
    database: Database, issuer: Issuer | None, keyring: Keyring, seal: Seal, settings: Settings
) -> None:
    """Raise StartError where ``seed`` or ``share_secret`` would, before either has recorded anything.

    And for a key of a further issuer that is not the recorded one's. That a key is not here is no reason not to start:
    it is said in the log and by ``/ready``.
    """
    if issuer is not None:
        _judge_issuer(issuer, await database.read(issuers.certificate_of(issuer.id)), settings.ca_accept)
    for record in await database.read(issuers.everyone()):
        if (wrong := keyring.wrong(record.id, record.chain[0])) is not None:
            raise StartError(wrong)
    _judge_secret(seal, await database.read(sealing.fingerprint()), settings.secret_key_accept)


async def seed(
    database: Database, trail: Trail, issuer: Issuer, mode: AuthMode, accepted: str | None = None
) -> None:
    """Record the issuer, and make the first profile if there is none.

    Raises StartError for an issuer that is neither the recorded one nor, by its fingerprint, the accepted one.
    """
    while not await _recorded(database, trail, issuer, accepted):
        pass  # another server, which starts at the same moment, was first: look again
    at = trail.now()
    if await database.read(profiles.everyone()):
        return
    profile = Profile(
        id=DEFAULT_PROFILE,
        name="Default",
        issuer_id=issuer.id,
        acme_auth_mode=mode,
        max_ttl_seconds=int(DEFAULT_LIFETIME.total_seconds()),
    )
    made = Event(
        actor=SYSTEM,
        action=Action.PROFILE_CREATED,
        resource_type="profile",
        resource_id=profile.id,
        details={"mode": mode.value},
    )
    try:
        await trail.record(at, made, profiles.insert(profile, at))
    except Conflict:  # another replica starts at the same moment
        return


async def record(
    database: Database, trail: Trail, others: Iterable[Issuer], accepted: str | None = None
) -> None:
    """Record further issuers, which profiles may name then; raises StartError as ``seed`` does."""
    for each in others:
        while not await _recorded(database, trail, each, accepted):
            pass


async def _recorded(database: Database, trail: Trail, issuer: Issuer, accepted: str | None) -> bool:
    """Whether the issuer is the recorded one, or was recorded now.

    A renewed certificate takes the place of the recorded one by itself. One with another key does so only where it is
    the accepted one: two servers that sign with different keys under one name are never meant.
    """
    own, known = issuer.chain[0], await database.read(issuers.certificate_of(issuer.id))
    if known == own or (known is not None and _is_renewed(own, known)):
        return True
    _judge_issuer(issuer, known, accepted)
    event = Event(
        actor=SYSTEM,
        action=Action.ISSUER_RECORDED,
        resource_type="issuer",
        resource_id=issuer.id,
        details={"sha256": fingerprint(own)},
    )
    at = trail.now()
    try:
        await trail.record(at, event, issuers.record(issuer.id, issuer.chain, known, at, issuer.root))
    except Conflict:
        return False
    return True


def _judge_issuer(issuer: Issuer, known: bytes | None, accepted: str | None) -> None:
    own = issuer.chain[0]
    if known is None or own == known or _is_renewed(own, known) or _is_renewed(known, own):
        return
    if fingerprint(own) != accepted:
        raise StartError(_STRANGER.format(own=fingerprint(own), known=fingerprint(known)))


def _judge_secret(seal: Seal, known: str | None, accepted: str | None) -> None:
    if known not in (None, seal.fingerprint) and seal.fingerprint != accepted:
        raise StartError(_OTHER_SECRET.format(own=seal.fingerprint, known=known))


async def share_secret(database: Database, trail: Trail, seal: Seal, accepted: str | None = None) -> None:
    """Record the secret under which keys are sealed; raise StartError if it is neither the recorded one nor accepted.

    Servers on one database open what any of them sealed, or do not start.
    """
    own = seal.fingerprint
    while (known := await database.read(sealing.fingerprint())) != own:
        _judge_secret(seal, known, accepted)
        at = trail.now()
        event = Event(
            actor=SYSTEM,
            action=Action.SECRET_RECORDED,
            resource_type="secret_key",
            resource_id=SECRET_KEY,
            details={"fingerprint": own},
        )
        try:
            await trail.record(at, event, sealing.record(own, known, at))
        except Conflict:
            continue  # another server, which starts at the same moment, was first: look again


def fingerprint(der: bytes) -> str:
    """The SHA-256 fingerprint of a certificate, in hex."""
    return hashlib.sha256(der).hexdigest()


def _is_renewed(old: bytes, new: bytes) -> bool:
    """Whether ``new`` is a later certificate of the same CA: of the same name and key."""
    one, other = (x509.load_der_x509_certificate(each) for each in (old, new))
    forms = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    same_key = one.public_key().public_bytes(*forms) == other.public_key().public_bytes(*forms)
    return same_key and one.subject == other.subject and one.not_valid_before_utc < other.not_valid_before_utc


async def profile_warnings(database: Database) -> list[str]:
    """What an operator should know of the profiles that are in use, a sentence each."""
    return [
        told
        for each in await database.read(profiles.everyone())
        if each.enabled and each.archived_at is None
        for told in warnings(each)
    ]


async def shown_profile(database: Database, settings: Settings) -> Profile | None:
    """The profile whose directory the log names at the start."""
    return await database.read(profiles.by_id(settings.acme_server_default_profile_id or DEFAULT_PROFILE))


def told(settings: Settings, profile: Profile | None) -> Iterator[tuple[str, dict[str, str]]]:
    """What the log says once the server answers: the directory, the root, and a command for a first certificate."""
    origin = (
        settings.server_external_url or f"https://{_reachable(settings.server_host)}:{settings.server_port}"
    )
    if not settings.acme_server_enabled:
        yield "no ACME: CERTCTL_ACME_SERVER_ENABLED is false", {}
        return
    root = settings.state_dir.absolute() / ROOT_CERTIFICATE
    if not root.exists():  # the chain of CERTCTL_CA_CERT_PATH ends below it
        root = Path("/path/to/your/organisation's/root.pem")
    id = settings.acme_server_default_profile_id or DEFAULT_PROFILE
    directory = f"{origin}/acme/profile/{id}/directory"
    yield "directory: {directory}", {"directory": directory}
    yield "root certificate: {root_certificate}", {"root_certificate": str(root)}
    if profile is not None and profile.acme_auth_mode is AuthMode.CHALLENGE:
        command = first_command(directory, str(root), "NAME")
        yield "first certificate, on the host of NAME with its port 80 free: {command}", {"command": command}
    else:
        command = first_command(directory, str(root), "first.internal")
        yield "first certificate: {command}", {"command": command}


def _reachable(host: str) -> str:
    """The host as a client on this machine writes it into a URL."""
    if host in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host


def first_command(directory: str, root: str, name: str) -> str:
    """One command that gets a certificate for the name, with lego, which is a Debian package."""
    install = "" if shutil.which("lego") else "apt-get install -y lego && "
    return (
        f"{install}LEGO_CA_CERTIFICATES={shlex.quote(root)} lego --server {directory} --accept-tos"
        f" --email you@example.com --domains {name} --http --path first-certificate run"
    )
