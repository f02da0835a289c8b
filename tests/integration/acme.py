"""An ACME client of the tests' own over real connections: what a session received is all that it remembers."""

from __future__ import annotations

import base64
import json
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.acme_client import Signer, make_csr
from tests.integration.server import PROFILE, RunningServer
from tests.unit.web.wire import Response

JOSE = {"Content-Type": "application/jose+json"}


class Refused(Exception):
    """The server answered with a problem."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status}: {response.body!r}")
        self.response = response


class Session:
    """An account, over one kept-alive connection that is opened again when it breaks."""

    def __init__(self, server: RunningServer, signer: Signer | None = None) -> None:
        self.server = server
        self.signer = signer or Signer.generate("ES256")
        self.kid: str | None = None
        self.nonce: str | None = None
        self.spent: list[str] = []  # nonces of requests that were answered, and not with badNonce
        self._connection: HTTPSConnection | None = None

    def url(self, name: str) -> str:
        """The URL of a resource of the default profile."""
        return name if name.startswith("https:") else f"{self.server.url}/acme/profile/{PROFILE}/{name}"

    def request(self, method: str, url: str, body: bytes = b"", headers: Any = None) -> Response:
        """Send one request; a connection that breaks is forgotten, and the error passed on."""
        if self._connection is None:
            self._connection = self.server.connect()
        try:
            self._connection.request(method, urlsplit(url).path, body or None, headers or {})
            received = self._connection.getresponse()
            answer = Response(received.status, received.getheaders(), received.read())
        except BaseException:
            self.close()
            raise
        if received.will_close:
            self.close()
        return answer

    @property
    def connection_id(self) -> tuple[object, ...]:
        """What tells this connection from another: the client's address and port."""
        assert self._connection is not None and self._connection.sock is not None
        return tuple(self._connection.sock.getsockname())

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def fresh_nonce(self) -> str:
        """The nonce of the last answer, or a new one."""
        nonce, self.nonce = self.nonce, None
        return nonce or self.request("HEAD", self.url("new-nonce")).nonce

    def send(self, name: str, payload: object, *, nonce: str | None = None) -> Response:
        """Send one signed request, and return whatever the answer is."""
        url, nonce = self.url(name), nonce or self.fresh_nonce()
        answer = self.request("POST", url, self.signer.sign(url, payload, nonce, self.kid), JOSE)
        self.nonce = answer.nonce
        if answer.error != "badNonce":
            self.spent.append(nonce)
        return answer

    def post(self, name: str, payload: object) -> Response:
        """Send one signed request; raise Refused if the answer is a problem."""
        answer = self.send(name, payload)
        if answer.status >= 400:
            raise Refused(answer)
        return answer

    def register(self) -> str:
        """Make the account, or find it; return its URL."""
        self.kid = None
        self.kid = self.post("new-account", {"termsOfServiceAgreed": True}).location
        return self.kid

    def order(self, *names: str) -> Response:
        """Make an order for DNS names."""
        return self.post("new-order", {"identifiers": [{"type": "dns", "value": name} for name in names]})

    def finalize(self, url: str, *names: str) -> Response:
        """Finalize an order with a new key."""
        return self.post(url, {"csr": csr(*names)})

    def certificate(self, *names: str) -> bytes:
        """Go all the way; return the chain in PEM."""
        order = self.order(*names)
        valid = self.finalize(order.json["finalize"], *names)
        return self.post(valid.json["certificate"], None).body


def csr(*names: str) -> str:
    """A CSR with a new key, as finalize takes it."""
    _, der = make_csr(names, ec.generate_private_key(ec.SECP256R1()))
    return base64.urlsafe_b64encode(der).decode("ascii").rstrip("=")


def serial_of(pem: bytes) -> str:
    """The serial of a chain's leaf, as the database has it."""
    return f"{x509.load_pem_x509_certificate(pem).serial_number:x}"


def details(text: str) -> dict[str, Any]:
    """An audit row's details."""
    found: dict[str, Any] = json.loads(text)
    return found
