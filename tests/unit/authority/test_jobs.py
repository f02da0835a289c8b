"""Orders whose issuer takes its time: nothing is lost, nothing is there twice, and nothing is left hanging."""

from __future__ import annotations

import json
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred

from certctl.acme.identifiers import dns_name
from certctl.issuance.issuer import Issued, IssuerUnavailable, Template, TemplateError
from certctl.storage import jobs
from certctl.storage.database import Database, Json, Query, Statement
from certctl.storage.sqlite import MEMORY, SqliteDatabase
from tests.acme_client import b64, make_csr
from tests.unit.authority.slow import SlowIssuer
from tests.unit.web.bench import Bench, BenchCase, Client, authority
from tests.unit.web.wire import Response

NAMES = ("www.example.org", "example.org")
COPY = (
    "INSERT INTO issuers (id, certificate, chain, created_at)"
    " SELECT 'iss-other', certificate, chain, created_at FROM issuers"
)


class JobsCase(BenchCase):
    def setUp(self) -> None:
        self.database: Database = SqliteDatabase(MEMORY)
        self.issuer = SlowIssuer()
        self.bench = self.restarted()
        self.client = self.bench.account()
        self.order = self.client.order(*NAMES)
        self.csr = make_csr(NAMES)[1]

    def restarted(self, **settings: str) -> Bench:
        """A server that starts over what another left, which does nothing more."""
        bench = Bench(self, settings, database=self.database, issuer=self.issuer)
        if hasattr(self, "bench"):
            bench.clock.advance(self.bench.clock.seconds() - bench.clock.seconds() + 1)
        return bench

    def move(self, bench: Bench) -> None:
        """Go on with another server."""
        self.bench = bench
        client = Client(bench, "prof-default", self.client.signer)
        client.kid = self.client.kid
        self.client = client

    def resume(self, *, alone: bool = True) -> int:
        """What a start does."""
        return self.bench.result(self.bench.parts.jobs.resume(alone=alone))

    def finalize(self) -> Response:
        """Ask for the certificate."""
        return self.client.finalize(self.order, self.csr)

    def state(self) -> Any:
        """The order as its account sees it."""
        return self.client.see(self.order.location)

    def count(self, table: str) -> Any:
        """How many rows there are."""
        return self.bench.value(f"SELECT count(*) FROM {table}")

    def actions(self) -> list[str]:
        """What the trail says of orders and certificates since the order was made."""
        rows = self.bench.rows(
            "SELECT action FROM audit_events WHERE resource_type IN ('acme_order', 'certificate') ORDER BY id"
        )
        return [action.removeprefix("acme_order_") for (action,) in rows][1:]

    def assertIssued(self) -> None:
        """One certificate, the order's, with the key of the CSR, and nothing left to do."""
        order = self.state()
        self.assertEqual(order["status"], "valid")
        self.assertEqual(self.client.read(order["certificate"]).status, 200)
        self.assertEqual((self.count("certificate_versions"), self.count("issuance_jobs")), (1, 0))
        self.assertEqual(len(self.issuer.signed), 1)
        ((serial, revoked),) = self.bench.rows("SELECT serial_number, revoked_at FROM certificate_versions")
        (issued,) = self.issuer.signed.values()
        self.assertEqual((serial, revoked), (issued.serial, None))
        self.assertEqual(self.actions(), ["processing", "finalized"])

    def assertGone(self, certificates: int) -> None:
        """The order has ended without a certificate; what was signed is stored, and revoked."""
        self.assertEqual(self.state()["status"], "invalid")
        rows = self.bench.rows(
            "SELECT serial_number, revocation_reason, revocation_number FROM certificate_versions"
            " WHERE revoked_at IS NOT NULL"
        )
        serials = [each.serial for each in self.issuer.signed.values()]
        self.assertEqual(rows, [(each, 5, 1) for each in serials])
        self.assertEqual(len(rows), certificates)
        self.assertEqual((self.count("certificate_versions"), self.count("issuance_jobs")), (certificates, 0))


class ProcessingTests(JobsCase):
    """What clients see (RFC 8555 sections 7.1.6 and 7.4)."""

    def test_processing(self) -> None:
        """An order whose issuer does not answer is processing, with Retry-After, until it does."""
        answer = self.finalize()
        self.assertEqual((answer.status, answer.json["status"]), (200, "processing"))
        self.assertEqual(answer.one("Retry-After"), "2")
        self.assertNotIn("certificate", answer.json)
        seen = self.client.read(self.order.location)
        self.assertEqual((seen.json, seen.one("Retry-After")), (answer.json, "2"))
        self.issuer.finish()
        self.assertIssued()
        self.assertFalse(self.client.read(self.order.location).has("Retry-After"))

    def test_repeated(self) -> None:
        """Finalize again while it is processing: the order for the same key, orderNotReady for another."""
        first, again = self.finalize(), self.finalize()
        self.assertEqual((again.status, again.json), (200, first.json))
        other = self.client.finalize(self.order, make_csr(NAMES)[1])
        self.assertProblem(other, "orderNotReady", 403)
        self.assertEqual(len(self.issuer.asked), 1)
        self.issuer.finish()
        self.assertEqual(self.finalize().json["status"], "valid")
        self.assertIssued()

    def test_held(self) -> None:
        """A client is answered at the end, if that comes soon; one that finalizes and one that polls."""
        self.move(self.restarted(acme_server_poll_hold="1s"))
        url = self.order.json["finalize"]
        body = self.client.signed(url, {"csr": b64(self.csr)})
        exchange = self.bench.begin("POST", url, body, {"Content-Type": "application/jose+json"})
        self.assertFalse(exchange.answered)
        self.issuer.finish()
        self.assertEqual(exchange.response.json["status"], "valid")

    def test_held_for_so_long(self) -> None:
        """A client that was held for long enough is told to come again."""
        self.move(self.restarted(acme_server_poll_hold="1s"))
        url = self.order.json["finalize"]
        body = self.client.signed(url, {"csr": b64(self.csr)})
        exchange = self.bench.begin("POST", url, body, {"Content-Type": "application/jose+json"})
        self.bench.pass_by(seconds=1)
        self.assertEqual(exchange.response.json["status"], "processing")
        self.issuer.finish()
        self.assertIssued()

    def test_refused_at_finalize(self) -> None:
        """What a CSR must not ask for leaves the order ready, and no job."""
        self.assertProblem(self.client.finalize(self.order, make_csr(["evil.example"])[1]), "badCSR", 400)
        self.assertEqual((self.state()["status"], self.count("issuance_jobs")), ("ready", 0))

    def test_outlives_its_order_time(self) -> None:
        """An order that began in time is not swept away under its job; it shows the later end."""
        self.bench.pass_by(hours=23, minutes=59)
        self.client = self._fresh()
        answer = self.finalize()
        self.assertEqual(answer.json["expires"], "2026-05-18T12:59:00Z")
        self.bench.pass_by(minutes=2)
        self.bench.sweep()
        self.assertEqual(self.state()["status"], "processing")
        self.issuer.finish()
        self.assertIssued()

    def _fresh(self) -> Client:
        client = Client(self.bench, "prof-default", self.client.signer)
        client.kid = self.client.kid
        return client


class FailingTests(JobsCase):
    def test_away_for_a_while(self) -> None:
        """An issuer that cannot sign now is asked again after 1, 2, 4 ... seconds, under the same id."""
        self.finalize()
        for pause in (1, 2, 4, 8):
            asked = len(self.issuer.asked)
            self.issuer.look(IssuerUnavailable("10.0.0.9 refused"))
            self.assertEqual(self.state()["status"], "processing")
            self.bench.pass_by(seconds=pause - 0.1)
            self.assertEqual(len(self.issuer.asked), asked)
            self.bench.pass_by(seconds=0.1)
            self.assertEqual(len(self.issuer.asked), asked + 1)
        self.assertEqual(self.client.read(self.order.location).one("Retry-After"), "16")
        self.issuer.finish()
        self.assertEqual(len(set(self.issuer.asked)), 1)
        self.assertIssued()

    def test_silent(self) -> None:
        """An issuer that says nothing is given up after a while, and asked again; its late answer is lost on us."""
        self.finalize()
        self.bench.pass_by(seconds=31)
        self.assertEqual(len(self.issuer.asked), 2)
        self.issuer.finish()
        self.assertIssued()

    def test_failing(self) -> None:
        """What nobody foresaw is logged, and tried again."""
        self.finalize()
        self.issuer.look(ZeroDivisionError("key material"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.bench.value("SELECT last_error FROM issuance_jobs"), "ZeroDivisionError")
        self.bench.pass_by(seconds=1)
        self.issuer.finish()
        self.assertIssued()

    def test_refused(self) -> None:
        """An issuer that refuses ends the order with a problem; its words are for operators."""
        self.finalize()
        self.issuer.look(TemplateError("policy 17 of hsm-3"))
        order = self.state()
        self.assertEqual(order["error"]["type"], "urn:ietf:params:acme:error:serverInternal")
        self.assertNotIn("hsm-3", str(order))
        self.assertGone(0)
        self.assertEqual(self.actions(), ["processing", "failed"])
        self.assertIn(
            "hsm-3", str(self.bench.rows("SELECT details FROM audit_events ORDER BY id DESC LIMIT 1"))
        )

    def test_too_old(self) -> None:
        """A job that gets nowhere in time fails the order, and withdraws what it asked for."""
        self.move(self.restarted(signer_deadline="10s"))
        self.finalize()
        while self.issuer.requests:
            self.issuer.look(IssuerUnavailable("away"))
            self.bench.pass_by(seconds=8)
        self.assertEqual(self.state()["error"]["detail"], "the issuing CA did not answer in time")
        self.assertGone(0)
        self.assertEqual(self.issuer.withdrawn, set(self.issuer.asked))

    def test_too_old_but_signed(self) -> None:
        """If there was a certificate all the same, it is stored, and revoked."""
        self.move(self.restarted(signer_deadline="10s"))
        self.finalize()
        self.issuer.look()
        self.bench.pass_by(seconds=40)
        self.assertGone(1)
        self.assertEqual(self.actions(), ["processing", "failed", "certificate_revoked"])

    def test_withdrawn_later(self) -> None:
        """A withdrawal that cannot be made now is made later."""
        self.move(self.restarted(signer_deadline="10s"))
        self.finalize()
        self.issuer.look()
        self.issuer.error = IssuerUnavailable("away")
        self.bench.pass_by(seconds=40)
        self.assertEqual((self.count("certificate_versions"), self.count("issuance_jobs")), (0, 1))
        self.issuer.error = None
        self.bench.pass_by(seconds=60)
        self.assertGone(1)

    def test_another_certificate(self) -> None:
        """A certificate that is not the one asked for reaches nobody; its serial is in the trail."""
        self.finalize()
        (request_id,) = self.issuer.asked
        evil = _other(self.bench)
        self.issuer.signed[request_id] = evil
        self.issuer.finish()
        self.assertEqual(self.state()["status"], "invalid")
        self.assertEqual((self.count("certificate_versions"), self.count("issuance_jobs")), (0, 0))
        details = str(self.bench.rows("SELECT details FROM audit_events ORDER BY id DESC LIMIT 1"))
        self.assertIn(evil.serial, details)
        self.assertIn("its key, its names", details)

    def test_database_away(self) -> None:
        """An answer that could not be stored is asked for again."""
        self.finalize()
        self.issuer.look()
        self.bench.execute(
            "CREATE TRIGGER away BEFORE INSERT ON certificate_versions BEGIN SELECT RAISE(ABORT, 'x'); END"
        )
        self.issuer.tell()
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.bench.execute("DROP TRIGGER away")
        self.bench.pass_by(seconds=60)
        self.resume(alone=False)
        self.issuer.finish()
        self.assertIssued()


class JudgedAgainTests(JobsCase):
    """Between finalize and signature profile and account may change."""

    def retried(self) -> None:
        """Let the first attempt come to nothing, and the second begin."""
        self.issuer.look(IssuerUnavailable("away"))
        self.bench.pass_by(seconds=1)

    def test_profile_changed(self) -> None:
        """What the profile does not give any more is not signed: the order fails, and says by which rule."""
        self.finalize()
        policy = '{"names": {"allow": ["*.corp.example"]}}'
        self.bench.execute("UPDATE certificate_profiles SET policy = ?", _json(policy))
        self.retried()
        self.assertEqual(self.state()["error"]["type"], "urn:ietf:params:acme:error:rejectedIdentifier")
        self.assertEqual(len(self.issuer.asked), 1)
        self.assertGone(0)
        self.assertEqual(len(self.issuer.withdrawn), 1)

    def test_account_paused(self) -> None:
        """An account that an operator paused gets no certificate."""
        self.finalize()
        self.bench.execute("UPDATE acme_accounts SET paused_at = created_at")
        self.retried()
        self.assertEqual(self.state()["error"]["type"], "urn:ietf:params:acme:error:unauthorized")
        self.assertGone(0)

    def test_policy_that_cannot_be_read(self) -> None:
        """A slip of an operator's pen is waited out."""
        self.finalize()
        self.bench.execute("UPDATE certificate_profiles SET policy = ?", _json('{"nmaes": {}}'))
        self.retried()
        self.bench.execute("UPDATE certificate_profiles SET policy = ?", _json("{}"))
        self.bench.pass_by(seconds=2)
        self.issuer.finish()
        self.assertIssued()

    def test_account_deactivated(self) -> None:
        """An account that goes takes its orders along; what was signed for it is stored, and revoked."""
        self.finalize()
        self.issuer.look()
        assert self.client.kid is not None
        self.assertEqual(self.client.post(self.client.kid, {"status": "deactivated"}).status, 200)
        self.issuer.tell()
        (error,) = self.bench.rows("SELECT status FROM acme_orders")
        self.assertEqual(error, ("invalid",))
        self.assertEqual(self.bench.rows("SELECT revocation_reason FROM certificate_versions"), [(5,)])
        self.assertEqual(self.count("issuance_jobs"), 0)

    def test_authorization_given_up(self) -> None:
        """An order that is given up before the issuer signs is withdrawn."""
        self.finalize()
        url = self.order.json["authorizations"][0]
        self.assertEqual(self.client.post(url, {"status": "deactivated"}).status, 200)
        self.retried()
        self.assertGone(0)
        self.assertEqual(self.issuer.withdrawn, set(self.issuer.asked))

    def test_issuer_that_is_gone(self) -> None:
        """A job of an issuer that this server does not have waits for one that does."""
        self.finalize()
        self.issuer.look(IssuerUnavailable("away"))
        self.bench.execute(
            "INSERT INTO issuers (id, certificate, chain, created_at)"
            " SELECT 'iss-other', certificate, chain, created_at FROM issuers"
        )
        self.bench.execute("UPDATE issuance_jobs SET issuer_id = 'iss-other'")
        self.bench.pass_by(seconds=1)
        self.assertEqual(
            self.bench.value("SELECT last_error FROM issuance_jobs"), "this server does not have iss-other"
        )
        self.bench.execute("UPDATE issuance_jobs SET issuer_id = 'iss-internal-ca'")
        self.bench.pass_by(seconds=2)
        self.issuer.finish()
        self.assertIssued()

    def test_issuer_retired(self) -> None:
        """An issuer that is retired signs no more, and is asked what it signed before."""
        self.finalize()
        self.issuer.look()
        self.bench.execute("UPDATE issuers SET retired_at = created_at, version = version + 1")
        self.bench.result(self.bench.parts.issuers.refresh())
        self.bench.pass_by(minutes=3)
        self.assertEqual(self.state()["error"]["detail"], "the issuing CA was retired")
        self.assertGone(1)

    def test_issuer_that_stays_away(self) -> None:
        """An order does not wait for ever for an issuer that no server has; what it signed is asked for later still."""
        self.finalize()
        self.issuer.look(IssuerUnavailable("away"))
        self.bench.execute(COPY)
        self.bench.execute("UPDATE issuance_jobs SET issuer_id = 'iss-other'")
        self.bench.pass_by(hours=1, minutes=2)
        self.assertEqual(self.state()["error"]["detail"], "the issuing CA did not answer in time")
        self.assertEqual(self.count("issuance_jobs"), 1)
        self.bench.execute("UPDATE issuance_jobs SET issuer_id = 'iss-internal-ca'")
        self.bench.pass_by(minutes=2)
        self.assertGone(0)


class CrashTests(JobsCase):
    """A server dies at each step; another one goes on."""

    def test_before_the_signature(self) -> None:
        """The issuer was asked, or was not."""
        self.finalize()
        self.move(self.restarted())
        self.assertEqual(self.resume(), 1)
        self.issuer.finish()
        self.assertIssued()

    def test_after_the_signature(self) -> None:
        """The issuer has signed, and nobody heard of it."""
        self.finalize()
        self.issuer.look()
        self.move(self.restarted())
        self.resume()
        self.issuer.finish()
        self.assertIssued()

    def test_at_each_write(self) -> None:
        """Whichever change of a finalize is the last that a server makes: the order gets its one certificate."""
        for last in range(4):
            self.setUp()
            dying = Dying(self.database, last)
            self.move(Bench(self, database=dying, issuer=self.issuer))
            dying.is_armed = True
            url = self.order.json["finalize"]
            body = self.client.signed(url, {"csr": b64(self.csr)})
            exchange = self.bench.begin("POST", url, body, {"Content-Type": "application/jose+json"})
            if self.issuer.requests:
                self.issuer.finish()
            self.assertEqual(exchange.answered, last > 1)
            self.assertEqual(dying.is_dead, last < 3)
            self.move(self.restarted())
            self.resume()
            if self.issuer.requests:
                self.issuer.finish()
            if last == 0:
                self.assertEqual(self.state()["status"], "ready")
                self.finalize()
                self.issuer.finish()
            self.assertIssued()

    def test_lease(self) -> None:
        """Beside another server a job is left alone until its lease ends; then it is taken by one server."""
        self.finalize()
        others = [self.restarted(), self.restarted()]
        self.move(others[0])
        self.assertEqual(self.resume(alone=False), 0)
        for each in others:
            each.pass_by(seconds=60)
            each.result(each.parts.jobs.resume())
        self.assertEqual(len(self.issuer.asked), 2)
        self.issuer.finish()
        self.assertIssued()

    def test_begun_twice(self) -> None:
        """A job that the sweeper finds in the moment in which its finalize begins it is begun once."""
        self.bench.parts.jobs.stop()
        self.finalize()
        self.move(self.restarted())
        (job,) = self.bench.result(self.database.read(jobs.due(self.bench.now, 1)))
        self.assertEqual([self.bench.parts.jobs.begin(job) for _ in range(2)], [True, False])
        self.issuer.finish()
        self.assertIssued()

    def test_late_answer(self) -> None:
        """The answer to who lost the lease is as good as the other's: one certificate."""
        self.finalize()
        first = self.issuer.requests.pop()
        self.move(self.restarted())
        self.resume()
        self.issuer.finish()
        self.assertIssued()
        first.callback(None)
        self.issuer.tell()
        self.assertIssued()

    def test_stop(self) -> None:
        """A server that stops waits for no issuer, and gives the job back at once."""
        self.finalize()
        self.bench.parts.jobs.stop()
        self.assertEqual(len(self.bench.parts.background), 0)
        self.move(self.restarted())
        self.assertEqual(self.resume(alone=False), 1)
        self.issuer.finish()
        self.assertIssued()

    def test_stopped_server_begins_nothing(self) -> None:
        """What comes after the stop is left for the next start."""
        self.bench.parts.jobs.stop()
        self.assertEqual(self.finalize().json["status"], "processing")
        self.assertEqual(self.issuer.asked, [])
        self.move(self.restarted())
        self.resume()
        self.issuer.finish()
        self.assertIssued()


class ManyTests(JobsCase):
    def test_more_than_at_once(self) -> None:
        """So many at a time; the others have their turn as soon as one of them ends."""
        orders = [self.client.order(f"n{number}.example.org") for number in range(60)]
        for number, order in enumerate(orders):
            self.client.finalize(order, make_csr([f"n{number}.example.org"])[1])
        self.assertEqual(len(self.issuer.asked), 50)
        while self.issuer.requests:
            self.issuer.finish()
            self.bench.pass_by(seconds=0)
        self.assertEqual(self.count("issuance_jobs"), 0)
        self.assertEqual(len(self.issuer.signed), 60)
        self.assertEqual(self.count("certificate_versions"), 60)


@attrs.define
class Dying:
    """A database of a process that is killed after so many changes: the next one never happens, nor anything after."""

    database: Database
    left: int
    is_armed: bool = False
    is_dead: bool = False

    @property
    def nonce_keys(self) -> Any:
        return self.database.nonce_keys

    async def write(self, *statements: Statement) -> None:
        if self.is_armed and not self.left:
            self.is_dead = True
        if self.is_dead:
            await Deferred()
        if self.is_armed:
            self.left -= 1
        await self.database.write(*statements)

    async def read(self, query: Query[Any]) -> Any:
        if self.is_dead:
            await Deferred()
        return await self.database.read(query)

    async def redeem(self, nonce: bytes, first: Query[Any], second: Query[Any]) -> Any:
        return await self.database.redeem(nonce, first, second)

    async def forget_nonces(self, floor: bytes) -> int:
        return await self.database.forget_nonces(floor)

    async def look_after_nonce_keys(self, now: float, floor: bytes) -> None:
        await self.database.look_after_nonce_keys(now, floor)

    async def lead(self) -> bool:
        return await self.database.lead()

    async def close(self) -> None:
        await self.database.close()


def _json(text: str) -> Any:
    return Json(json.loads(text))


def _other(bench: Bench) -> Issued:
    """A certificate of the same CA, for other names and another key."""
    template = Template(
        names=(dns_name("evil.example"),),
        common_name=None,
        public_key=ec.generate_private_key(ec.SECP256R1()).public_key(),
        not_before=bench.now,
        not_after=bench.now.replace(day=bench.now.day + 2),
    )
    return authority().issue(template)
