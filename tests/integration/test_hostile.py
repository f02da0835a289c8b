"""Clients that mean no good, or that are badly made, over real TLS connections.

Whatever they send, nobody else is hindered, no answer is a 5xx but the one for a method that nobody knows, and the
log has no traceback (``ServerTestCase`` looks at it in the end).
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import time
from contextlib import ExitStack, closing
from http.client import HTTPResponse

from tests.integration.acme import JOSE, Session, csr
from tests.integration.server import HOST, PROFILE, ServerTestCase
from tests.unit.web.wire import PROBLEM, Response

MAX_BODY = 64 * 1024
CROWD = 200  # connections at the same time
BASE = f"/acme/profile/{PROFILE}"
POST_ONLY = ("new-account", "new-order", "new-authz", "key-change", "revoke-cert", "order/x", "account/x")


class HostileTests(ServerTestCase):
    def setUp(self) -> None:
        """Start a server, which must be as good at the end of the test as at its start."""
        self.server = self.serve()
        self.addCleanup(self.next_client)

    def next_client(self) -> None:
        """Whatever happened, the next client gets its certificate."""
        session = Session(self.server)
        session.register()
        self.assertIn(b"BEGIN CERTIFICATE", session.certificate("next.example.internal"))
        session.close()

    def head(self, line: str, *headers: str, host: str | None = None) -> bytes:
        """A request up to its empty line."""
        host = f"{HOST}:{self.server.port}" if host is None else host
        return "\r\n".join((line, f"Host: {host}", *headers, "", "")).encode("latin-1")

    def ask(self, octets: bytes, method: str = "GET") -> Response | None:
        """Send octets on a connection of their own; return the answer, or None if the connection was cut."""
        with closing(self.server.socket()) as connection:
            try:
                connection.sendall(octets)
                return receive(connection, method)
            except (ConnectionError, ssl.SSLError):
                return None

    def answered(self, octets: bytes, method: str = "GET") -> Response:
        """Send octets on a connection of their own; return the answer, which there must be."""
        answer = self.ask(octets, method)
        assert answer is not None, octets[:200]
        return answer

    def prompt(self) -> float:
        """How long another client waits for a whole certificate, in seconds."""
        began = time.monotonic()
        session = Session(self.server)
        session.register()
        session.certificate("meanwhile.example.internal")
        session.close()
        return time.monotonic() - began

    def test_large_body(self) -> None:
        """One octet too many is 413, with a nonce to go on with; the last that fits is read, and is not JSON."""
        for length, status in ((MAX_BODY, 400), (MAX_BODY + 1, 413)):
            sent = (f"Content-Length: {length}", "Content-Type: application/jose+json")
            answer = self.answered(self.head(f"POST {BASE}/new-account HTTP/1.1", *sent) + b"x" * length)
            self.assertEqual(
                (answer.status, answer.one("Content-Type"), answer.error), (status, PROBLEM, "malformed")
            )
            self.assertGreater(len(answer.nonce), 20)

    def test_endless_body(self) -> None:
        """A chunked body that never ends is cut off soon after the limit."""
        sent, chunk = 0, b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        headers = ("Transfer-Encoding: chunked", "Content-Type: application/jose+json")
        with closing(self.server.socket()) as connection:
            connection.sendall(self.head(f"POST {BASE}/new-account HTTP/1.1", *headers))
            with self.assertRaises((ConnectionError, ssl.SSLError)):
                while sent < 64 * 1024 * 1024:
                    connection.sendall(chunk)
                    sent += len(chunk)
        self.assertLess(sent, 16 * 1024 * 1024)  # what fits into the buffers on the way, and more

    def test_many_headers(self) -> None:
        """A hundred headers, one huge one and an endless request line are refused before any route is asked."""
        for headers in ([f"X-{number}: x" for number in range(100)], [f"X-Huge: {'x' * 20000}"]):
            answer = self.ask(self.head(f"GET {BASE}/directory HTTP/1.1", *headers))
            self.assertIn(answer and answer.status, (None, 400, 413, 431))
        long = self.ask(self.head(f"GET /{'x' * 100_000} HTTP/1.1"))
        self.assertIn(long and long.status, (None, 400, 414))

    def test_methods(self) -> None:
        """A method that is none is 501; one that a resource does not have is 405, and Allow says which it has."""
        self.assertEqual(self.answered(self.head(f"BREW {BASE}/directory HTTP/1.1")).status, 501)
        self.assertEqual(self.answered(self.head("CONNECT example.com:443 HTTP/1.1")).status, 501)
        for path in POST_ONLY:
            for method in ("GET", "PUT", "DELETE", "PATCH"):
                answer = self.answered(self.head(f"{method} {BASE}/{path} HTTP/1.1"))
                self.assertEqual((answer.status, answer.error), (405, "malformed"), (method, path))
                self.assertIn("POST", answer.one("Allow"))
                self.assertNotIn(method, answer.one("Allow"))

    def test_paths(self) -> None:
        """Paths that are no text, or that climb, are not found and nothing worse."""
        paths: tuple[str, ...] = (
            "/%ff%fe",
            "/\xff\xfe",
            "/acme/profile/%00/directory",
            "/acme/profile/\xe9/directory",
        )
        paths += ("/../../etc/passwd", "//", "/acme//directory", "/acme/profile/..%2f..%2f/directory")
        paths += (
            f"{BASE}/order/%ff",
            "*",
            "?",
            "/%",
            f"/acme/profile/{'a' * 4000}/directory",
            "http://[::1/",
        )
        for path in paths:
            for method in ("GET", "POST"):
                answer = self.answered(self.head(f"{method} {path} HTTP/1.1", "Content-Length: 0"))
                self.assertTrue(400 <= answer.status < 500, (method, path, answer))

    def test_host(self) -> None:
        """A Host that the server does not answer to makes no URLs: 421."""
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "evil.example:8443"):
            answer = self.answered(self.head(f"GET {BASE}/directory HTTP/1.1", host=host))
            self.assertEqual((answer.status, answer.error), (421, "malformed"), host)
        for host in ("", "\xff", "localhost:port", "[::1", "localhost:8443:1"):
            refused = self.ask(self.head(f"GET {BASE}/directory HTTP/1.1", host=host))
            self.assertIn(refused and refused.status, (None, 400, 421), host)
        answer = self.answered(self.head(f"GET {BASE}/directory HTTP/1.1", host="localhost"))
        self.assertEqual(answer.json["newNonce"], f"https://localhost{BASE}/new-nonce")

    def test_pipelined(self) -> None:
        """Requests that come at once are answered one after the other, in their order."""
        with closing(self.server.socket()) as connection:
            one = self.head(f"GET {BASE}/directory HTTP/1.1")
            other = self.head("GET /health HTTP/1.1")
            connection.sendall((one + other) * 10)
            # One reader for all: each HTTPResponse would take what it buffered away from the next.
            text, end = b"", time.monotonic() + 10
            while len(bodies := re.findall(rb'"newNonce"|"status"', text)) < 20 and time.monotonic() < end:
                text += connection.recv(65536)
        self.assertEqual(bodies, [b'"newNonce"', b'"status"'] * 10)
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", text), [b"200"] * 20)

    def test_pipelined_signed(self) -> None:
        """Two signed requests at once, the second for what the first makes, are both served."""
        session = Session(self.server)
        url = session.url("new-account")
        bodies = [
            session.signer.sign(url, {"termsOfServiceAgreed": True}, session.fresh_nonce()) for _ in range(2)
        ]
        session.close()
        path = f"POST {BASE}/new-account HTTP/1.1"
        type = "Content-Type: application/jose+json"
        with closing(self.server.socket()) as connection:
            connection.sendall(
                b"".join(self.head(path, type, f"Content-Length: {len(body)}") + body for body in bodies)
            )
            text, end = b"", time.monotonic() + 10
            while len(places := re.findall(rb"Location: (\S+)", text)) < 2 and time.monotonic() < end:
                text += connection.recv(65536)
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", text), [b"201", b"200"])
        self.assertEqual(len(set(places)), 1)

    def test_malformed_http(self) -> None:
        """What is not HTTP, or is ambiguous, ends its own connection."""
        twice = ("Content-Length: 3", "Content-Length: 5")
        both = ("Content-Length: 3", "Transfer-Encoding: chunked")
        path = f"POST {BASE}/new-account HTTP/1.1"
        for octets in (
            b"\x00" * 100 + b"\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\r\n" * 50,
            self.head(path, *twice) + b"abcde",
            self.head(path, *both) + b"0\r\n\r\n",
            self.head(path, "Content-Length: -1"),
            self.head(path, "Content-Length: x"),
            self.head(path, "Content-Length: 99999999999999999999"),
            self.head(path, "Transfer-Encoding: chunked") + b"ZZZ\r\n",
            self.head(path, "Transfer-Encoding: gzip") + b"abc",
            self.head(path, "No colon"),
            self.head(path, " folded: x"),
            self.head(path, "X-Nul: \x00"),
            self.head(path, "Content-Length: 3", "Content-Type: \xff") + b"abc",
        ):
            with closing(self.server.socket(timeout=1)) as connection:
                try:
                    connection.sendall(octets)
                    answer = receive(connection, "POST")
                except (OSError, ValueError):  # cut, or still waiting for the rest of what was announced
                    continue
            self.assertLess(answer.status if answer else 400, 500, octets)
            self.assertGreaterEqual(answer.status if answer else 400, 400, octets)

    def test_not_tls(self) -> None:
        """Plain HTTP, noise and a half handshake on the TLS port."""
        for octets in (self.head("GET / HTTP/1.1"), bytes(range(256)) * 10, b"\x16\x03\x01\x02\x00\x01"):
            with closing(socket.create_connection((HOST, self.server.port), timeout=1)) as connection:
                connection.sendall(octets)
                try:
                    while connection.recv(4096):
                        pass
                except OSError:
                    continue

    def test_crowd(self) -> None:
        """Two hundred that are silent, half-way through a handshake, or drip, hinder nobody."""
        alone = self.prompt()
        started = self.head(f"POST {BASE}/new-account HTTP/1.1", "Content-Length: 1000")
        with ExitStack() as open:
            dripping = []
            for number in range(CROWD):
                if number % 4 == 0:  # no handshake at all
                    plain = socket.create_connection((HOST, self.server.port), timeout=20)
                    open.callback(plain.close)
                    continue
                connection = self.server.socket()
                open.callback(connection.close)
                if number % 4 == 1:
                    continue
                connection.sendall(started[:-2] if number % 4 == 2 else started)
                dripping.append(connection)
            waits = []
            for _ in range(5):
                for connection in dripping:
                    connection.sendall(b"x")
                waits.append(self.prompt())
        self.assertLess(min(waits), 10 * alone + 1, (alone, waits))

    def test_client_gone_at_finalize(self) -> None:
        """A client that hangs up once it has asked finds its order valid, and its certificate there."""
        session = Session(self.server)
        session.register()
        for number in range(3):
            name = f"gone-{number}.example.internal"
            order = session.order(name)
            connection = self.asking(session, order, csr(name))
            connection.shutdown(socket.SHUT_WR)
            found = self.settled(session, order.location)
            connection.close()
            self.assertIn(b"BEGIN CERTIFICATE", session.post(found["certificate"], None).body)
            self.assertEqual(self.versions(order), 1)
        session.close()

    def test_connection_reset_at_finalize(self) -> None:
        """A network that fails at any moment leaves an order ready or valid; asked again, it has one certificate."""
        session = Session(self.server)
        session.register()
        before = set()
        for number in range(12):
            name = f"reset-{number}.example.internal"
            order, request = session.order(name), csr(name)
            connection = self.asking(session, order, request)
            time.sleep(number * 0.0005)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            before.add(session.post(order.location, None).json["status"])
            valid = session.post(order.json["finalize"], {"csr": request}).json
            self.assertIn(b"BEGIN CERTIFICATE", session.post(valid["certificate"], None).body)
            self.assertEqual(self.versions(order), 1)
        self.assertLessEqual(before, {"ready", "valid"})
        session.close()

    def asking(self, session: Session, order: Response, request: str) -> ssl.SSLSocket:
        """A connection on which a signed finalize was sent, and nothing read yet."""
        url = order.json["finalize"]
        body = session.signer.sign(url, {"csr": request}, session.fresh_nonce(), session.kid)
        sent = (*(f"{name}: {value}" for name, value in JOSE.items()), f"Content-Length: {len(body)}")
        connection = self.server.socket()
        connection.sendall(self.head(f"POST {url.removeprefix(self.server.url)} HTTP/1.1", *sent) + body)
        return connection

    def versions(self, order: Response) -> int:
        """How many certificates an order has."""
        sql = "SELECT count(*) FROM certificate_versions WHERE order_id = ?"
        return int(self.server.rows(sql, order.location.rpartition("/")[2])[0][0])

    def settled(self, session: Session, order: str, within: float = 10.0) -> dict[str, str]:
        """The order once it is valid."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            found: dict[str, str] = session.post(order, None).json
            if found["status"] == "valid":
                return found
            time.sleep(0.02)
        raise AssertionError(f"{order} is not valid after {within} s")

    def test_noise_in_requests(self) -> None:
        """Bodies that are no JWS, in every shape, to every resource that takes one: refused with a nonce."""
        shapes: list[bytes] = [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 30_000, b"1" * 30_000]
        shapes += [json.dumps(value).encode() for value in ({}, {"protected": 1}, {"protected": "x"})]
        shapes += [b'{"protected": "e30", "payload": "", "signature": ""}']
        with closing(self.server.connect()) as connection:
            for path in POST_ONLY:
                for body in shapes:
                    connection.request("POST", f"{BASE}/{path}", body, JOSE)
                    received = connection.getresponse()
                    answer = Response(received.status, received.getheaders(), received.read())
                    self.assertTrue(400 <= answer.status < 500, (path, body[:50], answer))
                    self.assertTrue(answer.error, (path, body[:50], answer))
                    self.assertGreater(len(answer.nonce), 20)


def receive(connection: ssl.SSLSocket, method: str) -> Response | None:
    """The next answer on a connection; None if it is cut before one."""
    received = HTTPResponse(connection, method=method)
    try:
        received.begin()
    except ValueError:
        return None
    except OSError as error:
        if "closed connection" in str(error):
            return None
        raise
    return Response(received.status, received.getheaders(), received.read())
