"""Issuers (``/api/issuers``): what signs, without the keys; added, put in another's place, retired."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import UNSET, Meta, UnsetType

from certctl.authority.issuers import Held
from certctl.authority.operators import absent
from certctl.storage import issuers
from certctl.storage.issuers import IssuerRecord, IssuerRequest
from certctl.web.api import x509_documents
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import ADMIN, READ, Operation
from certctl.web.api.schema import Document, Id, Moment, Page, Paging, paged
from certctl.web.api.x509_documents import Decoded

IssuerId = Annotated[str, Meta(min_length=5, max_length=64, pattern=r"^iss-[a-z0-9][a-z0-9.-]*$")]
CommonName = Annotated[str, Meta(min_length=1, max_length=64)]
Pem = Annotated[str, Meta(min_length=1, max_length=60_000)]


class OtherChain(msgspec.Struct, kw_only=True):
    """Another chain for what an issuer signed; ``sha256`` is the digest of the certificate in which it differs."""

    sha256: str
    chain: list[str]


class IssuerDocument(msgspec.Struct, kw_only=True):
    """An issuer: its certificate and those above it in PEM, and the root if the server knows it.

    ``expires_at`` is when the first of them ends: no certificate outlives it. ``signs_here`` says whether this server
    can have certificates signed by it, and ``lacks`` why not.
    """

    id: str
    subject: str
    not_before: datetime
    not_after: datetime
    expires_at: datetime
    certificate: str
    chain: list[str]
    root: str | None
    alternates: list[OtherChain]
    signs_here: bool
    lacks: str | None
    version: int
    successor_id: str | None
    switch_at: datetime | None
    switched_at: datetime | None
    renew_by: datetime | None
    retired_at: datetime | None
    decoded: Decoded


class RequestDocument(msgspec.Struct, kw_only=True):
    """A key of this server that waits for its certificate, and the CSR for it in PEM."""

    id: str
    request: str
    created_by: str
    created_at: datetime


class NewRequest(Document):
    """What issuer is to be: its id, its name, and its key's kind."""

    id: IssuerId
    common_name: CommonName
    key_algorithm: str = "ecdsa-p256"


class NewIssuer(Document):
    """The certificate of a request, and those above it, in PEM."""

    id: IssuerId
    certificates: Pem


class Certificates(Document):
    """Certificates in PEM, each followed by its issuer's."""

    certificates: Pem


class Switch(Document):
    """Who takes an issuer's place, when, and by when what it signed is to be replaced."""

    to: Id
    at: Moment | UnsetType | None = UNSET
    renew_by: Moment | UnsetType | None = UNSET


class Retirement(Document):
    """Whether an issuer is retired though certificates of it live."""

    even_with_live: bool = False


async def list_issuers(call: Call[Nothing, Paging]) -> Reply:
    """List issuers."""
    held = call.administration.issuers
    await held.refresh()
    return Reply(value=paged([_document(each) for _, each in sorted(held.all.items())], call.query))


async def issuer(call: Call[Nothing, Nothing]) -> Reply:
    """Show an issuer, its certificate and its chains."""
    return await _reply(call, call.id)


async def install_issuer(call: Call[NewIssuer, Nothing]) -> Reply:
    """Make an issuer of a request and its certificate."""
    id = call.body.id
    if await call.administration.database.read(issuers.request_by_id(id)) is None:
        raise absent("issuer request", id)
    await call.administration.enrolment.install(call.caller, id, call.body.certificates)
    return await _reply(call, id, status=201, Location=f"/api/issuers/{id}")


async def renew_issuer(call: Call[Certificates, Nothing]) -> Reply:
    """Put another certificate of the same name and key in the place of an issuer's."""
    await _matching(call)
    await call.administration.enrolment.install(call.caller, call.id, call.body.certificates)
    return await _reply(call, call.id)


async def add_issuer_chain(call: Call[Certificates, Nothing]) -> Reply:
    """Add another chain, by a cross-certificate of the issuing CA or of one above it."""
    await _matching(call)
    await call.administration.enrolment.add_chain(call.caller, call.id, call.body.certificates)
    return await _reply(call, call.id, status=201)


async def remove_issuer_chain(call: Call[Nothing, Nothing]) -> Reply:
    """Take another chain away."""
    await _matching(call)
    await call.administration.enrolment.remove_chain(call.caller, call.id, call.arguments["sha256"])
    return await _reply(call, call.id)


async def switch_issuer(call: Call[Switch, Nothing]) -> Reply:
    """Let another issuer take the place of one, now or at a time: its profiles name the other from then on."""
    old = await _matching(call)
    at, renew_by = (None if each is UNSET else each for each in (call.body.at, call.body.renew_by))
    await call.administration.rotation.switch(call.caller, old, call.body.to, at, renew_by)
    return await _reply(call, call.id)


async def cancel_switch(call: Call[Nothing, Nothing]) -> Reply:
    """Take back a switch that is to come."""
    await call.administration.rotation.cancel(call.caller, await _matching(call))
    return await _reply(call, call.id)


async def retire_issuer(call: Call[Retirement, Nothing]) -> Reply:
    """Let an issuer sign no certificates any more; its CRL and OCSP answers go on."""
    old = await _matching(call)
    live = call.body.even_with_live
    await call.administration.rotation.retire(call.caller, old, even_with_live=live)
    return await _reply(call, call.id)


async def list_issuer_requests(call: Call[Nothing, Paging]) -> Reply:
    """List the keys that wait for their certificates."""
    found = await call.administration.database.read(issuers.requests())
    return Reply(value=paged([_request(each) for each in found], call.query))


async def create_issuer_request(call: Call[NewRequest, Nothing]) -> Reply:
    """Make a key on this server, and the request for its certificate."""
    asked = call.body
    made = await call.administration.enrolment.request(
        call.caller, asked.id, asked.common_name, asked.key_algorithm
    )
    return Reply(value=_request(made), status=201, headers={"Location": f"/api/issuer-requests/{made.id}"})


async def issuer_request(call: Call[Nothing, Nothing]) -> Reply:
    """Show a request."""
    found = await call.administration.database.read(issuers.request_by_id(call.id))
    if found is None:
        raise absent("issuer request", call.id)
    return Reply(value=_request(found))


async def withdraw_issuer_request(call: Call[Nothing, Nothing]) -> Reply:
    """Give a request up."""
    await call.administration.enrolment.withdraw(call.caller, call.id)
    return Reply(status=204)


async def _matching(call: Call[Any, Any]) -> IssuerRecord:
    """The issuer that the path names, if it is as the client knows it."""
    found = await call.administration.rotation.by_id(call.id)
    call.must_match(f'"{found.version}"')
    return found


async def _reply(call: Call[Any, Any], id: str, status: int = 200, **headers: str) -> Reply:
    held = call.administration.issuers
    await held.refresh()
    if id not in held.all:
        raise absent("issuer", id)
    found = held.all[id]
    headers["ETag"] = f'"{found.record.version}"'
    return Reply(value=_document(found), status=status, headers=headers)


def _request(request: IssuerRequest) -> RequestDocument:
    pem = x509.load_der_x509_csr(request.request).public_bytes(Encoding.PEM).decode("ascii")
    return RequestDocument(
        id=request.id, request=pem, created_by=request.created_by, created_at=request.created_at
    )


def _document(held: Held) -> IssuerDocument:
    record = held.record
    own = x509_documents.decoded(record.chain[0])
    all = [*record.chain, *(() if record.root is None else (record.root,))]
    return IssuerDocument(
        id=record.id,
        subject=own.subject,
        not_before=own.not_before,
        not_after=own.not_after,
        expires_at=min(x509_documents.decoded(each).not_after for each in all),
        certificate=x509_documents.pem(record.chain[0]),
        chain=[x509_documents.pem(each) for each in record.chain[1:]],
        root=None if record.root is None else x509_documents.pem(record.root),
        alternates=[_other(record.chain, each) for each in held.alternates],
        signs_here=held.signs,
        lacks=held.lacks or None,
        version=record.version,
        successor_id=record.successor_id,
        switch_at=record.switch_at,
        switched_at=record.switched_at,
        renew_by=record.renew_by,
        retired_at=record.retired_at,
        decoded=own,
    )


def _other(own: tuple[bytes, ...], chain: tuple[bytes, ...]) -> OtherChain:
    """Another chain, named by the first certificate that is not in the issuer's own."""
    first = next((each for each in chain if each not in own), chain[0])
    return OtherChain(
        sha256=hashlib.sha256(first).hexdigest(), chain=[x509_documents.pem(each) for each in chain]
    )


OPERATIONS = (
    Operation("GET", "issuers", list_issuers, READ, Page[IssuerDocument], query=Paging),
    Operation("POST", "issuers", install_issuer, ADMIN, IssuerDocument, body=NewIssuer, status=201),
    Operation("GET", "issuers/<id>", issuer, READ, IssuerDocument),
    Operation("PUT", "issuers/<id>/certificate", renew_issuer, ADMIN, IssuerDocument, body=Certificates),
    Operation(
        "POST", "issuers/<id>/chains", add_issuer_chain, ADMIN, IssuerDocument, body=Certificates, status=201
    ),
    Operation("DELETE", "issuers/<id>/chains/<sha256>", remove_issuer_chain, ADMIN, IssuerDocument),
    Operation("POST", "issuers/<id>/switch", switch_issuer, ADMIN, IssuerDocument, body=Switch),
    Operation("DELETE", "issuers/<id>/switch", cancel_switch, ADMIN, IssuerDocument),
    Operation("POST", "issuers/<id>/retire", retire_issuer, ADMIN, IssuerDocument, body=Retirement),
    Operation("GET", "issuer-requests", list_issuer_requests, READ, Page[RequestDocument], query=Paging),
    Operation(
        "POST", "issuer-requests", create_issuer_request, ADMIN, RequestDocument, body=NewRequest, status=201
    ),
    Operation("GET", "issuer-requests/<id>", issuer_request, READ, RequestDocument),
    Operation("DELETE", "issuer-requests/<id>", withdraw_issuer_request, ADMIN, None, status=204),
)
