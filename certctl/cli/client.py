"""Speaks to the server: the REST API over treq, with a TLS that is always verified."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

import attrs
from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet import error
from twisted.internet._sslverify import (
    IOpenSSLTrustRoot,
)  # the type of the public trustRoot has no public name
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import platformTrust
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, ResponseFailed, ResponseNeverReceived
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from certctl import __version__
from certctl.cli.access import Access
from certctl.cli.failures import Exit, Failure, refused

USER_AGENT = f"certctl-cli/{__version__}"
SECONDS = 30.0  # for an answer
CONNECT_SECONDS = 10.0
PER_PAGE = 500  # the most that the API gives at once


@attrs.frozen
class Answer:
    """An answer, whatever it is."""

    status: int
    headers: Mapping[str, str]  # by their names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON; raises Failure if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Failure(
                f"The answer (status {self.status}) is not JSON: is the URL that of a certctl server?",
                Exit.UNREACHABLE,
            ) from None


class Http(Protocol):
    """Sends a request to a URL of the server."""

    async def __call__(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Return the answer; raise Failure if there is none."""


@implementer(IOpenSSLTrustRoot)
@attrs.frozen
class Anchors:
    """Certificates that are trusted: roots, and as well others, such as an issuing CA whose root is not at hand."""

    _certificates: Sequence[x509.Certificate]

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        store = context.get_cert_store()
        assert store is not None
        for each in self._certificates:
            store.add_cert(crypto.X509.from_cryptography(each))
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)


@implementer(IAgentEndpointFactory)
@attrs.frozen
class Here:
    """Dials the server on this host, and holds its certificate against the name in the URL."""

    _reactor: Any
    _policy: BrowserLikePolicyForHTTPS
    _where: tuple[str, int]

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        creator = self._policy.creatorForNetloc(uri.host, uri.port)
        dialled = HostnameEndpoint(self._reactor, *self._where, timeout=CONNECT_SECONDS)
        return wrapClientTLS(creator, dialled)


@attrs.frozen
class Https:
    """Sends requests over TLS that is verified."""

    _http: HTTPClient
    _where: str

    @classmethod
    def to(cls, reactor: Any, access: Access) -> Https:
        """A way to the server, for whom the anchors vouch, or those of the operating system."""
        trust = platformTrust() if access.anchors is None else Anchors(access.anchors)
        policy = BrowserLikePolicyForHTTPS(trustRoot=trust)
        if access.dial is None:
            return cls(HTTPClient(Agent(reactor, policy, connectTimeout=CONNECT_SECONDS)), access.url)
        here = Here(reactor, policy, access.dial)
        return cls(HTTPClient(Agent.usingEndpointFactory(reactor, here)), access.url)

    async def __call__(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        sent: dict[bytes | str, bytes | str] = {"User-Agent": USER_AGENT}
        sent.update(headers.items())
        try:
            response = await self._http.request(
                method, url, data=body, headers=sent, timeout=SECONDS, allow_redirects=False
            )
            content = await response.content()
        except Exception as failure:
            raise unreachable(self._where, failure) from None
        received = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1")
            for name, values in response.headers.getAllRawHeaders()
        }
        return Answer(response.code, received, content)


def unreachable(where: str, failure: BaseException) -> Failure:
    """What it means that there was no answer."""
    causes = list(_causes(failure))
    for cause in causes:
        if isinstance(cause, VerificationError):
            return Failure(
                f"The certificate of {where} is for another name: give --server a name that the certificate has, or"
                " add this one to CERTCTL_SERVER_TLS_NAMES.",
                Exit.UNREACHABLE,
            )
        if isinstance(cause, SSL.Error):
            return _not_trusted(where, cause)
    words = "no answer in time" if any(isinstance(each, CancelledError) for each in causes) else ""
    last = causes[-1] if causes else failure
    if isinstance(last, error.ConnectError):
        words = {
            error.ConnectionRefusedError: "connection refused",
            error.TimeoutError: "no answer in time",
        }.get(type(last), "")
    if isinstance(last, error.DNSLookupError):
        words = "its name is unknown"
    words = words or " ".join(str(last).split()) or type(last).__name__
    return Failure(
        f"No server answers at {where} ({words.rstrip('.')}): start it, or give the right --server.",
        Exit.UNREACHABLE,
    )


def _not_trusted(where: str, cause: SSL.Error) -> Failure:
    reasons = [str(each[2]) for each in (cause.args[0] if cause.args else ()) if isinstance(each, tuple)]
    if "certificate verify failed" not in reasons:
        words = reasons[0] if reasons else "the handshake failed"
        return Failure(f"TLS with {where} failed ({words}): is it a certctl server?", Exit.UNREACHABLE)
    return Failure(
        f"The certificate of {where} is not trusted: give --ca (or CERTCTL_CA_BUNDLE) the file of the server's root,"
        " root-ca.pem in its state directory. If that is the one, the certificate has expired or is another server's.",
        Exit.UNREACHABLE,
    )


def _causes(failure: BaseException) -> list[BaseException]:
    """A failure and those it is made of, the innermost last."""
    if isinstance(failure, ResponseFailed | ResponseNeverReceived):
        return [failure, *(inner for each in failure.reasons for inner in _causes(each.value))]
    return [failure]


@attrs.frozen
class Api:
    """The REST API of a server, as the holder of a key."""

    access: Access
    http: Http

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        if_match: str | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Send a request; return the answer if it is a success, else raise Failure. None in a query is left out."""
        headers = {"Authorization": f"Bearer {self.access.key}", "Accept": "application/json"}
        if if_match is not None:
            headers["If-Match"] = if_match
        octets = None
        if body is not None:
            octets = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        answer = await self.http(method, f"{self.access.url}/api/{path}{_query(query)}", octets, headers)
        if answer.status >= 300:
            raise _refusal(answer)
        return answer

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON that a path has."""
        return (await self.call("GET", path, query=query)).json

    async def each(self, path: str, most: int | None = None, **query: Any) -> AsyncIterator[Any]:
        """The members of a list, page after page, at most so many."""
        per_page = PER_PAGE if most is None else max(1, min(most, PER_PAGE))
        place: dict[str, Any] = {}
        seen = 0
        while True:
            found = await self.get(path, per_page=per_page, **place, **query)
            for each in found["data"]:
                if seen == most:
                    return
                seen += 1
                yield each
            if cursor := found.get("next_cursor"):
                place = {"cursor": cursor}
            elif "total" in found and found["page"] * found["per_page"] < found["total"]:
                place = {"page": found["page"] + 1}
            else:
                return
            if seen == most:
                return

    async def all(self, path: str, most: int | None = None, **query: Any) -> list[Any]:
        """The members of a list, at most so many."""
        return [each async for each in self.each(path, most, **query)]


def _query(query: Mapping[str, Any] | None) -> str:
    fields = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in (query or {}).items()
        if value is not None
    }
    return f"?{urlencode(fields)}" if fields else ""


def _refusal(answer: Answer) -> Failure:
    try:
        document = json.loads(answer.body)
        message, request_id = str(document["message"]), str(document.get("request_id", ""))
    except (ValueError, KeyError, TypeError):
        message, request_id = f"status {answer.status}, with no word of certctl's", ""
    return refused(answer.status, message, answer.headers.get("retry-after", ""), request_id)
