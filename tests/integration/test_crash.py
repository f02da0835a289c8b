"""``kill -9`` at random moments under load: what a client was told is true ever after.

CERTCTL_TEST_SEED repeats a run's moments (not its races), CERTCTL_TEST_KILLS changes how many there are.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, TypeVar

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.acme_client import b64
from tests.integration.acme import Refused, Session
from tests.integration.server import RunningServer, ServerTestCase

SEED = int(os.environ.get("CERTCTL_TEST_SEED") or random.SystemRandom().randrange(10**9))
KILLS = int(os.environ.get("CERTCTL_TEST_KILLS") or 24)
STOPS = 6
STOPS_WITHIN = 10.0  # seconds; half of it would do but for a busy machine
CLIENTS = 6
LOAD = 1.5  # seconds that the server works at most before it is killed
STARTING = 0.15  # how many of the kills come before the server is ready
REPLAYED = 300  # spent nonces that are tried again
LATEST = 2000  # of a client's, among which they are chosen: younger than a nonce's lifetime
T = TypeVar("T")
GONE = (OSError, HTTPException)  # how a client sees the server die


@attrs.define
class Told:
    """What the server told one client: each is a promise."""

    accounts: set[str] = attrs.field(factory=set)
    orders: dict[str, tuple[str, str]] = attrs.field(factory=dict)  # id: URL and name
    valid: set[str] = attrs.field(factory=set)
    revoked: set[str] = attrs.field(factory=set)  # serials
    certificates: set[bytes] = attrs.field(factory=set)  # DER
    surprises: list[str] = attrs.field(factory=list)


class Client(threading.Thread):
    """Gets certificates, one after the other, from a server that dies now and then."""

    def __init__(self, server: RunningServer, number: int, over: threading.Event) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.session = Session(server)
        self.told = Told()
        self.random = random.Random(SEED + number)
        self.over = over
        self._number = number
        self._count = 0

    def run(self) -> None:
        """Go on until it is over."""
        while not self.over.is_set():
            try:
                self.step()
            except GONE:
                self.session.nonce = None
                time.sleep(0.05)
            except Refused as refused:
                if refused.response.error != "badNonce":
                    self.told.surprises.append(str(refused))
        self.session.close()

    def step(self) -> None:
        """One certificate from its order to its download, and perhaps its revocation."""
        if self.session.kid is None:
            self.told.accounts.add(id_of(self.session.register()))
        self._count += 1
        name = f"n{self._count}.client-{self._number}.example.internal"
        made = self.session.order(name)
        self.told.orders[id_of(made.location)] = (made.location, name)
        if self.random.random() < 0.05:
            return  # some orders are left alone
        self.finish(made.location, name)

    def finish(self, url: str, name: str) -> None:
        """Finalize an order, whether or not that was tried before, and download its certificate."""
        order = self.session.post(url, None)
        if order.json["status"] == "ready":
            order = self.session.finalize(order.json["finalize"], name)
        self.told.valid.add(id_of(url))
        pem = self.session.post(order.json["certificate"], None).body
        certificate = x509.load_pem_x509_certificate(pem)
        self.told.certificates.add(certificate.public_bytes(Encoding.DER))
        if self.random.random() < 0.2:
            der = certificate.public_bytes(Encoding.DER)
            self.session.post("revoke-cert", {"certificate": b64(der)})
            self.told.revoked.add(f"{certificate.serial_number:x}")


class CrashTests(ServerTestCase):
    def test_kill_under_load(self) -> None:
        """No promise is broken, nothing hangs, nothing is there twice, and the audit agrees."""
        print(f"\nCERTCTL_TEST_SEED={SEED}", flush=True)
        server = self.serve()
        began = time.monotonic()
        clients, during_start = self.under_load(server, lambda: self.kill_again_and_again(server))
        seconds = time.monotonic() - began
        self.assertEqual(server.rows("SELECT id FROM acme_orders WHERE status = 'processing'"), [])
        finished = self.finish_all(clients)
        replayed = self.replay(clients)
        counts = self.judge(server, [client.told for client in clients])
        print(
            f"crash test: {KILLS} kills in {seconds:.0f} s ({during_start} of them during a start), "
            + ", ".join(f"{number} {what}" for what, number in counts.items())
            + f", {finished} orders finished afterwards, {replayed} spent nonces refused",
            flush=True,
        )
        self.assertGreater(counts["certificates received"], KILLS)

    def test_stop_under_load(self) -> None:
        """A server that is asked to stop ends at once, with no request left half-way: whatever it did, it said."""
        server, chance = self.serve(), random.Random(SEED)

        def stop_again_and_again() -> float:
            longest = 0.0
            for _ in range(STOPS):
                time.sleep(chance.uniform(0.3, LOAD))
                began = time.monotonic()
                server.stop()
                longest = max(longest, time.monotonic() - began)
                server.start()
            return longest

        clients, longest = self.under_load(server, stop_again_and_again)
        told = [client.told for client in clients]
        self.judge(server, told)
        orders = {id for (id,) in server.rows("SELECT id FROM acme_orders")}
        valid = {id for (id,) in server.rows("SELECT order_id FROM certificate_versions")}
        self.assertEqual(self.all(told, lambda each: set(each.orders)), orders)
        self.assertEqual(self.all(told, lambda each: each.valid), valid)
        self.assertLess(longest, STOPS_WITHIN)

    def under_load(self, server: RunningServer, work: Callable[[], T]) -> tuple[list[Client], T]:
        """Do something while clients get certificates, who may see connections break, but no other surprise."""
        over = threading.Event()
        self.addCleanup(over.set)
        clients = [Client(server, number, over) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        result = work()
        over.set()
        for client in clients:
            client.join(60)
        self.assertFalse([client for client in clients if client.is_alive()])
        self.assertEqual([said for client in clients for said in client.told.surprises], [])
        return clients, result

    def kill_again_and_again(self, server: RunningServer) -> int:
        """Kill it KILLS times; return how many of these it was not yet ready."""
        chance, starting = random.Random(SEED), 0
        for _ in range(KILLS):
            if chance.random() < STARTING:
                starting += 1
                server.kill()
                server.launch()
                time.sleep(chance.uniform(0.0, 1.0))
            else:
                time.sleep(chance.uniform(0.05, LOAD))
            server.kill()
            server.start()
        return starting

    def finish_all(self, clients: list[Client]) -> int:
        """Every order that was made can still become a certificate; return how many had none before."""
        count = 0
        for client in clients:
            for id, (url, name) in client.told.orders.items():
                if id not in client.told.valid:
                    count += 1
                    client.session.nonce = None
                    client.finish(url, name)
            client.session.close()
        return count

    def replay(self, clients: list[Client]) -> int:
        """No nonce that was spent before a kill is good again; return how many were tried."""
        count = 0
        for client in clients:
            latest = client.session.spent[-LATEST:]
            for nonce in client.random.sample(latest, min(REPLAYED // CLIENTS, len(latest))):
                answer = client.session.send("new-order", {"identifiers": []}, nonce=nonce)
                self.assertEqual(
                    (answer.error, answer.json["detail"]), ("badNonce", "the nonce was used before")
                )
                count += 1
            client.session.close()
        return count

    def judge(self, server: RunningServer, told: list[Told]) -> dict[str, int]:
        """Compare what the clients were told with the database, and the database with its audit."""
        self.assertEqual(server.rows("PRAGMA integrity_check"), [("ok",)])
        self.assertEqual(server.rows("PRAGMA foreign_key_check"), [])
        versions = server.rows(
            "SELECT id, order_id, serial_number, certificate, revoked_at FROM certificate_versions"
        )
        orders = {
            id: (status, cert)
            for id, status, cert in server.rows("SELECT id, status, certificate_id FROM acme_orders")
        }
        self.assertLessEqual(self.all(told, lambda each: each.certificates), {row[3] for row in versions})
        self.assertLessEqual(
            self.all(told, lambda each: each.accounts),
            {id for (id,) in server.rows("SELECT id FROM acme_accounts")},
        )
        self.assertLessEqual(self.all(told, lambda each: set(each.orders)), set(orders))
        self.assertLessEqual(
            self.all(told, lambda each: each.revoked), {row[2] for row in versions if row[4]}
        )
        self.assertEqual({orders[id][0] for id in self.all(told, lambda each: each.valid)}, {"valid"})
        self.assertLessEqual(set(Counter(status for status, _ in orders.values())), {"ready", "valid"})
        # Each certificate belongs to one order, each valid order has one.
        self.assertEqual(
            {row[1]: row[0] for row in versions},
            {id: cert for id, (status, cert) in orders.items() if status == "valid"},
        )
        self.assertEqual(len({row[1] for row in versions}), len(versions))
        self.assertEqual(len({row[2] for row in versions}), len(versions))
        self.agree(server, versions, set(orders))
        return {
            "orders": len(orders),
            "certificates": len(versions),
            "certificates received": len(self.all(told, lambda each: each.certificates)),
            "revoked": sum(1 for row in versions if row[4]),
            "audit rows": server.rows("SELECT count(*) FROM audit_events")[0][0],
        }

    def agree(self, server: RunningServer, versions: list[tuple[Any, ...]], orders: set[str]) -> None:
        """Each change has its audit row, once, and there is no row of a change that was not made."""

        def audited(action: str) -> list[tuple[str, dict[str, str]]]:
            rows = server.rows(
                "SELECT resource_id, details FROM audit_events WHERE action = ? ORDER BY id", action
            )
            return [(id, json.loads(about)) for id, about in rows]

        created = [id for id, _ in audited("acme_order_created")]
        finalized = [
            (id, about["certificate"], about["serial"]) for id, about in audited("acme_order_finalized")
        ]
        revoked = [(id, about["serial"]) for id, about in audited("certificate_revoked")]
        accounts = [id for id, _ in audited("acme_account_created")]
        self.assertEqual(sorted(created), sorted(orders))
        self.assertEqual(sorted(finalized), sorted((row[1], row[0], row[2]) for row in versions))
        self.assertEqual(sorted(revoked), sorted((row[0], row[2]) for row in versions if row[4]))
        self.assertEqual(
            sorted(accounts), sorted(id for (id,) in server.rows("SELECT id FROM acme_accounts"))
        )

    def all(self, told: list[Told], what: Callable[[Told], set[T]]) -> set[T]:
        """What all clients were told."""
        return set().union(*map(what, told))


def id_of(url: str) -> str:
    """The last part of a resource's URL."""
    return url.rpartition("/")[2]
