"""Two servers behind HAProxy, in turn and with nothing sticky: ACME clients of others, and the race over a nonce.

CERTCTL_TEST_RACES changes how many rounds the race has.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from contextlib import closing
from urllib.parse import urlsplit

from cryptography import x509

from tests.integration.acme import Session, csr
from tests.integration.clients import P256, RSA, AcmeTiny, Certbot, Client, Dehydrated, Issued, Lego, Uacme
from tests.integration.fleet import Balancer, FleetCase
from tests.integration.server import RunningServer
from tests.integration.test_clients import serial, verify
from tests.unit.web.wire import Response

RACES = int(os.environ.get("CERTCTL_TEST_RACES") or 3)
RACERS = 200
CLIENTS: tuple[type[Client], ...] = (Certbot, Lego, Uacme, Dehydrated, AcmeTiny)


class TwoServersCase(FleetCase):
    def setUp(self) -> None:
        super().setUp()
        self.another().start()
        self.another().start()
        self.balancer = Balancer(self.path(), self.servers)
        self.addCleanup(self.balancer.end)

    def requests(self, server: RunningServer) -> int:
        """How many signed requests a server has answered well."""
        with closing(server.connect()) as connection:
            connection.request("GET", "/metrics")
            told = connection.getresponse().read().decode()
        found = re.findall(
            r'^certctl_acme_requests_total{operation="(\S+?)",outcome="ok",\S+ (\d+)', told, re.M
        )
        return sum(int(count) for operation, count in found if operation not in ("directory", "new-nonce"))


class ClientsTests(TwoServersCase):
    def test_each_request_on_another_connection(self) -> None:
        """Account, order, finalize and download, each at the server that has not answered the one before."""
        session = Session(self.balancer)  # type: ignore[arg-type]
        names = [f"{number}.turns.example.internal" for number in range(6)]

        def send(name: str, payload: object) -> Response:
            session.close()
            return session.post(name, payload)

        session.kid = send("new-account", {"termsOfServiceAgreed": True}).location
        for name in names:
            order = send("new-order", {"identifiers": [{"type": "dns", "value": name}]})
            valid = send(order.json["finalize"], {"csr": csr(name)})
            send(valid.json["certificate"], None)
        session.close()
        counts = [self.requests(each) for each in self.servers]
        self.assertEqual(sum(counts), 1 + 3 * len(names))
        self.assertLessEqual(abs(counts[0] - counts[1]), 2, counts)

    def test_clients(self) -> None:
        """certbot, lego, uacme, dehydrated and acme-tiny: certificates, renewals, and what else each can do."""
        for number, kind in enumerate(CLIENTS):
            client = kind(self.balancer, self.path())  # type: ignore[arg-type]
            names = [f"{each}.client-{number}.example.internal" for each in ("one", "two")]
            first = self.issued(client, client.issue(names, RSA if kind is Dehydrated else P256), names)
            issued = Issued(first.certificate, first.chain, first.key)
            before = serial(issued)
            renewed = self.issued(client, client.renew(issued), names)  # type: ignore[attr-defined]
            self.assertNotEqual(serial(renewed), before)
            if hasattr(client, "update"):
                client.update()
            if hasattr(client, "revoke"):
                number_of = serial(renewed)
                client.revoke(renewed)
                self.assertEqual(
                    self.sql(
                        "SELECT count(*) FROM certificate_versions"
                        f" WHERE serial_number = '{number_of}' AND revoked_at IS NOT NULL"
                    ),
                    [(1,)],
                    kind.__name__,
                )
            if hasattr(client, "deactivate"):
                client.deactivate()
            self.assertFalse(client.mark.exists(), "a challenge was answered")
        counts = [self.requests(each) for each in self.servers]
        print(f"\nclients behind HAProxy: signed requests at each server {counts}", flush=True)
        self.assertGreater(min(counts), 10)

    def issued(self, client: Client, issued: Issued, names: list[str]) -> Issued:
        """Look at a certificate from outside, and in the database."""
        verify(self.balancer.root, issued)
        leaf = x509.load_pem_x509_certificate(issued.certificate.read_bytes())
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(sorted(found.get_values_for_type(x509.DNSName)), sorted(names))
        self.assertEqual(
            self.sql(
                "SELECT o.status FROM certificate_versions v JOIN acme_orders o ON o.certificate_id = v.id"
                f" WHERE v.serial_number = '{serial(issued)}'"
            ),
            [("valid",)],
            type(client).__name__,
        )
        return issued


class NonceRaceTests(TwoServersCase):
    def test_one_of_two_hundred(self) -> None:
        """Of two hundred requests over one nonce, half at each server, one is accepted, in each of many rounds."""
        session = Session(self.balancer)  # type: ignore[arg-type]
        session.register()
        url, began, rounds = session.url("new-order"), time.monotonic(), Counter[str]()
        connections = [self.servers[number % 2].socket(timeout=60) for number in range(RACERS)]
        for each in connections:
            self.addCleanup(each.close)
        for number in range(RACES):
            name = {"type": "dns", "value": f"race-{number}.example.internal"}
            body = session.signer.sign(url, {"identifiers": [name]}, session.fresh_nonce(), session.kid)
            head = (
                f"POST {urlsplit(url).path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
                f"Content-Type: application/jose+json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            for each in connections:
                each.sendall(head.encode() + body)
            answers = Counter(answer(each) for each in connections)
            self.assertEqual(answers, {"201": 1, "badNonce": RACERS - 1}, f"round {number}")
            rounds["201"] += answers["201"]
        session.close()
        self.assertEqual(self.sql("SELECT count(*) FROM acme_orders"), [(RACES,)])
        print(
            f"\nnonce race: {RACES} rounds of {RACERS} requests at two servers, {rounds['201']} accepted,"
            f" {time.monotonic() - began:.0f} s",
            flush=True,
        )


def answer(connection: object) -> str:
    """The status of the next answer, or the problem's name; the answer is read to its end."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)  # type: ignore[attr-defined]
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
    while len(body) < length:
        body += connection.recv(65536)  # type: ignore[attr-defined]
    return "badNonce" if b":badNonce" in body else head.split(b" ")[1].decode()
