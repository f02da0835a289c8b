"""Issuers (``/api/issuers``): what this server signs with, without the keys."""

from __future__ import annotations

from datetime import datetime

import msgspec

from certctl.authority.operators import absent
from certctl.authority.revocation_lists import Published
from certctl.issuance.issuer import Issuer, IssuerUnavailable
from certctl.web.api import x509_documents
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import READ, Operation
from certctl.web.api.schema import Page, Paging, paged
from certctl.web.api.x509_documents import Decoded


class IssuerDocument(msgspec.Struct, kw_only=True):
    """An issuer: its certificate and those above it in PEM, and the root if the server knows it.

    ``expires_at`` is when the first of them ends: no certificate outlives it.
    """

    id: str
    subject: str
    not_before: datetime
    not_after: datetime
    expires_at: datetime
    certificate: str
    chain: list[str]
    root: str | None
    decoded: Decoded


async def list_issuers(call: Call[Nothing, Paging]) -> Reply:
    """List issuers."""
    found = [_document(each) for _, each in sorted(call.administration.issuers.items())]
    return Reply(value=paged(found, call.query))


async def issuer(call: Call[Nothing, Nothing]) -> Reply:
    """Show an issuer, its certificate and its chain."""
    found = call.administration.issuers.get(call.id)
    if found is None:
        raise absent("issuer", call.id)
    return Reply(value=_document(found))


class CrlDocument(msgspec.Struct, kw_only=True):
    """The whole CRL as it is given out now: ``number`` as in the list, ``octets`` its length."""

    number: str
    this_update: datetime
    next_update: datetime
    octets: int


class IssuerStatus(msgspec.Struct, kw_only=True):
    """What relying parties are told of an issuer's certificates, and where; null where no URL is in certificates.

    ``crl`` is null where this server cannot sign one. ``revocations`` counts all that ever were, expired ones too.
    """

    crl: CrlDocument | None
    revocations: int
    crl_url: str | None
    ocsp_url: str | None
    certificate_url: str | None


async def issuer_status(call: Call[Nothing, Nothing]) -> Reply:
    """Show an issuer's CRL as it is now, and where CRL and OCSP answers are found."""
    administration = call.administration
    if call.id not in administration.issuers:
        raise absent("issuer", call.id)
    lists, crl, urls = None, None, administration.status_urls(call.id)
    try:
        lists = await administration.revocation_lists(call.id)
        crl = None if lists is None else _crl(await lists.get(1, 0))
    except IssuerUnavailable:  # this server has no key for it, or not at the moment
        pass
    answer = IssuerStatus(
        crl=crl,
        revocations=0 if lists is None else lists.revision,
        crl_url=None if urls is None else urls.list(1, 0),
        ocsp_url=None if urls is None else urls.ocsp,
        certificate_url=None if urls is None else urls.certificate,
    )
    return Reply(value=answer)


def _crl(made: Published) -> CrlDocument:
    return CrlDocument(
        number=str(made.number),
        this_update=made.this_update,
        next_update=made.next_update,
        octets=len(made.der),
    )


def _document(issuer: Issuer) -> IssuerDocument:
    own = x509_documents.decoded(issuer.chain[0])
    return IssuerDocument(
        id=issuer.id,
        subject=own.subject,
        not_before=own.not_before,
        not_after=own.not_after,
        expires_at=issuer.expires_at,
        certificate=x509_documents.pem(issuer.chain[0]),
        chain=[x509_documents.pem(each) for each in issuer.chain[1:]],
        root=None if issuer.root is None else x509_documents.pem(issuer.root),
        decoded=own,
    )


OPERATIONS = (
    Operation("GET", "issuers", list_issuers, READ, Page[IssuerDocument], query=Paging),
    Operation("GET", "issuers/<id>", issuer, READ, IssuerDocument),
    Operation("GET", "issuers/<id>/status", issuer_status, READ, IssuerStatus),
)
