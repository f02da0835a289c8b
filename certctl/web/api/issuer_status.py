"""What relying parties are told of an issuer's certificates (``/api/issuers/<id>/status``)."""

from __future__ import annotations

from datetime import datetime

import msgspec

from certctl.authority.operators import absent
from certctl.authority.revocation_lists import Published
from certctl.issuance.issuer import IssuerUnavailable
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import READ, Operation


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
    if call.id not in administration.issuers.all:
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


OPERATIONS = (Operation("GET", "issuers/<id>/status", issuer_status, READ, IssuerStatus),)
