"""Whoever asks for certificates and runs the other side of the validations, and means no good.

The peers play all at once against one server; afterwards each order says what was seen, and the server is as before.
"""

from __future__ import annotations

import contextlib  # not ``suppress`` by itself: trial takes a module's ``suppress`` for its own
import gzip
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from tests.integration.acme import Session
from tests.integration.challenge_bench import (
    TRUSTED,
    ChallengeServer,
    ChallengeTestCase,
    addresses,
    pending,
    until,
)
from tests.integration.server import HOST
from tests.unit.web.wire import Response

DOMAIN = ".example.test"
METADATA = "169.254.169.254"
OK = b"HTTP/1.1 200 OK\r\n"
MAX_DETAIL = 500  # characters; URL and address, and 64 bytes of what came, each as four at most
PATIENCE = 75.0  # seconds: four tries of a peer that says nothing, and the pauses between them
Script = Callable[[socket.socket, str], None]  # the connection, and the key authorization that would be right


def answering(head: bytes, body: bytes = b"") -> Script:
    """Send one answer, and close."""
    return lambda peer, _: peer.sendall(head + b"Connection: close\r\n\r\n" + body)


def redirecting(to: str) -> Script:
    """Send on."""
    return answering(f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {to}\r\n".encode())


def for_ever(start: bytes, again: bytes, pause: float = 0.0) -> Script:
    """Send without an end."""

    def script(peer: socket.socket, right: str) -> None:
        peer.sendall(start)
        while True:
            peer.sendall(again)
            time.sleep(pause)

    return script


def right_and(before: bytes = b"", after: bytes = b"", head: bytes = OK) -> Script:
    """The right answer, and something else around it."""

    def script(peer: socket.socket, right: str) -> None:
        peer.sendall(head + b"Connection: close\r\n\r\n" + before + right.encode() + after)

    return script


def reset(peer: socket.socket, right: str) -> None:
    """Answer with a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(peer: socket.socket, right: str) -> None:
    """Say nothing, and keep the connection."""
    while peer.recv(4096):
        pass


class Peers:
    """A web server that does as the script of the name says that it is asked by."""

    def __init__(self, port: int, thumbprint: str, scripts: Mapping[str, Script]) -> None:
        self.thumbprint = thumbprint
        self.scripts = scripts
        self.asked: list[str] = []  # hosts
        self.paths: list[str] = []
        self._socket = socket.create_server((HOST, port), backlog=512)
        threading.Thread(target=self._serve, name="peers", daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._socket.accept()
                threading.Thread(target=self._play, args=(peer,), daemon=True).start()

    def _play(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (came := peer.recv(4096)):
                head += came
            request, *fields = head.decode().split("\r\n")
            path = request.split(" ")[1]
            host = next(each for each in fields if each.lower().startswith("host:"))[5:].strip()
            self.asked.append(host.partition(":")[0])
            self.paths.append(path)
            script = self.scripts.get(host.partition(".")[0])
            if script is not None:
                script(peer, f"{path.rpartition('/')[2]}.{self.thumbprint}")

    def stop(self) -> None:
        """Take no more connections; those that stand end with the server."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class AttackerTestCase(ChallengeTestCase):
    """A server, an account, and what plays the names of the account."""

    settings: Mapping[str, str] = {}

    def setUp(self) -> None:
        """Start the server, and make the account."""
        self.server: ChallengeServer = self.challenging(self.settings, self.records)
        self.session = self.account()

    def records(self, name: str, kind: str) -> list[str] | None:
        """What DNS says."""
        if name == f"metadata{DOMAIN}" and kind == "A":
            return [METADATA]
        return addresses(name, kind)

    def account(self) -> Session:
        """A new account."""
        session = Session(self.server)
        self.addCleanup(session.close)
        session.register()
        return session

    def play(self, scripts: Mapping[str, Script]) -> Peers:
        """Start the peers."""
        peers = Peers(self.server.http_port, self.session.signer.thumbprint, scripts)
        self.addCleanup(peers.stop)
        return peers

    def audited(self) -> list[str]:
        """What the audit trail has about challenges."""
        sql = "SELECT action FROM audit_events WHERE resource_type = 'acme_challenge' ORDER BY id"
        return [action for (action,) in self.server.rows(sql)]

    def threads(self) -> int:
        """How many threads the server's process has."""
        with open(f"/proc/{self.server.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("Threads:"))


class PeersTests(AttackerTestCase):
    """Bad answers to http-01."""

    settings = {"CERTCTL_ACME_SERVER_HTTP01_CONCURRENCY": "50"}

    def test_all_at_once(self) -> None:
        """Each order is invalid for what its peer did; none took the server's time, threads or log, or its secrets."""
        scripts: dict[str, tuple[Script, str, str]] = {
            "to-metadata": (
                redirecting(f"http://{METADATA}/latest/meta-data/"),
                "connection",
                f"{METADATA} is not dialled",
            ),
            "to-its-name": (redirecting(f"http://metadata{DOMAIN}/"), "connection", "is not dialled"),
            "to-decimal": (redirecting("http://2852039166/"), "unauthorized", "is not followed"),
            "to-mapped": (redirecting(f"http://[::ffff:{METADATA}]/"), "", "not "),
            "chain": (redirecting(f"http://chain-b{DOMAIN}/"), "connection", "is not dialled"),
            "loop": (
                redirecting(f"http://loop{DOMAIN}:{self.server.http_port}/"),
                "unauthorized",
                "more than 10 redirects",
            ),
            "to-server": (redirecting(f"{self.server.url}/ready"), "unauthorized", "is not to port"),
            "to-file": (redirecting("file:///etc/shadow"), "unauthorized", "not an http or https URL"),
            "long-header": (for_ever(OK, b"X" * 65536), "connection", ""),
            "many-headers": (for_ever(OK, b"X-Y: z\r\n" * 1000), "connection", ""),
            "many-answers": (for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), "connection", ""),
            "half-a-head": (lambda peer, _: peer.sendall(b"HTTP/1.1 20"), "connection", ""),
            "half-a-body": (
                answering(OK + b"Content-Length: 87\r\n", b"abc"),
                "connection",
                "closed before the answer's end",
            ),
            "reset": (reset, "connection", "closed before the answer's end"),
            "nothing": (silent, "connection", "no complete answer from 127.0.0.1 within 5 s"),
            "drips": (for_ever(OK + b"Content-Length: 500\r\n\r\n", b"a", 0.5), "connection", "within 5 s"),
            "bomb": (
                answering(OK + b"Content-Encoding: gzip\r\n", gzip.compress(bytes(50_000_000))),
                "incorrectResponse",
                "bytes came",
            ),
            "endless": (for_ever(OK + b"\r\n", b"a" * 65536), "", " came"),
            "blanks-after": (right_and(after=b" " * 1000), "incorrectResponse", "more than 512 bytes"),
            "text-before": (right_and(before=b"x"), "incorrectResponse", "not the key authorization"),
            "not-found": (right_and(head=b"HTTP/1.1 404 Gone\r\n"), "unauthorized", "status 404"),
            "controls": (
                answering(OK, b'\x1b[31m\r\n"<script>\x00\xff'),
                "incorrectResponse",
                "\\x1b[31m\\x0d\\x0a\\x22<script>\\x00\\xff",
            ),
            "not-http": (answering(b"SSH-2.0-OpenSSH_9.2\r\n"), "connection", ""),
            "chunks": (
                answering(OK + b"Transfer-Encoding: chunked\r\n", b"FFFFFFFFFFFFFFFFF\r\nx"),
                "connection",
                "",
            ),
            "negative": (answering(OK + b"Content-Length: -1\r\n", b"x"), "connection", ""),
            "two-lengths": (
                right_and(head=OK + b"Content-Length: 1\r\nContent-Length: 87\r\n"),
                "connection",
                "",
            ),
            "upgrade": (answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"), "", ""),
        }
        peers = self.play(
            {
                **{name: script for name, (script, _, _) in scripts.items()},
                "chain-b": redirecting(f"http://chain-c{DOMAIN}/"),
                "chain-c": redirecting(f"http://{METADATA}/"),
            }
        )
        before = self.threads()
        orders = {name: pending(self.session, name + DOMAIN) for name in scripts}
        for each in orders.values():
            self.session.post(each.challenge, {})
        sql = "SELECT count(*) FROM acme_challenges WHERE status = 'processing'"
        until("all settled", lambda: self.server.rows(sql)[0][0] == 0, PATIENCE)
        self.assertEqual(self.threads(), before)
        self.assertEqual({path for path in peers.paths if "acme-challenge" not in path}, {"/"})
        wrong = []
        for name, (_, type, words) in scripts.items():
            error = self.session.post(orders[name].challenge, None).json.get("error", {})
            status = self.session.post(orders[name].order, None).json["status"]
            detail = str(error.get("detail"))
            fits = error.get("type", "").endswith(type) and words in detail and detail.isprintable()
            if status != "invalid" or not fits or len(detail) > MAX_DETAIL:
                wrong.append(f"{name}: {status}, {error}")
        self.assertEqual(wrong, [])
        self.assertFalse({f"metadata{DOMAIN}", METADATA} & set(peers.asked))

    def test_name_that_changes(self) -> None:
        """A name that leads to us when it is judged, and to the metadata service a moment later."""
        turns = [[HOST], [METADATA]] * 50
        self.resolver.answer = lambda name, kind: turns.pop(0) if kind == "A" else []
        peers = self.play({"rebinds": redirecting(f"http://rebinds{DOMAIN}/")})
        order = pending(self.session, f"rebinds{DOMAIN}")
        self.session.post(order.challenge, {})
        until("settled", lambda: self.session.post(order.order, None).json["status"] == "invalid")
        error = self.session.post(order.challenge, None).json["error"]
        self.assertIn(f"{METADATA} is not dialled", error["detail"])
        self.assertEqual(len(peers.asked), 1)


class ClientsTests(AttackerTestCase):
    """Bad questions."""

    def test_thousand_responses_at_once(self) -> None:
        """The same response a thousand times over many connections begins one validation."""
        started = threading.Event()

        def slow(peer: socket.socket, right: str) -> None:
            started.wait(2)  # seconds: less than a try may take, however slow the machine
            right_and()(peer, right)

        peers = self.play({"crowd": slow})
        order = pending(self.session, f"crowd{DOMAIN}")

        def respond(_: int) -> list[Response]:
            session = Session(self.server, self.session.signer)
            session.kid = self.session.kid
            try:
                return [session.send(order.challenge, {}) for _ in range(125)]
            finally:
                session.close()

        with ThreadPoolExecutor(8) as pool:
            answers = [each for part in pool.map(respond, range(8)) for each in part]
        started.set()
        self.assertEqual({each.status for each in answers}, {200})
        self.assertEqual({each.json["status"] for each in answers} - {"valid"}, {"processing"})
        until("ready", lambda: self.session.post(order.order, None).json["status"] == "ready")
        self.assertEqual(peers.asked, [f"crowd{DOMAIN}"])
        self.assertEqual(self.audited(), ["acme_challenge_processing", "acme_challenge_completed"])

    def test_challenge_of_another_account(self) -> None:
        """Nobody answers, reads or gives up what is another's, in this profile or the next; the order goes on."""
        self.server.add_profile(TRUSTED, "challenge")
        peers = self.play({"mine": right_and()})
        order = pending(self.session, f"mine{DOMAIN}")
        stranger = self.account()
        beside = Session(self.server, self.session.signer)  # the same key, in another profile
        self.addCleanup(beside.close)
        there = f"{self.server.url}/acme/profile/{TRUSTED}"
        beside.nonce = beside.request("HEAD", f"{there}/new-nonce").nonce
        beside.kid = beside.post(f"{there}/new-account", {}).location
        payloads: tuple[object, ...] = ({}, None)
        for payload in payloads:
            for url in (order.challenge, order.authorization):
                self.assertEqual(stranger.send(url, payload).status, 404)
            moved = order.challenge.replace("prof-default", TRUSTED)
            self.assertEqual(beside.send(moved, payload).status, 404)
            self.assertEqual(beside.send(order.challenge, payload).error, "accountDoesNotExist")
        self.assertEqual(stranger.send(order.authorization, {"status": "deactivated"}).status, 404)
        self.assertEqual((peers.asked, self.audited()), ([], []))
        self.session.post(order.challenge, {})
        until("ready", lambda: self.session.post(order.order, None).json["status"] == "ready")

    def test_answer_for_another_account(self) -> None:
        """Who serves whatever token it is asked for, with its own key, serves nobody else."""
        self.play({"victim": right_and()})
        stranger = self.account()
        order = pending(stranger, f"victim{DOMAIN}")
        stranger.post(order.challenge, {})
        until("settled", lambda: stranger.post(order.order, None).json["status"] == "invalid")
        self.assertEqual(
            stranger.post(order.challenge, None).json["error"]["type"].rpartition(":")[2], "incorrectResponse"
        )
        mine = pending(self.session, f"victim{DOMAIN}")
        self.session.post(mine.challenge, {})
        until("ready", lambda: self.session.post(mine.order, None).json["status"] == "ready")

    def test_account_that_is_gone(self) -> None:
        """A deactivated account's responses are refused, and its validations settle nothing any more."""
        started = threading.Event()

        def slow(peer: socket.socket, right: str) -> None:
            started.wait(2)  # seconds: less than a try may take, however slow the machine
            right_and()(peer, right)

        self.play({"first": slow, "second": right_and()})
        orders = [pending(self.session, name + DOMAIN) for name in ("first", "second")]
        self.session.post(orders[0].challenge, {})
        assert self.session.kid is not None
        self.session.post(self.session.kid, {"status": "deactivated"})
        late = self.session.send(orders[1].challenge, {})
        started.set()
        self.assertEqual((late.status, late.error), (401, "unauthorized"))  # RFC 8555 section 7.3.6
        until("settled", lambda: self.audited()[-1:] == ["acme_challenge_completed"])
        states = self.server.rows("SELECT DISTINCT status FROM acme_authorizations")
        self.assertEqual(states, [("deactivated",)])
        self.assertEqual(self.server.rows("SELECT DISTINCT status FROM acme_orders"), [("invalid",)])


class CrowdTests(AttackerTestCase):
    """One account's many beside another's few, where there is but one turn."""

    settings = {"CERTCTL_ACME_SERVER_HTTP01_CONCURRENCY": "1"}

    def challenges(self, *identifiers: dict[str, str]) -> list[str]:
        """The http-01 challenges of an order."""
        order = self.session.post("new-order", {"identifiers": identifiers})
        found = [self.session.post(url, None).json["challenges"] for url in order.json["authorizations"]]
        return [each["url"] for types in found for each in types if each["type"] == "http-01"]

    def test_refused_at_once(self) -> None:
        """Hundreds of addresses that are refused without a look at the network wait, and the turn is not lost."""
        waiting = threading.Event()

        def slow(peer: socket.socket, right: str) -> None:
            waiting.wait(4)
            right_and()(peer, right)

        self.play({"slow": slow, "after": right_and()})
        first = pending(self.session, f"slow{DOMAIN}")
        many = [
            url
            for third in (1, 2, 3)
            for url in self.challenges(
                *({"type": "ip", "value": f"127.0.{third}.{last}"} for last in range(1, 101))
            )
        ]
        for url in (first.challenge, *many):
            self.session.post(url, {})
        waiting.set()
        sql = "SELECT count(*) FROM acme_challenges WHERE status = 'processing'"
        until("settled", lambda: self.server.rows(sql)[0][0] == 0)
        self.assertEqual(self.audited().count("acme_challenge_completed"), 301)
        after = pending(self.session, f"after{DOMAIN}")
        self.session.post(after.challenge, {})
        until("ready", lambda: self.session.post(after.order, None).json["status"] == "ready")

    def test_one_account_behind_another(self) -> None:
        """Who drips on twenty names keeps another account waiting for two of them at most."""
        drips = for_ever(OK + b"Content-Length: 500\r\n\r\n", b"a", 0.5)
        attacker = self.session
        self.session = self.account()
        self.play({**{f"drips-{number}": drips for number in range(20)}, "honest": right_and()})
        for number in range(20):
            attacker.post(pending(attacker, f"drips-{number}{DOMAIN}").challenge, {})
        honest = pending(self.session, f"honest{DOMAIN}")
        self.session.post(honest.challenge, {})
        until("ready", lambda: self.session.post(honest.order, None).json["status"] == "ready", 20)
        self.server.kill()  # or its end would wait for the drips


class LateTests(AttackerTestCase):
    """After the end of an authorization."""

    settings = {"CERTCTL_ACME_SERVER_AUTHZ_TTL": "2s", "CERTCTL_ACME_SERVER_GC_INTERVAL": "500ms"}

    def test_response_after_expiry(self) -> None:
        """Nothing is validated any more; a validation that ends too late proves nothing."""

        def late(peer: socket.socket, right: str) -> None:
            time.sleep(3)
            right_and()(peer, right)

        peers = self.play({"slow": late, "never": right_and()})
        slow, never = (pending(self.session, name + DOMAIN) for name in ("slow", "never"))
        self.session.post(slow.challenge, {})
        time.sleep(2.2)
        answer = self.session.post(never.challenge, {})
        self.assertNotEqual(answer.json["status"], "processing")
        until("settled", lambda: self.audited()[-1:] == ["acme_challenge_completed"])
        for each in (slow, never):
            self.assertEqual(self.session.post(each.order, None).json["status"], "invalid")
            self.assertEqual(self.session.post(each.authorization, None).json["status"], "invalid")
            self.assertEqual(self.session.send(each.finalize, {"csr": ""}).error, "orderNotReady")
        self.assertEqual(peers.asked, [f"slow{DOMAIN}"])
