"""``/pki/<issuer-id>/...``: crl, ocsp and ca, each answered at once or from what is kept.

The paths are matched here and not by Klein: OCSP by GET has base64 in its path, with slashes that mean none, and an
answer should cost no more than it must.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any, Self
from urllib.parse import unquote_to_bytes

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request

from certctl.authority.certificate_status import CertificateStatus, Said
from certctl.authority.issuers import Issuers
from certctl.authority.revocation_lists import Published, RevocationLists, shards_allowed
from certctl.background import Background
from certctl.issuance.issuer import IssuerUnavailable, StatusSigner, StatusUrls
from certctl.issuance.ocsp import MAX_REQUEST, Error
from certctl.storage.database import Database, Unavailable
from certctl.web.answer import TEXT, Answer
from certctl.web.channel import Shortcut

PREFIX = b"/pki/"
CRL, OCSP, CERTIFICATE = "application/pkix-crl", "application/ocsp-response", "application/pkix-cert"
CRL_AGE = (
    60  # seconds for which caches may keep a list: so much later a revocation is seen by those behind them
)
OCSP_AGE = 300
CERTIFICATE_AGE = 86_400
_PATH = re.compile(rb"/pki/([A-Za-z0-9._-]{1,64})/(crl|ocsp|ca)(?:/(.*))?", re.DOTALL)
_SHARD = re.compile(rb"([1-9][0-9]{0,2})/(0|[1-9][0-9]{0,2})")


@attrs.frozen
class Publication:
    """What there is to tell of an issuer."""

    signer: StatusSigner
    lists: RevocationLists
    status: CertificateStatus

    @classmethod
    def of(
        cls,
        issuer_id: str,
        signer: StatusSigner,
        urls: StatusUrls | None,
        database: Database,
        reactor: Any,
        *,
        crl_lifetime: timedelta,
        ocsp_lifetime: timedelta,
    ) -> Self:
        """Return an issuer's CRLs and OCSP answers; ``urls`` are those that its certificates have."""
        lists = RevocationLists(issuer_id, signer, urls, database, reactor, crl_lifetime)
        status = CertificateStatus(issuer_id, signer, lists, database, reactor, ocsp_lifetime)
        return cls(signer, lists, status)


class PkiSite:
    """Answers requests below ``/pki/``."""

    _log = Logger(namespace="certctl")

    def __init__(
        self,
        issuers: Issuers,
        publish: Callable[[str, StatusSigner], Publication],
        background: Background,
        reactor: Any,
    ) -> None:
        self._issuers = issuers
        self._publish = publish
        self._publications: dict[str, Publication] = {}
        self._background = background
        self._reactor = reactor

    async def lists(self, issuer_id: str) -> RevocationLists | None:
        """The CRLs of an issuer; None if there is none of that id. Raises IssuerUnavailable."""
        found = await self._publication(issuer_id)
        return None if found is None else found.lists

    def shortcut(self, request: Request) -> Answer | Deferred[Answer] | None:
        """Serve a request below ``/pki/``; None for any other."""
        if not request.path.startswith(PREFIX):
            return None
        return self._background.run_now(self._serve(request))

    def before(self, other: Shortcut | None) -> Shortcut:
        """Return a shortcut for what is below ``/pki/``, and for what another one serves."""

        def shortcut(request: Request) -> Answer | Deferred[Answer] | None:
            if request.path.startswith(PREFIX):
                return self.shortcut(request)
            return None if other is None else other(request)

        return shortcut

    async def warm(self) -> None:
        """Read the revocations, so that the first who asks need not wait for it."""
        for id in list(self._issuers.all):
            try:
                if (each := await self._publication(id)) is not None:
                    await each.lists.fresh()
            except IssuerUnavailable:  # said where the issuer was looked for
                continue
            except Unavailable as error:  # asked again with the first request
                self._log.warn("the revocations cannot be read yet", why=str(error))

    async def _publication(self, id: str) -> Publication | None:
        """What there is to tell of an issuer; None if there is none of that id. Raises IssuerUnavailable."""
        signer = await self._issuers.signer(id)
        if signer is None:
            return None
        found = self._publications.get(id)
        if found is None or found.signer is not signer:
            found = self._publications[id] = self._publish(id, signer)
        return found

    async def _serve(self, request: Request) -> Answer:
        try:
            answer = await self._answer(request)
        except (Unavailable, IssuerUnavailable) as error:
            self._log.error("no CRL can be given", why=str(error))
            answer = _words(503, "try again later", {"Retry-After": "10"})
        except Exception:
            self._log.failure("a request below /pki/ failed")
            answer = _words(500, "something went wrong here")
        return answer

    async def _answer(self, request: Request) -> Answer:
        match = _PATH.fullmatch(request.path)
        publication = None if match is None else await self._publication(match[1].decode("ascii"))
        if match is None or publication is None:
            return _words(404, "there is no such resource")
        kind, rest = match[2], match[3]
        reading = request.method in (b"GET", b"HEAD")
        if kind == b"ocsp":
            return await self._ocsp(request, publication, rest)
        if not reading:
            return _words(405, "this is read by GET", {"Allow": "GET, HEAD"})
        if kind == b"crl":
            return await self._crl(request, publication, rest)
        if rest is not None:
            return _words(404, "there is no such resource")
        return self._certificate(request, publication)

    async def _crl(self, request: Request, publication: Publication, rest: bytes | None) -> Answer:
        shards, index = 1, 0
        if rest is not None:
            shard = _SHARD.fullmatch(rest)
            shards, index = (int(shard[1]), int(shard[2])) if shard else (0, 0)
            if shards == 1 or not shards_allowed(shards, index):
                return _words(404, "there is no such list")
        crl: Published = await publication.lists.get(shards, index)
        headers = {
            "ETag": f'W/"{crl.number:x}"',  # of the same number are the same entries, under another signature maybe
            "Last-Modified": _date(crl.this_update),
            "Expires": _date(crl.next_update),
            "Cache-Control": f"public, max-age={CRL_AGE}, no-transform",
        }
        return _conditional(request, crl.der, CRL, headers)

    def _certificate(self, request: Request, publication: Publication) -> Answer:
        der = publication.signer.certificate
        headers = {
            "ETag": f'"{hashlib.sha256(der).hexdigest()[:32]}"',
            "Cache-Control": f"public, max-age={CERTIFICATE_AGE}, no-transform",
        }
        return _conditional(request, der, CERTIFICATE, headers)

    async def _ocsp(self, request: Request, publication: Publication, rest: bytes | None) -> Answer:
        if request.method == b"POST" and rest in (None, b""):
            if getattr(request, "too_large", False):
                return _words(413, f"an OCSP request has {MAX_REQUEST} octets at most")
            assert request.content is not None
            octets = request.content.read(MAX_REQUEST + 1)
        elif request.method in (b"GET", b"HEAD") and rest:
            if (decoded := _decoded(rest)) is None:
                return _said(Said(Error.MALFORMED_REQUEST.der), self._now(), b"POST")
            octets = decoded
        else:
            return _words(
                405, "OCSP asks by POST, or by GET with the request in the path", {"Allow": "GET, POST"}
            )
        said = await publication.status.answer(octets)
        return _said(said, self._now(), request.method)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._reactor.seconds(), UTC)


class Nothing(Resource):
    """What the plain listener has outside ``/pki/``."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        """Answer 404, whatever was asked."""
        return _words(404, "there is no such resource").send(request)


def _said(said: Said, now: datetime, method: bytes) -> Answer:
    """An OCSP response with what caches may do with it (RFC 5019 section 6.2)."""
    if said.this_update is None or said.next_update is None or method == b"POST":
        headers = {"Cache-Control": "no-store"}
    else:
        age = min(OCSP_AGE, int((said.next_update - now).total_seconds()))
        headers = {
            "ETag": f'"{hashlib.sha256(said.der).hexdigest()}"',
            "Last-Modified": _date(said.this_update),
            "Expires": _date(said.next_update),
            "Cache-Control": f"max-age={max(0, age)}, public, no-transform, must-revalidate",
        }
    return Answer(content_type=OCSP, body=said.der, headers=headers)


def _conditional(request: Request, body: bytes, content_type: str, headers: Mapping[str, str]) -> Answer:
    """The body, or 304 for who has it (RFC 9110 section 13.1.2)."""
    asked = (request.getHeader(b"if-none-match") or b"").decode("ascii", "replace")
    tags = {each.strip().removeprefix("W/") for each in asked.split(",")}
    if headers["ETag"].removeprefix("W/") in tags or "*" in tags:
        return Answer(status=304, headers=headers)
    return Answer(content_type=content_type, body=body, headers=headers)


def _decoded(rest: bytes) -> bytes | None:
    """The octets of a request in a path: base64, in which what a URL gives another meaning may be escaped."""
    text = unquote_to_bytes(rest)
    if len(text) > MAX_REQUEST * 2:
        return None
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None


def _date(moment: datetime) -> str:
    return formatdate(moment.timestamp(), usegmt=True)


def _words(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status=status, content_type=TEXT, body=f"{text}\n".encode("ascii"), headers=headers or {})
