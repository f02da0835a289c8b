"""CRLs and OCSP answers, with a false clock: what is in them, when they are made, and what strangers send."""

from __future__ import annotations

import sqlite3
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from hypothesis import given, settings
from hypothesis import strategies as some
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.objects import Status
from certctl.authority.certificate_status import AFTERWARDS, CertificateStatus
from certctl.authority.revocation_lists import FRESH, PAGE, Published, RevocationLists, shards_allowed
from certctl.issuance import der
from certctl.issuance.issuer import StatusUrls
from certctl.issuance.ocsp import MAX_CERT_IDS, Error, Request
from certctl.issuance.responder import Responder
from certctl.issuance.status import LocalStatusSigner
from certctl.storage import authorizations, certificates, orders, restores
from certctl.storage.database import Database, Query, Unavailable
from certctl.storage.sqlite import MEMORY, SqliteDatabase
from tests.unit.issuance.cases import opened
from tests.unit.storage.contract import NOW, PROFILE, DatabaseCase
from tests.unit.storage.contract_objects import CERTIFICATE
from tests.unit.storage.contract_orders import authorization, order

T = TypeVar("T")
DAY = timedelta(days=1)
NONCE = "1.3.6.1.5.5.7.48.1.2"


class Failing:
    """A database that can be switched off."""

    def __init__(self, database: Database) -> None:
        self.database, self.off, self.reads = database, False, 0

    async def read(self, query: Query[T]) -> T:
        """Pass a query on."""
        if self.off:
            raise Unavailable("switched off")
        self.reads += 1
        return await self.database.read(query)


class StatusCase(DatabaseCase, SynchronousTestCase):
    """One issuer with one certificate of serial a0b1, good for an hour."""

    broken_rule = sqlite3.IntegrityError

    def make_database(self) -> Database:
        return SqliteDatabase(MEMORY)

    def setUp(self) -> None:
        super().setUp()
        held = authorization(status=Status.VALID)
        self.write(*authorizations.insert(held), *orders.insert(order(held, status=Status.READY)))
        self.write(*certificates.insert(attrs.evolve(CERTIFICATE, not_after=NOW + 60 * DAY)))
        self.directory = Path(self.mktemp())
        self.ca = opened(self.directory, NOW)
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        self.signer = LocalStatusSigner(self.ca, self.directory)
        self.failing = Failing(self.database)
        self.lists, self.status = self.made()

    def made(self, urls: StatusUrls | None = None) -> tuple[RevocationLists, CertificateStatus]:
        """The parts of another server on the same database."""
        id, signer, database = PROFILE.issuer_id, self.signer, cast(Database, self.failing)
        lists = RevocationLists(id, signer, urls, database, self.clock, DAY)
        return lists, CertificateStatus(id, signer, lists, database, self.clock, timedelta(hours=1))

    def more(self, count: int) -> None:
        """Revoke so many certificates that are brought in for it."""
        columns = "certificate_id, profile_id, account_id, issuer_id, certificate, not_before, not_after, created_at"
        self.rows("PRAGMA foreign_keys = OFF")
        for number in range(count):
            self.rows(
                f"INSERT INTO certificate_versions (id, order_id, serial_number, revoked_at, revocation_reason,"
                f" {columns}) SELECT 'n' || ?, 'n' || ?, ?, not_before, 4, {columns} FROM certificate_versions"
                " WHERE id = 'cv-1'",
                number,
                number,
                f"{number + 1:x}",
            )

    def got(self, lists: RevocationLists | None = None, shards: int = 1, index: int = 0) -> Published:
        """A list, when its pages are read."""
        running = Deferred.fromCoroutine((lists or self.lists).get(shards, index))
        for _ in range(100):
            self.clock.advance(0)
        return self.successResultOf(running)

    def crl(self, **more: Any) -> x509.CertificateRevocationList:
        """A list as another library reads it."""
        found = x509.load_der_x509_crl(self.got(**more).der)
        issuer = x509.load_der_x509_certificate(self.ca.chain[0])
        self.assertTrue(found.is_signature_valid(issuer.public_key()))  # type: ignore[arg-type]
        return found

    def now(self, work: Coroutine[Any, Any, T]) -> T:
        """What work returns that waits for nothing."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def revoke(self, reason: int = 1) -> None:
        """Revoke the certificate, a moment after now, and let a second pass."""
        self.clock.advance(FRESH / 2)
        self.write(
            certificates.revoke(
                "cv-1", reason, NOW + timedelta(seconds=self.clock.seconds() - NOW.timestamp())
            )
        )
        self.clock.advance(FRESH)


class ListTests(StatusCase):
    def test_empty(self) -> None:
        """With nobody revoked there is a list that says so."""
        found = self.crl()
        self.assertEqual(list(found), [])
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        self.assertGreater(number, 0)
        self.assertEqual(found.next_update_utc, found.last_update_utc + DAY)

    def test_restored(self) -> None:
        """After a backup was put back, numbers and times go on, though revocations are forgotten."""
        self.revoke()
        before = self.got()
        self.rows(
            "UPDATE certificate_versions SET revoked_at = NULL, revocation_reason = NULL, revocation_number = NULL"
        )
        lists, _ = self.made()
        self.assertLess(self.got(lists).number, before.number)
        self.clock.advance(60)
        self.write(restores.record(NOW + timedelta(seconds=self.clock.seconds() - NOW.timestamp())))
        lists, _ = self.made()
        after = self.got(lists)
        self.assertGreater(after.number, before.number)
        self.assertGreater(after.this_update, before.this_update)
        self.assertLessEqual(after.this_update.timestamp(), self.clock.seconds())

    def test_revoked(self) -> None:
        """A revocation is in the next list with its time and reason, and the number is higher."""
        before = self.got().number
        self.revoke(reason=1)
        [entry] = self.crl()
        self.assertEqual(entry.serial_number, 0xA0B1)
        self.assertLess(abs(entry.revocation_date_utc - NOW), timedelta(seconds=2))
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
        self.assertIs(reason, x509.ReasonFlags.key_compromise)
        self.assertGreater(self.got().number, before)

    def test_unspecified_is_not_said(self) -> None:
        """RFC 5280 section 5.3.1: no reason code instead of unspecified."""
        self.revoke(reason=0)
        [entry] = self.crl()
        self.assertEqual(len(entry.extensions), 0)

    def test_kept_and_renewed(self) -> None:
        """The same list is given until a quarter of its life is over; then there is a later one of a higher number."""
        first = self.got()
        self.clock.advance(60)
        self.assertIs(self.got(), first)
        self.clock.advance(DAY.total_seconds() / 4)
        second = self.got()
        self.assertGreater(second.number, first.number)
        self.assertGreater(second.this_update, first.this_update)
        self.assertLess(second.this_update, first.next_update)

    def test_asks_once_a_second(self) -> None:
        """However many ask for lists, the database is asked once a second."""
        self.got()
        asked = self.failing.reads
        for _ in range(10):
            self.got()
        self.assertEqual(self.failing.reads, asked)

    def test_two_servers(self) -> None:
        """Two servers make one list: the same octets but for the signature."""
        self.revoke()
        self.clock.advance(3)
        other, _ = self.made()
        one, two = (x509.load_der_x509_crl(self.got(each).der) for each in (self.lists, other))
        self.assertEqual(one.tbs_certlist_bytes, two.tbs_certlist_bytes)

    def test_many_pages(self) -> None:
        """More revocations than a page has are all there, and the time between pages is others'."""
        self.more(2 * PAGE + 1)
        running = Deferred.fromCoroutine(self.lists.get(1, 0))
        self.assertNoResult(running)
        waiting = Deferred.fromCoroutine(self.lists.fresh())
        self.assertNoResult(waiting)
        for _ in range(3):
            self.clock.advance(0)
        self.assertEqual(len(x509.load_der_x509_crl(self.successResultOf(running).der)), 2 * PAGE + 1)
        self.assertEqual(self.successResultOf(waiting), 2 * PAGE + 1)

    def test_shards(self) -> None:
        """Each revocation is in one of the shards, which names its URL; the whole list names none."""
        lists, _ = self.made(StatusUrls("http://pki.example/pki/iss-x", 4))
        self.more(64)
        found = []
        for index in range(4):
            crl = self.crl(lists=lists, shards=4, index=index)
            scope = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
            self.assertTrue(scope.critical)
            assert scope.value.full_name is not None
            self.assertEqual(scope.value.full_name[0].value, f"http://pki.example/pki/iss-x/crl/4/{index}")
            self.assertEqual({each.serial_number % 4 for each in crl}, {index})
            found += [each.serial_number for each in crl]
        self.assertEqual(sorted(found), list(range(1, 65)))
        self.assertEqual(len(self.crl(lists=lists)), 64)
        self.assertEqual([shards_allowed(*each) for each in ((3, 0), (0, 0), (128, 0), (4, 4))], [False] * 4)

    def test_expired_leave_after_a_list(self) -> None:
        """An entry is still there after its certificate's end, and gone some days later (RFC 5280 section 3.3)."""
        self.revoke()
        self.clock.advance((60 * DAY).total_seconds())
        self.assertEqual(len(self.crl()), 1)
        self.clock.advance((4 * DAY).total_seconds())
        self.assertEqual(len(self.crl()), 0)
        self.assertEqual(len(self.crl(lists=self.made()[0])), 0)

    def test_database_away(self) -> None:
        """What is known goes on to be told; a server that knows nothing yet says nothing."""
        first = self.got()
        self.clock.advance(5)
        self.failing.off = True
        self.assertIs(self.got(), first)
        self.failureResultOf(Deferred.fromCoroutine(self.made()[0].get(1, 0)), Unavailable)


class AnswerTests(StatusCase):
    def request(
        self, serial: int = 0xA0B1, nonce: bytes | None = None, sha: hashes.HashAlgorithm | None = None
    ) -> bytes:
        """A request as another library writes it."""
        issuer = x509.load_der_x509_certificate(self.ca.chain[0])
        sha = sha or hashes.SHA256()
        digests = []
        for octets in (issuer.subject.public_bytes(), _bits(issuer)):
            digest = hashes.Hash(sha)
            digest.update(octets)
            digests.append(digest.finalize())
        builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(digests[0], digests[1], serial, sha)
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce), False)
        return builder.build().public_bytes(Encoding.DER)

    def answered(self, octets: bytes) -> ocsp.OCSPResponse:
        """The answer as another library reads it, its signature judged."""
        found = ocsp.load_der_ocsp_response(self.now(self.status.answer(octets)).der)
        if found.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL:
            [signer] = found.certificates
            signer.verify_directly_issued_by(x509.load_der_x509_certificate(self.ca.chain[0]))
            algorithm = found.signature_hash_algorithm
            assert algorithm is not None
            key = signer.public_key()
            assert isinstance(key, ec.EllipticCurvePublicKey)
            key.verify(found.signature, found.tbs_response_bytes, ec.ECDSA(algorithm))
        return found

    def test_good_revoked_unknown(self) -> None:
        """The three answers, by both hashes; what is unknown may not be kept."""
        for sha in (hashes.SHA1(), hashes.SHA256()):
            self.assertIs(self.answered(self.request(sha=sha)).certificate_status, ocsp.OCSPCertStatus.GOOD)
        unknown = self.answered(self.request(serial=0xFFFF))
        self.assertIs(unknown.certificate_status, ocsp.OCSPCertStatus.UNKNOWN)
        self.assertIsNone(unknown.next_update_utc)
        self.assertIsNone(self.now(self.status.answer(self.request(serial=0xFFFF))).next_update)
        self.revoke(reason=4)
        revoked = self.answered(self.request())
        self.assertIs(revoked.certificate_status, ocsp.OCSPCertStatus.REVOKED)
        self.assertIs(revoked.revocation_reason, x509.ReasonFlags.superseded)

    def test_kept_until_somebody_is_revoked(self) -> None:
        """An answer is given again, also after another's revocation, until it is wrong or half its life is over."""
        asked = self.request()
        first = self.now(self.status.answer(asked))
        self.more(1)
        self.clock.advance(FRESH)
        self.assertIs(self.now(self.status.answer(asked)), first)
        self.clock.advance(1801)
        self.assertIsNot(self.now(self.status.answer(asked)), first)
        self.revoke()
        self.assertIs(self.answered(asked).certificate_status, ocsp.OCSPCertStatus.REVOKED)

    def test_nonce(self) -> None:
        """A nonce of 1 to 128 octets comes back; of none or more the request is malformed (RFC 9654 section 2.1)."""
        for length in (1, 16, 32, 128):
            found = self.answered(self.request(nonce=b"n" * length))
            self.assertEqual(
                found.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce, b"n" * length
            )
        for length in (0, 129):
            said = self.now(self.status.answer(self.request(nonce=b"n" * length)))
            self.assertEqual(said.der, Error.MALFORMED_REQUEST.der)

    def test_other_issuer(self) -> None:
        """Of other issuers' certificates nothing is said."""
        builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(b"x" * 32, b"y" * 32, 1, hashes.SHA256())
        found = self.answered(builder.build().public_bytes(Encoding.DER))
        self.assertIs(found.response_status, ocsp.OCSPResponseStatus.UNAUTHORIZED)

    def test_long_expired(self) -> None:
        """A day after its end nothing is said of a certificate any more (RFC 5019 section 2.2.3)."""
        self.clock.advance((60 * DAY).total_seconds())
        self.assertIs(self.answered(self.request()).certificate_status, ocsp.OCSPCertStatus.GOOD)
        self.clock.advance(AFTERWARDS.total_seconds() + 60)
        found = self.answered(self.request())
        self.assertIs(found.response_status, ocsp.OCSPResponseStatus.UNAUTHORIZED)

    def test_several(self) -> None:
        """Several certificates in one request are answered in their order; too many are too many."""
        whole = Request.parse(self.request()).cert_ids[0].whole
        other = Request.parse(self.request(serial=5)).cert_ids[0].whole
        found = self.answered(_asking(whole, other))
        self.assertEqual(
            [each.certificate_status for each in found.responses],
            [ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.UNKNOWN],
        )
        for count in (0, MAX_CERT_IDS + 1):
            said = self.now(self.status.answer(_asking(*[whole] * count)))
            self.assertEqual(said.der, Error.MALFORMED_REQUEST.der)

    def test_database_away(self) -> None:
        """What was answered before is answered again while it holds; the rest is told to try later."""
        asked = self.request()
        first = self.now(self.status.answer(asked))
        self.clock.advance(5)
        self.failing.off = True
        self.assertIs(self.now(self.status.answer(asked)), first)
        self.assertEqual(self.now(self.status.answer(self.request(serial=5))).der, Error.TRY_LATER.der)

    @settings(max_examples=400, deadline=None)
    @given(some.data())
    def test_hostile(self, data: some.DataObject) -> None:
        """Whatever octets arrive, a response is given, and a signed one to nothing but a request."""
        octets = bytearray(self.request(nonce=b"n" * 16))
        for _ in range(data.draw(some.integers(1, 4))):
            place = data.draw(some.integers(0, len(octets) - 1))
            match data.draw(some.sampled_from(("change", "cut", "insert"))):
                case "change":
                    octets[place] = data.draw(some.integers(0, 255))
                case "cut":
                    del octets[place : place + data.draw(some.integers(1, 9))]
                case _:
                    octets[place:place] = data.draw(some.binary(max_size=9))
            octets = octets or bytearray(b"0")
        found = ocsp.load_der_ocsp_response(self.now(self.status.answer(bytes(octets))).der)
        self.assertIsNot(found.response_status, ocsp.OCSPResponseStatus.INTERNAL_ERROR)

    @settings(max_examples=300, deadline=None)
    @given(some.binary(max_size=300))
    def test_noise(self, octets: bytes) -> None:
        """Noise is malformed."""
        self.assertEqual(self.now(self.status.answer(octets)).der, Error.MALFORMED_REQUEST.der)


class ResponderTests(StatusCase):
    def test_renewed(self) -> None:
        """The responder's certificate is kept, renewed when a third of its life is left, and says what it is for."""
        first = Responder.ensure(self.directory, self.ca, NOW)
        self.assertEqual(Responder.ensure(self.directory, self.ca, NOW + 19 * DAY).der, first.der)
        second = Responder.ensure(self.directory, self.ca, NOW + 21 * DAY)
        self.assertNotEqual(second.der, first.der)
        uses = second.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(uses), [x509.oid.ExtendedKeyUsageOID.OCSP_SIGNING])
        second.certificate.extensions.get_extension_for_class(x509.OCSPNoCheck)

    def test_signs_with_the_new_one(self) -> None:
        """A signer that runs on takes the new certificate, and the old one while a new one cannot be had."""
        self.now(self.signer.sign_ocsp([], NOW, None))
        old = Responder.ensure(self.directory, self.ca, NOW).der
        self.assertIn(old, self.now(self.signer.sign_ocsp([], NOW + 19 * DAY, None)))
        self.assertNotIn(old, self.now(self.signer.sign_ocsp([], NOW + 21 * DAY, None)))


def _bits(certificate: x509.Certificate) -> bytes:
    """The key's bits, cut out of the DER: an EC point of P-256 at its end."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)[-65:]


def _asking(*cert_ids: bytes) -> bytes:
    """A request about these."""
    listed = der.tlv(der.SEQUENCE, *(der.tlv(der.SEQUENCE, each) for each in cert_ids))
    return der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, listed))
