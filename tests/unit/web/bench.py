"""The server on a bench: real parts, joined around a clock, a database in memory and a wire that is none."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import attrs
from cryptography import x509
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.objects import ChallengeType, Profile
from certctl.assembly import assemble
from certctl.issuance.issuer import Issued as Signed
from certctl.issuance.issuer import Issuer, Keyring, Template
from certctl.issuance.local import LocalCA
from certctl.sealing import Seal
from certctl.settings import Settings
from certctl.start import seed
from certctl.storage import profiles
from certctl.storage.database import Database, Query, Statement
from certctl.storage.sqlite import MEMORY, SqliteDatabase
from certctl.validation.attempt import Attempt, Evidence, Validator
from certctl.web.site import BoundedSite
from tests.acme_client import Signer, b64, make_csr
from tests.unit.web.wire import PROBLEM, Exchange, Response

T = TypeVar("T")
NOW = datetime(2026, 5, 17, 12, 0, tzinfo=UTC)
ORIGIN = "https://acme.example"
DEFAULT = "prof-default"
ISSUER = "iss-internal-ca"
_INDEXED = re.compile(r"/acme/profile/[\w.~-]+/", re.ASCII)
JOSE = {"Content-Type": "application/jose+json"}


@cache
def authority() -> LocalCA:
    """Return the one CA that the tests of a process share: making one takes time."""
    with tempfile.TemporaryDirectory() as directory:
        return LocalCA.open(
            Path(directory), common_name="bench issuing CA", root_common_name="bench root CA", now=NOW
        )


class FarIssuer:
    """The CA of the bench as if it were across a network: it signs when it is told."""

    at_once = True

    def __init__(self) -> None:
        self.id, self.expires_at = ISSUER, authority().expires_at
        self.chain, self.root = authority().chain, authority().root
        self.waiting: list[Deferred[None]] = []

    async def sign(self, template: Template, request_id: str) -> Signed:
        told: Deferred[None] = Deferred()
        self.waiting.append(told)
        await told
        return authority().issue(template)

    async def withdraw(self, request_id: str) -> None:
        return None


class Told:
    """A validator, as the network would be: it answers when and what it is told."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.waiting: list[Deferred[Evidence]] = []

    async def validate(self, attempt: Attempt) -> Evidence:
        self.attempts.append(attempt)
        answer: Deferred[Evidence] = Deferred()
        self.waiting.append(answer)
        return await answer

    def succeed(self) -> None:
        """Let the oldest attempt find what it looks for."""
        self.waiting.pop(0).callback(Evidence("192.0.2.7", None, '"what was seen"'))

    def fail(self, error: Exception) -> None:
        """Let the oldest attempt end with an error."""
        self.waiting.pop(0).errback(error)


@attrs.define
class Validators:
    """One validator for each challenge type."""

    http01: Told = attrs.field(factory=Told)
    dns01: Told = attrs.field(factory=Told)
    tlsalpn01: Told = attrs.field(factory=Told)

    @property
    def table(self) -> Mapping[ChallengeType, Validator]:
        """What the server is joined with."""
        return {
            ChallengeType.HTTP01: self.http01,
            ChallengeType.DNS01: self.dns01,
            ChallengeType.TLSALPN01: self.tlsalpn01,
        }


# Off, unless a test is about them.
RATE_LIMITS = (
    "ORDERS_PER_HOUR",
    "CONCURRENT_ORDERS",
    "KEY_CHANGE_PER_HOUR",
    "CHALLENGE_RESPONDS_PER_HOUR",
    "NETWORK_ACCOUNTS_PER_HOUR",
)


class Bench:
    """A server. Settings are given by their names without ``CERTCTL_``, in lower case."""

    def __init__(
        self,
        case: SynchronousTestCase,
        settings: Mapping[str, str] | None = None,
        *,
        database: Database | None = None,
        issuer: Issuer | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        self.case = case
        self.peer = "192.0.2.1"  # the address from which requests come
        self.clock = Clock()
        self.clock.advance(NOW.timestamp())
        self.database = database or SqliteDatabase(MEMORY)
        self.validators = Validators()
        environment = {"CERTCTL_ACME_SERVER_ENABLED": "true", "CERTCTL_STATE_DIR": os.devnull}
        environment |= {"CERTCTL_ACME_SERVER_POLL_HOLD": "0s"}
        environment |= {f"CERTCTL_ACME_SERVER_RATE_LIMIT_{name}": "0" for name in RATE_LIMITS}
        environment |= {f"CERTCTL_{name.upper()}": value for name, value in (settings or {}).items()}
        self.settings = Settings.load(environment)
        self.parts = assemble(
            self.settings,
            self.database,
            {ISSUER: issuer or authority()},
            self.clock,
            lambda name: name in ("acme.example", "other.example", "[2001:db8::1]"),
            self.validators.table,
            seal=Seal(bytes(32)),
            keyring=keyring,
        )
        self.site = BoundedSite(self.parts.resource, self.clock, self.parts.shortcut)
        mode = self.settings.acme_server_default_auth_mode
        self.result(seed(self.database, self.parts.trail, authority(), mode))

    @property
    def now(self) -> datetime:
        """The time on the bench."""
        return datetime.fromtimestamp(self.clock.seconds(), UTC)

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns that waits for nothing outside the bench."""
        return self.case.successResultOf(Deferred.fromCoroutine(work))

    def pass_by(self, **span: float) -> None:
        """Let time pass, second by second where something waits for it."""
        end = self.clock.seconds() + timedelta(**span).total_seconds()
        while (calls := self.clock.getDelayedCalls()) and min(call.getTime() for call in calls) <= end:
            self.clock.advance(max(0.0, min(call.getTime() for call in calls) - self.clock.seconds()))
        self.clock.advance(end - self.clock.seconds())

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return what an operator sees who asks the database."""
        return self.result(self.database.read(Query(sql, parameters, lambda rows: rows)))

    def value(self, sql: str, *parameters: object) -> Any:
        """Return the one value that a query finds."""
        ((found,),) = self.rows(sql, *parameters)
        return found

    def execute(self, sql: str, *parameters: object) -> None:
        """Change the database by hand, as an operator may."""
        self.result(self.database.write(Statement(sql, parameters)))

    def add_profile(self, id: str, **members: Any) -> None:
        """Add a profile beside the one that a server starts with."""
        values = {"name": id, "issuer_id": ISSUER, "max_ttl_seconds": 7_776_000, **members}
        self.result(self.database.write(profiles.insert(Profile(id=id, **values), self.now)))

    def sweep(self) -> int:
        """Let the sweeper sweep once."""
        return self.result(self.parts.sweeper.sweep())

    def begin(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Exchange:
        """Send a request whose answer may take its time; a URL without an origin is this server's."""
        url = url if "://" in url else ORIGIN + url
        return Exchange(self.site, method, url, body, headers or {}, self.peer)

    def request(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request and return its answer, which must be what every answer is."""
        response = self.begin(method, url, body, headers).response
        self.check(method, url, response)
        return response

    def get(self, url: str) -> Response:
        """Send a GET."""
        return self.request("GET", url)

    def check(self, method: str, url: str, response: Response) -> None:
        """Hold an answer of the ACME surface against what RFC 8555 says of all answers."""
        case = self.case
        if "/acme/" not in url or not self.settings.acme_server_enabled:
            return
        if (
            method == "POST"
        ):  # section 6.5: "in every successful response to a POST request and SHOULD [..] errors"
            case.assertRegex(response.nonce, r"\A[A-Za-z0-9_-]{43}\Z")
        elif "new-nonce" not in url:
            case.assertFalse(response.has("Replay-Nonce"), "a GET needs no nonce")
        case.assertEqual(response.one("Cache-Control"), "no-store")
        if _INDEXED.search(url) and response.status != 421:  # section 7.1
            index = response.links("index")
            case.assertEqual(len(index), 1, response.headers)
            case.assertTrue(index[0].endswith("/directory"))
        if response.status >= 400 and method != "HEAD":  # section 6.7
            case.assertEqual(response.one("Content-Type"), PROBLEM)
            case.assertEqual(response.json["status"], response.status)
            case.assertTrue(response.json["detail"])
        if response.has("Content-Type") and "json" in response.one("Content-Type") and response.body:
            self._check_members(response.json)

    def _check_members(self, value: object) -> None:
        self.case.assertIsNotNone(value, "a member that has no value is left out")
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            self._check_members(each)

    def client(self, profile: str = DEFAULT, signer: Signer | None = None) -> Client:
        """Return a client that has no account yet."""
        return Client(self, profile, signer or Signer.generate("ES256"))

    def account(self, profile: str = DEFAULT, **payload: object) -> Client:
        """Return a client with an account."""
        client = self.client(profile)
        self.case.assertEqual(client.register(**payload).status, 201)
        return client


class Client:
    """An ACME client: it signs, keeps its nonces, and knows its account's URL."""

    def __init__(self, bench: Bench, profile: str, signer: Signer) -> None:
        self.bench = bench
        self.base = f"{ORIGIN}/acme/profile/{profile}"
        self.signer = signer
        self.kid: str | None = None
        self._nonces: list[tuple[str, float]] = []

    @property
    def nonce(self) -> str:
        """A nonce that was not used yet."""
        young = self.bench.clock.seconds() - 60
        while self._nonces:
            nonce, came = self._nonces.pop()
            if came >= young:
                return nonce
        return self.bench.get(f"{self.base}/new-nonce").nonce

    def url(self, path: str) -> str:
        """Return the URL of a path below the client's profile; a URL stays what it is."""
        return path if "://" in path else f"{self.base}/{path}"

    def post(self, url: str, payload: object, **changes: Any) -> Response:
        """Send a signed request by the account, or with the key if there is none yet."""
        url = self.url(url)
        headers = {**JOSE, **changes.pop("headers", {})}
        response = self.bench.request("POST", url, self.signed(url, payload, **changes), headers)
        self._nonces.append((response.nonce, self.bench.clock.seconds()))
        return response

    def signed(self, url: str, payload: object, **changes: Any) -> bytes:
        """Return the body of a request; ``kid``, ``nonce``, ``signer`` and the ``url`` signed may be changed."""
        signer = changes.get("signer", self.signer)
        if "nonce" not in changes:
            changes["nonce"] = self.nonce
        kid = changes.get("kid", self.kid)
        return bytes(signer.sign(changes.get("signed_url", self.url(url)), payload, changes["nonce"], kid))

    def read(self, url: str) -> Response:
        """Send a POST-as-GET."""
        return self.post(url, None)

    def see(self, url: str) -> Any:
        """Return the document that a POST-as-GET finds."""
        response = self.read(url)
        self.bench.case.assertEqual(response.status, 200, response.body)
        return response.json

    def register(self, **payload: object) -> Response:
        """Make an account, or find it."""
        response = self.post("new-account", payload, kid=None)
        if response.has("Location"):
            self.kid = response.location
        return response

    @property
    def id(self) -> str:
        """The account's id."""
        assert self.kid is not None
        return self.kid.rpartition("/")[2]

    def try_order(self, *names: str, **members: object) -> Response:
        """Ask for an order, whatever comes of it."""
        identifiers = [{"type": _type(name), "value": name} for name in names]
        return self.post("new-order", {"identifiers": identifiers, **members})

    def order(self, *names: str, **members: object) -> Response:
        """Make an order."""
        response = self.try_order(*names, **members)
        self.bench.case.assertEqual(response.status, 201, response.body)
        return response

    def finalize(self, order: Response, csr: bytes) -> Response:
        """Ask for the certificate of an order."""
        return self.post(order.json["finalize"], {"csr": b64(csr)})

    def issue(self, *names: str, key: Any = None) -> Issued:
        """Get a certificate, all the way."""
        return self.complete(self.order(*names), *names, key=key)

    def complete(self, order: Response, *names: str, key: Any = None) -> Issued:
        """Get the certificate of an order that is ready."""
        key, csr = make_csr(names, key=key)
        finalized = self.finalize(order, csr)
        self.bench.case.assertEqual(finalized.status, 200, finalized.body)
        url = finalized.json["certificate"]
        chain = x509.load_pem_x509_certificates(self.read(url).body)
        return Issued(order=order, url=url, key=key, csr=csr, chain=chain)

    def respond(self, challenge: Mapping[str, Any]) -> Response:
        """Say that a challenge is ready to be validated."""
        return self.post(challenge["url"], {})

    def challenges(self, authorization: str) -> dict[str, Any]:
        """Return the challenges of an authorization by their type."""
        return {each["type"]: each for each in self.see(authorization)["challenges"]}

    def prove(self, *names: str) -> Response:
        """Make an order and prove control of its names, by dns-01 where there is that."""
        order = self.order(*names)
        for url in order.json["authorizations"]:
            challenges = self.challenges(url)
            self.respond(challenges.get("dns-01") or challenges["http-01"])
            told = self.bench.validators.dns01 if "dns-01" in challenges else self.bench.validators.http01
            told.succeed()
        return order

    def revoke(self, der: bytes, **members: object) -> Response:
        """Ask for a revocation as an account."""
        return self.post("revoke-cert", {"certificate": b64(der), **members})


@attrs.frozen(kw_only=True)
class Issued:
    """A certificate, and how it came about."""

    order: Response
    url: str
    key: Any
    csr: bytes
    chain: list[x509.Certificate]

    @property
    def der(self) -> bytes:
        """The certificate itself."""
        from cryptography.hazmat.primitives.serialization import Encoding

        return self.chain[0].public_bytes(Encoding.DER)


def _type(name: str) -> str:
    return "ip" if ":" in name or name.replace(".", "").isdigit() else "dns"


class BenchCase(SynchronousTestCase):
    """A server, and tests of it."""

    def setUp(self) -> None:
        self.bench = self.served()

    def served(self, **settings: str) -> Bench:
        """Return a server with these settings."""
        return Bench(self, settings)

    def assertProblem(self, response: Response, type: str, status: int) -> None:
        """Check what a refusal is."""
        self.assertEqual((response.error, response.status), (type, status), response.body)
