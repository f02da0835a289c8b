"""What ``certctl doctor`` looks at on the server's host: files, the CA, the database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.acme.audit_chain import Damaged
from certctl.cli.doctor_state import look_at_state, never_started
from certctl.cli.findings import Finding, each_of, fail, ok, warn
from certctl.cli.keys_at_rest import look_at_keys
from certctl.issuance import files
from certctl.issuance.files import SigningKey
from certctl.issuance.hierarchy import Files, refuse_awaited
from certctl.issuance.issuer import IssuerError
from certctl.issuance.keyring import KeyDirectory
from certctl.sealing import FILE as SECRET_KEY
from certctl.sealing import Seal, SealError
from certctl.settings import Settings
from certctl.start import passphrase_of
from certctl.storage import audit_chain, inspection, issuers, jobs, offline, sealing
from certctl.storage.database import Unavailable
from certctl.storage.migrations import SchemaTooNew, migrations, pending
from certctl.storage.offline import Snapshot

ISSUER = "iss-internal-ca"
CREDENTIALS = "/run/credentials/certctl.service"  # where systemd keeps them while the service runs
SOON = timedelta(days=90)  # no certificate outlives its CA: with less, they get shorter
SKEW = timedelta(seconds=5)
WAITS = timedelta(minutes=5)  # longer than most signers take
MANY = 100
UNSEALED = 20  # intervals without a new batch, after which nobody seals


def look_at_host(settings: Settings) -> Iterator[Finding]:
    """All that can be seen of a server on its host, without asking it."""
    for warning in settings.warnings:
        yield warn("settings", warning, "remove it, or give it another name")
    if not settings.warnings:
        yield ok("settings", "all can be read")
    if never_started(settings):
        words = f"nothing is in {settings.state_dir} yet: no server was started with these settings"
        yield fail("state directory", words, "start it, or name the settings that it has: --settings FILE")
        return
    yield from each_of("state directory", lambda: look_at_state(settings))
    yield from each_of("CA", lambda: _authority(settings), lambda: look_at_keys(settings))
    yield from each_of("database", lambda: _database(settings))


def _authority(settings: Settings) -> Iterator[Finding]:
    paths = Files.under(settings.state_dir)
    certificate, key = settings.ca_cert_path or paths.issuing, settings.ca_key_path or paths.issuing_key
    try:
        if settings.ca_cert_path is None:
            refuse_awaited(paths)
        chain = files.read_certificates(certificate)
        if settings.ca_cert_path is None:
            chain += files.read_certificates(paths.root)
        private = _opened(key, settings)
    except IssuerError as error:
        where, _, words = str(error).partition(": ")
        words, _, remedy = words.partition("; ")
        yield fail("CA", f"{where}: {words}", remedy or "put back the CA's files")
        return
    if private is None:
        words = f"{key} is encrypted, and the passphrase is not known here"
        yield warn("CA", words, f"as root: CREDENTIALS_DIRECTORY={CREDENTIALS} certctl doctor")
    elif private.public_key() != chain[0].public_key():
        yield fail(
            "CA", f"{key} is not the key of {certificate}", "put back the key that belongs to the certificate"
        )
    for one, above in pairwise(chain):
        try:
            one.verify_directly_issued_by(above)
        except (InvalidSignature, ValueError, TypeError):
            words = f"{_subject(one)} is not signed by {_subject(above)}"
            yield fail("CA", words, "put back the files that belong together")
    now = datetime.now(UTC)
    yield from (_expiry(each, now) for each in chain)


def _opened(key: Path, settings: Settings) -> SigningKey | None:
    """The private key; None for one whose passphrase systemd may hand to the service, and did not to us."""
    if settings.ca_passphrase_file is None and key.exists() and files.is_encrypted(key.read_bytes()):
        return None
    return files.read_key(key, passphrase_of(settings))


def _expiry(certificate: x509.Certificate, now: datetime) -> Finding:
    ends, name = certificate.not_valid_after_utc, _subject(certificate)
    if now >= ends:
        return fail(
            "CA", f"{name} expired on {ends:%Y-%m-%d}", "make a new CA, and give its root to all clients"
        )
    if now < certificate.not_valid_before_utc:
        return fail("CA", f"{name} is not valid yet", "set the machine's clock")
    if ends - now < SOON:
        return warn("CA", f"{name} ends on {ends:%Y-%m-%d}", "renew it: certificates cannot outlive it")
    return ok("CA", f"{name} is good until {ends:%Y-%m-%d}")


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()


def where(settings: Settings) -> Path | str:
    """The database, as ``offline`` takes it."""
    return settings.database_url or "" if settings.on_postgres else settings.sqlite_path


def _database(settings: Settings) -> Iterator[Finding]:
    path = where(settings)
    if isinstance(path, Path) and not path.exists():
        yield fail(
            "database", f"{path} is not there", "start the server, or set CERTCTL_DATABASE_URL as it has it"
        )
        return
    try:
        with offline.snapshot(path) as database:
            found = [*_schema(database, settings)]
            yield from found
            if not any(each.level == "fail" for each in found):
                yield from _belongs(database, settings)
                yield from _clock(database, settings)
                yield from _trail(database, settings)
                yield from _jobs(database, settings)
    except Unavailable as error:
        remedy = (
            "start it, and see CERTCTL_DATABASE_URL" if settings.on_postgres else "see CERTCTL_DATABASE_URL"
        )
        yield fail("database", f"it cannot be read ({error})", remedy)


def _schema(database: Snapshot, settings: Settings) -> Iterator[Finding]:
    try:
        applied, oldest = database.read(inspection.schema())
    except Unavailable as error:
        yield fail(
            "database",
            f"it is not certctl's, or not whole ({error})",
            "set CERTCTL_DATABASE_URL to certctl's own database, or restore a backup",
        )
        return
    try:
        missing = pending(applied, oldest)
    except SchemaTooNew as error:
        words, _, remedy = str(error).partition(": ")
        yield fail("database", words, remedy)
        return
    if missing:
        words = f"its schema has version {applied}, and this certctl has {migrations()[-1].version}"
        yield warn("database", words, "restart the server: it brings the schema up to date at its start")
    wrong = [] if settings.on_postgres else database.read(inspection.integrity())
    if wrong:
        yield fail(
            "database", f"it is damaged: {wrong[0]}", "stop the server and restore a backup: certctl restore"
        )
    elif not missing:
        yield ok(
            "database",
            f"it answers; schema version {applied}{'' if settings.on_postgres else ', and is whole'}",
        )


def _belongs(database: Snapshot, settings: Settings) -> Iterator[Finding]:
    """Whether CA and secret are those that the database knows."""
    recorded = database.read(issuers.certificate_of(ISSUER))
    try:
        path = settings.ca_cert_path or Files.under(settings.state_dir).issuing
        own = files.read_certificates(path)[0].public_bytes(Encoding.DER)
    except IssuerError:
        own = recorded or b""  # said of the CA already
    if recorded != own:
        yield fail(
            "database",
            "it records another CA than this server's",
            "copy the CA's files from the server that is right; or see CERTCTL_CA_ACCEPT",
        )
    yield from _keys(database, settings)
    known = database.read(sealing.fingerprint())
    secret = settings.state_dir / SECRET_KEY
    if known is None:
        return
    try:
        fits = secret.exists() and Seal.kept_in(settings.state_dir).fingerprint == known
    except SealError as error:
        yield fail("database", str(error), f"put back {secret}")
        return
    if fits:
        yield ok("database", "CA and secret-key are those that it records")
    else:
        yield fail(
            "database",
            f"{secret} is not the secret that sealed its keys",
            "copy that file from the server that is right, or from a backup",
        )


def _keys(database: Snapshot, settings: Settings) -> Iterator[Finding]:
    """Whether the keys of further issuers are here, and are theirs."""
    try:
        found = database.read(issuers.everyone())
    except Unavailable:  # a schema from before there were any
        return
    keyring = KeyDirectory(settings.state_dir, lambda _: None, passphrase_of(settings))
    for each in found:
        if each.id == ISSUER or each.retired_at is not None:
            continue
        try:
            keyring.open(each.id, each.chain, each.root, datetime.now(UTC))
        except IssuerError as error:
            words, _, remedy = str(error).partition("; ")
            yield fail("CA", words, remedy or "see docs/ca.md")
        else:
            yield ok("CA", f"the key of issuer {each.id} is here")


def _clock(database: Snapshot, settings: Settings) -> Iterator[Finding]:
    """Whether this machine's clock can be right, as far as the database tells."""
    now = datetime.now(UTC)
    if settings.on_postgres:
        apart = abs(now - database.read(inspection.postgres_time()))
        if apart > SKEW:
            yield fail(
                "clock", f"it is {apart.total_seconds():.0f} s from the database's", "let NTP set both"
            )
        else:
            yield ok("clock", "it agrees with the database's")
        return
    try:
        last = database.read(audit_chain.last_batch())
    except Damaged:  # said of the trail
        return
    if last is not None and last.created_at > now + SKEW:
        yield fail(
            "clock",
            f"the trail goes on until {last.created_at:%Y-%m-%d %H:%M}, which is to come",
            "let NTP set it",
        )
    else:
        yield ok("clock", f"{now:%Y-%m-%d %H:%M:%SZ}, and nothing in the database is of later")


def _jobs(database: Snapshot, settings: Settings) -> Iterator[Finding]:
    """Whether orders wait for issuers that do not answer; nothing is said where none do."""
    waiting = database.read(jobs.oldest(MANY))
    if not waiting:
        return
    job, number = waiting[0], f"{len(waiting)}{' or more' if len(waiting) == MANY else ''}"
    since = datetime.fromisoformat(str(job.created_at))  # as the engine has it
    words = f"orders that wait for their issuers: {number}; the oldest since {since:%Y-%m-%d %H:%MZ}"
    if datetime.now(UTC) < since + WAITS and not job.last_error:
        yield ok("signers", words)
    else:
        why = job.last_error or "it has not answered"
        yield warn(
            "signers", f"{words}, for {job.issuer_id}: {why}", "look at that signer; see docs/signers.md"
        )


def _trail(database: Snapshot, settings: Settings) -> Iterator[Finding]:
    """Whether the audit trail is sealed and signed as it goes on; ``certctl audit verify`` reads all of it."""
    try:
        last, signed = database.read(audit_chain.last_batch()), database.read(audit_chain.last_checkpoint())
    except Damaged as error:
        yield fail(
            "audit", f"the end of the trail's chain cannot be read: {error}", "run: certctl audit verify"
        )
        return
    if last is None:
        yield warn("audit", "nothing of the trail is in a chain yet", "start the server, which sees to that")
        return
    if last.computed_hash() != last.hash or (signed is not None and not signed.is_signed()):
        yield fail(
            "audit", "the end of the trail's chain is not what was sealed", "run: certctl audit verify"
        )
        return
    waiting = database.read(audit_chain.entries_after(last.last_event_id, 1))
    late = datetime.now(UTC) - UNSEALED * settings.audit_chain_interval
    if waiting and datetime.fromisoformat(str(waiting[0].created_at)) < late:
        yield warn(
            "audit", "events wait to be put into the trail's chain", "start the server; its log says why not"
        )
        return
    words = f", signed on {signed.created_at:%Y-%m-%d %H:%MZ}" if signed else ", and not signed yet"
    yield ok("audit", f"the chain's end is whole{words}; certctl audit verify reads all of it")
