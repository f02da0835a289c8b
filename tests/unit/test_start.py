"""What a start records, and when it refuses to."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.objects import AuthMode, Profile
from certctl.authority.trail import Trail
from certctl.sealing import Seal
from certctl.settings import Settings
from certctl.start import (
    RESTORED,
    StartError,
    fingerprint,
    note_restore,
    profile_warnings,
    seed,
    share_secret,
    shown_profile,
    told,
)
from certctl.storage import issuers, profiles, restores, sealing
from certctl.storage.database import Query
from certctl.storage.sqlite import MEMORY, SqliteDatabase
from tests.unit.storage.contract import NOW

KEY = ec.generate_private_key(ec.SECP256R1())


class Recorded:
    """Of an issuer, what a start looks at."""

    id = "iss-internal-ca"
    root = None

    def __init__(self, key: ec.EllipticCurvePrivateKey, *, day: int = 0, name: str = "CA") -> None:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        begins = NOW + timedelta(days=day)
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + timedelta(days=365))
            .sign(key, hashes.SHA256())
        )
        self.chain = (certificate.public_bytes(Encoding.DER),)


class IssuerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.database = SqliteDatabase(MEMORY)
        self.trail = Trail(self.database, Clock())
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.first = Recorded(self.key)
        self.start(self.first)

    def start(self, issuer: Any, accepted: str | None = None) -> None:
        """Start with an issuer."""
        work = seed(self.database, self.trail, issuer, AuthMode.CHALLENGE, accepted)
        self.successResultOf(Deferred.fromCoroutine(self.outcome(work)))
        if self.failure is not None:
            raise self.failure

    async def outcome(self, work: Any) -> None:
        """Wait for work, and keep what it raises."""
        self.failure: StartError | None = None
        try:
            await work
        except StartError as error:
            self.failure = error

    def recorded(self) -> bytes | None:
        """The certificate in the database."""
        found: bytes | None = self.successResultOf(
            Deferred.fromCoroutine(self.database.read(issuers.certificate_of("iss-internal-ca")))
        )
        return found

    def events(self) -> list[str]:
        """The actions of the trail, in order."""
        query = Query(
            "SELECT action FROM audit_events ORDER BY id", (), lambda rows: [row[0] for row in rows]
        )
        found: list[str] = self.successResultOf(Deferred.fromCoroutine(self.database.read(query)))
        return found

    def test_first_start(self) -> None:
        """The first start records the issuer and makes a profile; the next finds both."""
        for _ in range(2):
            self.assertEqual(self.recorded(), self.first.chain[0])
            self.assertEqual(self.events(), ["issuer_recorded", "profile_created"])
            self.start(self.first)
        (profile,) = self.successResultOf(Deferred.fromCoroutine(self.database.read(profiles.everyone())))
        self.assertEqual((profile.id, profile.acme_auth_mode), ("prof-default", AuthMode.CHALLENGE))

    def test_another_key(self) -> None:
        """Another CA is refused, with a sentence that tells both and the remedy; nothing changes."""
        for other in (
            Recorded(ec.generate_private_key(ec.SECP256R1())),
            Recorded(self.key, name="Other", day=1),
        ):
            error = str(self.assertRaises(StartError, self.start, other))
            own, known = fingerprint(other.chain[0]), fingerprint(self.first.chain[0])
            for part in (own, known, "copy the CA's files", f"CERTCTL_CA_ACCEPT to {own}"):
                self.assertIn(part, error)
            self.assertRaises(StartError, self.start, other, known)
            self.assertEqual(self.recorded(), self.first.chain[0])

    def test_accepted(self) -> None:
        """The certificate that the operator names takes the place of the recorded one, which is then refused."""
        other = Recorded(ec.generate_private_key(ec.SECP256R1()))
        self.start(other, fingerprint(other.chain[0]))
        self.assertEqual(self.recorded(), other.chain[0])
        self.assertRaises(StartError, self.start, self.first, fingerprint(other.chain[0]))
        self.assertEqual(self.events().count("issuer_recorded"), 2)

    def test_renewed(self) -> None:
        """A later certificate of the same name and key takes the place by itself, and an earlier one does not."""
        renewed = Recorded(self.key, day=30)
        self.start(renewed)
        self.assertEqual(self.recorded(), renewed.chain[0])
        self.start(self.first)
        self.assertEqual(self.recorded(), renewed.chain[0])


class SecretTests(SynchronousTestCase):
    """The secret that seals keys: all servers on a database have the same one."""

    def setUp(self) -> None:
        self.database = SqliteDatabase(MEMORY)
        self.trail = Trail(self.database, Clock())
        self.first, self.other = Seal(bytes(32)), Seal(b"\1" * 32)
        self.start(self.first)

    def start(self, seal: Seal, accepted: str | None = None) -> None:
        """Start with a secret."""
        started = Deferred.fromCoroutine(share_secret(self.database, self.trail, seal, accepted))
        failed: list[Any] = []
        _ = started.addErrback(failed.append)
        if failed:
            failed[0].raiseException()

    def recorded(self) -> list[Any]:
        """What the database and the trail have of secrets."""
        query = Query(
            "SELECT details FROM audit_events ORDER BY id", (), lambda rows: [row[0] for row in rows]
        )
        work = Deferred.fromCoroutine(self.database.read(sealing.fingerprint()))
        events = Deferred.fromCoroutine(self.database.read(query))
        return [
            self.successResultOf(work),
            *(each["fingerprint"] for each in self.successResultOf(events)),
        ]

    def test_first_start(self) -> None:
        """The first start records the secret's fingerprint, and the next finds it."""
        self.start(self.first)
        self.assertEqual(self.recorded(), [self.first.fingerprint] * 2)

    def test_another(self) -> None:
        """A server with another secret does not start, and says in a sentence what to do."""
        for accepted in (None, self.first.fingerprint):
            error = str(self.assertRaises(StartError, self.start, self.other, accepted))
            own, known = self.other.fingerprint, self.first.fingerprint
            for part in (own, known, "copy that file", f"CERTCTL_SECRET_KEY_ACCEPT to {own}"):
                self.assertIn(part, error)
        self.assertEqual(self.recorded(), [self.first.fingerprint] * 2)

    def test_accepted(self) -> None:
        """Where the old one is lost, the operator names the one that takes its place."""
        self.start(self.other, self.other.fingerprint)
        own = self.other.fingerprint
        self.assertEqual(self.recorded(), [own, self.first.fingerprint, own])
        self.assertRaises(StartError, self.start, self.first, own)


class RestoreTests(SynchronousTestCase):
    """The first start after ``certctl restore``."""

    def test_recorded_once(self) -> None:
        """It is recorded with its time, and once; a start without a restore records nothing."""
        database, clock = SqliteDatabase(MEMORY), Clock()
        trail, state = Trail(database, clock), Path(self.mktemp())
        state.mkdir()
        clock.advance(1_800_000_000)

        def start() -> Any:
            self.successResultOf(Deferred.fromCoroutine(note_restore(database, trail, state)))
            query = Query("SELECT actor, action FROM audit_events", (), list)
            return self.successResultOf(Deferred.fromCoroutine(database.read(query)))

        def last() -> Any:
            return self.successResultOf(Deferred.fromCoroutine(database.read(restores.last())))

        self.assertEqual((start(), last()), ([], restores.NEVER))
        (state / RESTORED).touch()
        recorded = [("acme-system:start", "backup_restored")]
        self.assertEqual((start(), last()), (recorded, trail.now()))
        clock.advance(60)
        self.assertEqual(start(), recorded)
        (state / RESTORED).touch()
        self.assertEqual((start(), last()), (recorded * 2, trail.now()))


class WarningsTests(SynchronousTestCase):
    def test_told(self) -> None:
        """A start tells of the profiles in use that trust accounts with every name, or that cannot be read."""
        database = SqliteDatabase(MEMORY)

        def add(id: str, **members: Any) -> None:
            made = Profile(id=id, name=id, issuer_id="iss-internal-ca", max_ttl_seconds=3600, **members)
            work = database.write(profiles.insert(made, NOW))
            self.successResultOf(Deferred.fromCoroutine(work))

        work = seed(database, Trail(database, Clock()), Recorded(KEY), AuthMode.TRUST_AUTHENTICATED)  # type: ignore[arg-type]
        self.successResultOf(Deferred.fromCoroutine(work))
        add("prof-corp", policy={"names": {"allow": ["*.corp.example"]}})
        add("prof-mistake", policy={"name": {}})
        add("prof-off", enabled=False)
        add("prof-old", archived_at=NOW)
        told = self.successResultOf(Deferred.fromCoroutine(profile_warnings(database)))
        self.assertEqual(
            [each.partition(",")[0] for each in told],
            [
                "profile prof-default lets every account have every name: it trusts accounts and has no name policy",
                "profile prof-mistake gives nothing to anybody",
            ],
        )


class FirstStepsTests(SynchronousTestCase):
    """The last lines of a start."""

    def said(self, mode: AuthMode, **settings: str) -> list[str]:
        """What the log says under a default profile of that mode."""
        environ = {"CERTCTL_ACME_SERVER_ENABLED": "true", "CERTCTL_STATE_DIR": "var", **settings}
        read = Settings.load(environ)
        database = SqliteDatabase(MEMORY)
        work = seed(database, Trail(database, Clock()), Recorded(KEY), mode)  # type: ignore[arg-type]
        self.successResultOf(Deferred.fromCoroutine(work))
        profile = self.successResultOf(Deferred.fromCoroutine(shown_profile(database, read)))
        return [format.format(**fields) for format, fields in told(read, profile)]

    def test_trusted(self) -> None:
        """Under a profile that trusts accounts the command works as it stands."""
        self.assertRegex(
            self.said(AuthMode.TRUST_AUTHENTICATED)[-1], "^first certificate: .*--domains first.internal "
        )

    def test_challenged(self) -> None:
        """Under one that asks for a challenge it has a place for a name that leads to the client."""
        self.assertRegex(
            self.said(AuthMode.CHALLENGE)[-1], "^first certificate, on the host of NAME .* NAME --http"
        )

    def test_url(self) -> None:
        """The directory's URL is the one that clients use."""
        url = "https://certctl.corp.example:8443"
        said = self.said(AuthMode.CHALLENGE, CERTCTL_SERVER_EXTERNAL_URL=url)
        self.assertEqual(said[0], f"directory: {url}/acme/profile/prof-default/directory")

    def test_off(self) -> None:
        """Without ACME there is nothing to get."""
        (only,) = self.said(AuthMode.CHALLENGE, CERTCTL_ACME_SERVER_ENABLED="false")
        self.assertIn("CERTCTL_ACME_SERVER_ENABLED is false", only)
