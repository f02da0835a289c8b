"""A server in challenge mode, and the world that it looks at: a resolver and a web server on loopback."""

from __future__ import annotations

import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.integration.acme import Session
from tests.integration.server import HOST, PROFILE, RunningServer, ServerTestCase, free_port

ZONES = ("test", "corp.internal")  # every name in them has the address HOST
TRUSTED = "prof-trusted"
Answer = Callable[[str, str], list[str] | None]  # name and type to records; None: no such name


def addresses(name: str, kind: str) -> list[str] | None:
    """The records of a name in ZONES: its address."""
    if not any(name == zone or name.endswith(f".{zone}") for zone in ZONES):
        return None
    return [HOST] if kind == "A" else []


class Resolver:
    """A DNS server in a thread. TXT records are the lines of a file of that name, where hooks put them."""

    def __init__(self, folder: Path, answer: Answer = addresses) -> None:
        self.folder = folder
        self.answer = answer
        self.asked: list[tuple[str, str]] = []  # name, type
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self.address = f"{HOST}:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, name="resolver", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            query, peer = self._socket.recvfrom(4096)
            if not query:  # from ``stop``
                return
            self._socket.sendto(self._response(dns.message.from_wire(query)), peer)

    def _response(self, query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query, recursion_available=True)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        records = self._records(name, kind)
        if records is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif records:
            response.answer.append(dns.rrset.from_text_list(question.name, 1, "IN", kind, records))
        return response.to_wire()

    def _records(self, name: str, kind: str) -> list[str] | None:
        file = self.folder / name
        if kind == "TXT" and file.exists():
            return [f'"{line}"' for line in file.read_text().split()]
        return self.answer(name, kind)

    def stop(self) -> None:
        """Stop, and wait until it is done."""
        host, _, port = self.address.rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bell:
            bell.sendto(b"", (host, int(port)))
        self._thread.join()
        self._socket.close()


class _Folder(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        self.server.said.append(format % args)  # type: ignore[attr-defined]


class Web:
    """A web server in a thread: what lies in ``folder`` is below the challenges' path."""

    def __init__(self, root: Path, port: int) -> None:
        self.folder = root / ".well-known/acme-challenge"
        self.folder.mkdir(parents=True)
        self.said: list[str] = []
        self._server = ThreadingHTTPServer((HOST, port), partial(_Folder, directory=str(root)))
        self._server.said = self.said  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, name="web", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait until it is done."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Responder:
    """Answers http-01 for one account, ``delay`` seconds late, and wrongly where a name begins with ``wrong``."""

    def __init__(self, port: int, thumbprint: str, delay: float) -> None:
        self.thumbprint = thumbprint
        self.delay = delay
        self.asked: list[str] = []  # names
        self._server = _Crowd((HOST, port), _Challenged)
        self._server.responder = self
        self._thread = threading.Thread(target=self._server.serve_forever, name="responder", daemon=True)
        self._thread.start()

    def body(self, name: str, path: str) -> str:
        """The answer to a request."""
        self.asked.append(name)
        time.sleep(self.delay)
        return (
            "something else" if name.startswith("wrong") else f"{path.rpartition('/')[2]}.{self.thumbprint}"
        )

    def stop(self) -> None:
        """Stop, and wait until it is done."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Crowd(ThreadingHTTPServer):
    responder: Responder
    request_queue_size = 1024
    daemon_threads = True
    block_on_close = False


class _Challenged(BaseHTTPRequestHandler):
    server: _Crowd

    def do_GET(self) -> None:
        name = self.headers["Host"].partition(":")[0]
        body = self.server.responder.body(name, self.path).encode("ascii")
        with suppress(OSError):  # the server was killed meanwhile
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class ChallengeServer(RunningServer):
    """A server whose first profile is in challenge mode, and that dials the ports and asks the resolver given."""

    def __init__(self, directory: Path, resolver: str, settings: Mapping[str, str] | None = None) -> None:
        self.http_port, self.tls_port = free_port(), free_port()
        self.profile = PROFILE
        super().__init__(
            directory,
            {
                "CERTCTL_ACME_SERVER_ENABLED": "true",
                "CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID": PROFILE,
                "CERTCTL_ACME_SERVER_DEFAULT_AUTH_MODE": "challenge",
                "CERTCTL_ACME_SERVER_HTTP01_PORT": str(self.http_port),
                "CERTCTL_ACME_SERVER_TLSALPN01_PORT": str(self.tls_port),
                "CERTCTL_ACME_SERVER_DNS01_RESOLVER": resolver,
                "CERTCTL_ACME_SERVER_EGRESS_ALLOW": f"{HOST}/32",
                "CERTCTL_LOG_FORMAT": "text",
                **_unlimited(),
                **(settings or {}),
            },
        )

    @property
    def directory_url(self) -> str:
        """Where clients of ``profile`` begin."""
        return f"{self.url}/acme/profile/{self.profile}/directory"

    def execute(self, sql: str, *parameters: Any) -> int:
        """Change the database beside the running server, as an operator would; return how many rows changed."""
        with closing(sqlite3.connect(self.state / "certctl.sqlite", timeout=20)) as connection:
            changed = connection.execute(sql, parameters).rowcount
            connection.commit()
        return changed

    def set_mode(self, mode: str, profile: str = PROFILE) -> None:
        """Flip a profile's mode."""
        sql = "UPDATE certificate_profiles SET acme_auth_mode = ? WHERE id = ?"
        assert self.execute(sql, mode, profile) == 1

    def set_policy(self, policy: str, profile: str = PROFILE) -> None:
        """Give a profile another policy (JSON)."""
        assert self.execute("UPDATE certificate_profiles SET policy = ? WHERE id = ?", policy, profile) == 1

    def add_profile(self, id: str, mode: str) -> None:
        """Add a profile that is like the first one but for id and mode."""
        self.execute(
            "INSERT INTO certificate_profiles (id, name, issuer_id, enabled, acme_auth_mode, max_ttl_seconds,"
            " policy, created_at, updated_at) SELECT ?, ?, issuer_id, enabled, ?, max_ttl_seconds, policy,"
            " created_at, updated_at FROM certificate_profiles WHERE id = ?",
            id,
            id,
            mode,
            PROFILE,
        )


def _unlimited() -> Mapping[str, str]:
    """Rate limits have tests of their own."""
    limits = (
        "ORDERS_PER_HOUR",
        "CONCURRENT_ORDERS",
        "CHALLENGE_RESPONDS_PER_HOUR",
        "NETWORK_ACCOUNTS_PER_HOUR",
    )
    return {f"CERTCTL_ACME_SERVER_RATE_LIMIT_{each}": "0" for each in limits}


class ChallengeTestCase(ServerTestCase):
    """A test with a server in challenge mode, and a resolver that it asks."""

    def resolve(self, answer: Answer = addresses) -> Resolver:
        """Start a resolver that ends with the test."""
        resolver = Resolver(self.path(), answer)
        self.addCleanup(resolver.stop)
        return resolver

    def challenging(
        self, settings: Mapping[str, str] | None = None, answer: Answer = addresses
    ) -> ChallengeServer:
        """Start a server that ends with the test; ``self.resolver`` is what it asks."""
        self.resolver = self.resolve(answer)
        server = ChallengeServer(self.path(), self.resolver.address, settings)
        self.addCleanup(server.end)
        server.start()
        return server

    def web(self, server: ChallengeServer) -> Web:
        """Start a web server where the server looks for answers to http-01."""
        web = Web(self.path(), server.http_port)
        self.addCleanup(web.stop)
        return web

    def respond(self, server: ChallengeServer, thumbprint: str, delay: float = 0.0) -> Responder:
        """Start a responder where the server looks for answers to http-01."""
        responder = Responder(server.http_port, thumbprint, delay)
        self.addCleanup(responder.stop)
        return responder


@attrs.frozen
class Pending:
    """An order for one name, and the URLs of its authorization and of one challenge."""

    name: str
    order: str
    finalize: str
    authorization: str
    challenge: str


def pending(session: Session, name: str, type: str = "http-01") -> Pending:
    """Make an order for one name, and find its challenge."""
    made = session.order(name)
    (url,) = made.json["authorizations"]
    challenges = session.post(url, None).json["challenges"]
    challenge = next(each["url"] for each in challenges if each["type"] == type)
    return Pending(name, made.location, made.json["finalize"], url, challenge)


def until(what: str, there: Callable[[], object], within: float = 60.0) -> None:
    """Return when ``there`` says so; raise AssertionError if it never does."""
    deadline = time.monotonic() + within
    while not there():
        if time.monotonic() > deadline:
            raise AssertionError(f"not {what} within {within:g} s")
        time.sleep(0.05)


def names_said(text: str) -> list[str]:
    """The names and addresses in what openssl says of a certificate, in order."""
    return sorted(re.findall(r"(?:DNS|IP Address):([^,\s]+)", text))
