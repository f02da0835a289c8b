"""One ACME client: a connection, an account and its certificates, with the time of each step (RFC 8555)."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

from benchmarks.http import Connection, Response
from benchmarks.keys import AccountKey, Wanted, base64url

BAD_NONCE = "urn:ietf:params:acme:error:badNonce"
MAX_RETRIES = 10  # of one request that got badNonce; more is a broken server
FIRST_PAUSE = 0.01  # seconds between the first two polls; doubled each time, whatever Retry-After says
LONGEST_PAUSE = 0.5  # seconds
POST_AS_GET = b""  # RFC 8555 section 6.3


class FlowFailed(Exception):
    """The server refused a step, or an object went into a state that leads nowhere."""


class Client:
    """An ACME client that does one thing after the other.

    ``seconds`` holds the times of each step by its name, from making the request to the last byte of the
    answer, repetitions after badNonce included. ``counts`` holds what else happened.
    """

    def __init__(self, connection: Connection, directory: str, key: AccountKey, patience: float) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.counts: Counter[str] = Counter()
        self._connection = connection
        self._key = key
        self._patience = patience
        self._nonce = ""
        self._identity = f'"jwk":{json.dumps(key.jwk())}'
        self._urls: dict[str, Any] = json.loads(connection.request("GET", directory).body)

    def register(self) -> None:
        """Make the account; every later request names it (RFC 8555 section 7.3)."""
        response = self._post("newAccount", self._urls["newAccount"], b'{"termsOfServiceAgreed":true}')
        self._identity = f'"kid":{json.dumps(response.headers["location"])}'

    def issue(self, want: Wanted, challenge: str) -> bytes:
        """Take one certificate through all its steps, and return the chain as PEM.

        ``challenge`` is the type of challenge that a pending authorization is to be proved by.
        """
        began = time.perf_counter()
        order, url = self._new_order(want.names)
        if order["status"] == "pending":
            for authorization in order["authorizations"]:
                self._prove(authorization, challenge)
            order = self._poll("order", url, ("pending",), ("ready",))
        order = json.loads(self._post("finalize", order["finalize"], want.finalize).body)
        if order["status"] != "valid":
            order = self._poll("order", url, ("ready", "processing"), ("valid",))
        chain = self._post("certificate", order["certificate"], POST_AS_GET).body
        self.seconds["all steps"].append(time.perf_counter() - began)
        return chain

    def forget_times(self) -> None:
        """Start counting anew: what came before was warming up."""
        self.seconds.clear()
        self.counts.clear()

    def _new_order(self, names: Sequence[str]) -> tuple[dict[str, Any], str]:
        identifiers = [{"type": "dns", "value": name} for name in names]
        payload = json.dumps({"identifiers": identifiers}).encode("ascii")
        response = self._post("newOrder", self._urls["newOrder"], payload)
        return json.loads(response.body), response.headers["location"]

    def _prove(self, url: str, challenge_type: str) -> None:
        """Have a pending authorization validated, and wait for the verdict (RFC 8555 section 7.5.1)."""
        authorization = json.loads(self._post("authorization", url, POST_AS_GET).body)
        if authorization["status"] == "valid":
            return
        for challenge in authorization["challenges"]:
            if challenge["type"] == challenge_type:
                self._post("challenge", challenge["url"], b"{}")
                break
        else:
            raise FlowFailed(f"no {challenge_type} challenge at {url}")
        self._poll("authorization", url, ("pending",), ("valid",))

    def _poll(self, step: str, url: str, waiting: Collection[str], done: Collection[str]) -> dict[str, Any]:
        """Ask for an object until its status is one of ``done``; raise FlowFailed if it cannot be."""
        pause, deadline = FIRST_PAUSE, time.monotonic() + self._patience
        while True:
            found: dict[str, Any] = json.loads(self._post(step, url, POST_AS_GET).body)
            if found["status"] in done:
                return found
            if found["status"] not in waiting or time.monotonic() > deadline:
                raise FlowFailed(f"{url} is {found['status']}: {json.dumps(found)[:500]}")
            self.counts["polls in vain"] += 1
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _post(self, step: str, url: str, payload: bytes) -> Response:
        """Send a signed request, again if its nonce was refused (RFC 8555 section 6.5), and note the time."""
        began = time.perf_counter()
        response = self._send(url, payload)
        for _ in range(MAX_RETRIES):
            if response.status != 400 or json.loads(response.body).get("type") != BAD_NONCE:
                break
            self.counts["badNonce"] += 1
            response = self._send(url, payload)
        self.seconds[step].append(time.perf_counter() - began)
        self.counts["requests"] += 1
        if response.status >= 300:
            raise FlowFailed(f"{step} at {url}: {response.status} {response.body[:500]!r}")
        return response

    def _send(self, url: str, payload: bytes) -> Response:
        if not self._nonce:
            self._nonce = self._new_nonce()
        body = jws(self._key.algorithm, self._identity, self._nonce, url, payload, self._key.sign)
        response = self._connection.request("POST", url, body)
        self._nonce = response.headers.get("replay-nonce", "")
        return response

    def _new_nonce(self) -> str:
        self.counts["newNonce"] += 1
        return self._connection.request("HEAD", self._urls["newNonce"]).headers["replay-nonce"]


def jws(
    algorithm: str, identity: str, nonce: str, url: str, payload: bytes, sign: Callable[[bytes], bytes]
) -> bytes:
    """Return a flattened JWS (RFC 8555 section 6.2); ``identity`` is the ``jwk`` or ``kid`` member."""
    header = f'{{"alg":"{algorithm}",{identity},"nonce":"{nonce}","url":"{url}"}}'
    protected, content = base64url(header.encode("ascii")), base64url(payload)
    signature = base64url(sign(f"{protected}.{content}".encode("ascii")))
    return f'{{"protected":"{protected}","payload":"{content}","signature":"{signature}"}}'.encode("ascii")
