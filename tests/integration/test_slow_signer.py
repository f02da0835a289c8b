"""``kill -9`` at each step between finalize and certificate, while the signer is far away: none lost, none doubled."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPException
from typing import Any

import psycopg2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.integration.acme import Refused, Session, csr
from tests.integration.clients import P256, Certbot
from tests.integration.postgres import shared
from tests.integration.server import CHECKOUT, PROFILE, PROGRAMS, RunningServer, ServerTestCase, run
from tests.integration.slow_signer import ISSUER

WITHIN = 40.0  # seconds until an order ends, on a busy machine
STILL = 0.4  # seconds for a server to come to where it is held
SEED = random.SystemRandom().randrange(10**9)
KILLS = 3
CLIENTS = 4
_numbers = itertools.count(1)


class SignerCase(ServerTestCase):
    """A signer's directory, and servers whose profile is signed there."""

    def setUp(self) -> None:
        self.signer = self.path()
        self.settings = {
            "PYTHONPATH": str(CHECKOUT),
            "SLOW_SIGNER": str(self.signer),
            "CERTCTL_SIGNER_MODULES": f"{ISSUER}=tests.integration.slow_signer:make",
            "CERTCTL_SIGNER_TIMEOUT": "2s",
            "CERTCTL_ACME_SERVER_GC_INTERVAL": "500ms",
            "CERTCTL_ACME_SERVER_POLL_HOLD": "0s",
        }

    def hold(self, step: str) -> None:
        """Let the signer wait at a step."""
        (self.signer / f"hold-{step}").touch()

    def release(self) -> None:
        """Let it go on everywhere."""
        for step in ("before", "after"):
            (self.signer / f"hold-{step}").unlink(missing_ok=True)

    def told(self, what: str) -> list[dict[str, Any]]:
        """What the signer was asked, or signed."""
        log = self.signer / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [each for each in map(json.loads, lines) if each["what"] == what]

    def has_told(self, what: str, number: int) -> bool:
        """Whether that was for so many requests."""
        return len({each["id"] for each in self.told(what)}) == number

    def wait(self, happened: Callable[[], object], what: str) -> None:
        """Return when something has happened; fail if it does not."""
        deadline = time.monotonic() + WITHIN
        while not happened():
            self.assertLess(time.monotonic(), deadline, f"no {what}")
            time.sleep(0.05)

    def signed(self) -> set[bytes]:
        """All certificates that the signer ever made."""
        return {each.read_bytes() for each in (self.signer / "signed").iterdir()}

    def ordered(self, session: Session, name: str) -> str:
        """Make an order and finalize it; return its path."""
        order = session.order(name)
        self.assertEqual(
            session.post(order.json["finalize"], {"csr": csr(name)}).json["status"], "processing"
        )
        return f"order/{order.location.rpartition('/')[2]}"

    def ended(self, session: Session, url: str) -> dict[str, Any]:
        """The order at its end."""
        found: dict[str, Any] = {}

        def has_ended() -> bool:
            session.nonce = None
            answer = session.send(url, None)
            if answer.status != 503:  # the database, beside which others work on this machine
                found.update(answer.json)
            return bool(found.get("status", "processing") != "processing")

        self.wait(has_ended, "end of the order")
        return found

    def leaf(self, session: Session, order: dict[str, Any]) -> bytes:
        """The certificate of an order, which openssl trusts by the signer's root."""
        self.assertEqual(order["status"], "valid", order)
        pem = session.post(order["certificate"], None).body
        (self.signer / "chain.pem").write_bytes(pem)
        verify = ("openssl", "verify", "-CAfile", self.signer / "ca/root-ca.pem")
        run(*verify, "-untrusted", self.signer / "chain.pem", self.signer / "chain.pem").must_succeed()
        return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


class OneServerCase(SignerCase):
    """One server on SQLite."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.serve(self.settings)
        self.use_signer(self.server)
        self.session = Session(self.server)
        self.session.register()

    def use_signer(self, server: RunningServer) -> None:
        """Have the profile's certificates signed by the signer, as an operator does."""
        key = (server.state / "api-key").read_text().strip()
        change = json.dumps({"issuer_id": ISSUER}).encode()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        with closing(server.connect()) as connection:
            connection.request("GET", f"/api/profiles/{PROFILE}", headers=headers)
            seen = connection.getresponse()
            seen.read()
            headers["If-Match"] = seen.headers["ETag"]
            connection.request("PATCH", f"/api/profiles/{PROFILE}", change, headers)
            answer = connection.getresponse()
            self.assertEqual(answer.status, 200, answer.read())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds."""
        return self.server.rows(sql)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let nothing be stored meanwhile."""
        path = self.server.state / "certctl.sqlite"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def go_on(self) -> None:
        """What takes over after the kill."""
        self.server.start()

    def kill(self) -> None:
        """Kill whoever works on the job."""
        self.server.kill()
        self.session.close()

    def assertWhole(self, orders: int) -> None:
        """Each order has one certificate, the signer's; no job, no order is left; the trail agrees."""
        found = self.rows(
            "SELECT o.id, v.certificate, v.revoked_at FROM acme_orders o JOIN certificate_versions v"
            " ON v.order_id = o.id AND v.id = o.certificate_id WHERE o.status = 'valid'"
        )
        self.assertEqual(len(found), orders)
        self.assertEqual({bytes(der) for _, der, _ in found}, self.signed())
        self.assertEqual(len(self.told("signed")), orders)
        self.assertEqual({revoked for _, _, revoked in found}, {None})
        counts = (
            ("acme_orders WHERE status <> 'valid'", 0),
            ("issuance_jobs", 0),
            ("certificate_versions", orders),
            ("audit_events WHERE action = 'acme_order_finalized'", orders),
            ("audit_events WHERE action = 'acme_order_processing'", orders),
        )
        for table, number in counts:
            self.assertEqual(self.rows(f"SELECT count(*) FROM {table}"), [(number,)], table)


class StopTests(OneServerCase):
    """Without a kill."""

    def test_stop(self) -> None:
        """A stop does not wait for the signer, and the next start goes on at once."""
        self.hold("before")
        url = self.ordered(self.session, "stopped.example.internal")
        began = time.monotonic()
        self.server.stop()
        self.assertLess(time.monotonic() - began, 10)
        self.session.close()
        said = run(PROGRAMS / "certctl", "doctor", env=self.server.settings).output
        self.assertIn("signers: orders that wait for their issuers: 1; the oldest since", said)
        self.assertIn(f"for {ISSUER}: the server was stopped", said)
        self.release()
        self.server.start()
        self.leaf(self.session, self.ended(self.session, url))
        self.assertWhole(1)

    def test_real_client(self) -> None:
        """Certbot polls through processing and gets its certificate."""
        self.server.settings["SLOW_SIGNER_DELAY"] = "3"
        self.server.settings["CERTCTL_SIGNER_TIMEOUT"] = "10s"
        self.server.restart()
        issued = Certbot(self.server, self.path()).issue(["www.corp.example"], P256)
        verify = ("openssl", "verify", "-CAfile", self.signer / "ca/root-ca.pem", "-untrusted", issued.chain)
        run(*verify, issued.certificate).must_succeed()
        self.assertEqual(len(self.told("signed")), 1)


class KillTests(OneServerCase):
    """One server, which is killed."""

    def test_each_step(self) -> None:
        """Before the signer is asked, while it signs, when it has signed, when its answer is not stored yet, after."""
        steps = ("before", "after", "storing", "stored")
        for number, step in enumerate(steps, start=1):
            if step == "storing":
                self.hold("after")
            elif step != "stored":
                self.hold(step)
            url = self.ordered(self.session, f"{step}.example.internal")
            self.wait(partial(self.has_told, "asked", number), "question")
            if step in ("after", "storing"):
                self.wait(partial(self.has_told, "signed", number), "signature")
            if step == "storing":
                with self.frozen():
                    self.release()
                    time.sleep(STILL)
                    self.kill()
            else:
                if step == "stored":
                    self.ended(self.session, url)
                self.kill()
                self.release()
            self.go_on()
            order = self.ended(self.session, url)
            self.assertIn(self.leaf(self.session, order), self.signed())
            self.assertWhole(number)

    def test_account_gone(self) -> None:
        """An account that is deactivated while the signer works: its certificate is stored, and revoked."""
        self.hold("after")
        self.ordered(self.session, "gone.example.internal")
        self.wait(lambda: self.told("signed"), "signature")
        assert self.session.kid is not None
        self.session.post(self.session.kid, {"status": "deactivated"})
        self.kill()
        self.release()
        self.go_on()
        query = "SELECT certificate, revocation_reason FROM certificate_versions WHERE revoked_at IS NOT NULL"
        self.wait(lambda: self.rows(query), "revocation")
        ((der, reason),) = self.rows(query)
        self.assertEqual(({bytes(der)}, reason), (self.signed(), 5))
        self.assertEqual(self.rows("SELECT count(*) FROM issuance_jobs"), [(0,)])
        self.assertEqual(self.rows("SELECT status FROM acme_orders"), [("invalid",)])

    def test_under_load(self) -> None:
        """Killed again and again while clients get certificates: whatever was finalized is there once."""
        chance, over = random.Random(SEED), threading.Event()
        self.addCleanup(over.set)
        clients = [Client(self.server, number, over) for number in range(CLIENTS)]
        for each in clients:
            each.start()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.2, 1.2))
            self.kill()
            self.go_on()
        time.sleep(1)
        over.set()
        for each in clients:
            each.join(WITHIN)
        self.assertEqual([each.surprises for each in clients if each.surprises or each.is_alive()], [])
        for each in clients:
            for url in each.finalized:
                self.assertEqual(self.ended(each.session, url)["status"], "valid", f"seed {SEED}")
        self.wait(lambda: self.rows("SELECT count(*) FROM issuance_jobs") == [(0,)], "end of all jobs")
        number = len(self.signed())
        self.assertGreater(number, KILLS)
        rows = self.rows("SELECT status, count(*) FROM acme_orders WHERE status <> 'ready' GROUP BY status")
        self.assertEqual(rows, [("valid", number)], f"seed {SEED}")
        found = self.rows("SELECT certificate FROM certificate_versions WHERE revoked_at IS NULL")
        self.assertEqual(sorted(bytes(each) for (each,) in found), sorted(self.signed()), f"seed {SEED}")
        self.assertEqual(len(self.told("signed")), number)
        print(f"\nslow signer: {KILLS} kills, {number} certificates, each signed once", flush=True)


class FleetKillTests(KillTests):
    """Two servers on one PostgreSQL: the one that asked is killed, and the other goes on."""

    def setUp(self) -> None:
        SignerCase.setUp(self)
        self.name = f"slow_signer_{next(_numbers)}"
        self.settings["CERTCTL_DATABASE_URL"] = shared().database(self.name)
        self.server = self.serve(self.settings)
        self.use_signer(self.server)
        self.other = RunningServer(self.path(), self.settings)
        shutil.copytree(self.server.state, self.other.state)
        self.addCleanup(self.other.end)
        self.other.start()
        self.session = Session(self.server)
        self.session.register()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return shared().sql(sql, self.name)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        with closing(psycopg2.connect(shared().url(self.name))) as connection:
            connection.cursor().execute("LOCK TABLE certificate_versions IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()

    def go_on(self) -> None:
        """The client turns to the other server, which is the next to be killed; the first comes back later."""
        dead, self.server = self.server, self.other
        self.session = Session(self.server, self.session.signer)
        with contextlib.suppress(Refused):  # an account that is deactivated
            self.session.register()
        self.other = dead
        dead.start()

    def test_under_load(self) -> None:
        """Clients stay with their server, which is killed; the other one works on its jobs meanwhile."""
        self.go_on = self.server.start  # type: ignore[assignment,method-assign]
        super().test_under_load()

    def test_lease(self) -> None:
        """While a server that lives has a job, the other one leaves it alone."""
        self.server.settings["CERTCTL_SIGNER_TIMEOUT"] = "30s"
        self.server.restart()
        self.session.close()
        self.hold("before")
        url = self.ordered(self.session, "lease.example.internal")
        time.sleep(3)
        self.assertEqual(len(self.told("asked")), 1)
        self.release()
        self.leaf(self.session, self.ended(self.session, url))
        self.assertWhole(1)


class Client(threading.Thread):
    """Finalizes one order after the other, and remembers those of which it was told that they are processing."""

    def __init__(self, server: RunningServer, number: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.session = Session(server)
        self.finalized: list[str] = []
        self.surprises: list[str] = []
        self._number = number
        self._over = over

    def run(self) -> None:
        count = 0
        while not self._over.is_set():
            count += 1
            name = f"n{count}.client-{self._number}.example.internal"
            try:
                if self.session.kid is None:
                    self.session.register()
                order = self.session.order(name)
                self.session.post(order.json["finalize"], {"csr": csr(name)})
                self.finalized.append(f"order/{order.location.rpartition('/')[2]}")
                time.sleep(0.1)
            except (OSError, HTTPException):
                self.session.nonce = None
                time.sleep(0.1)
            except Refused as refused:
                if refused.response.error != "badNonce":
                    self.surprises.append(str(refused))
        self.session.close()
