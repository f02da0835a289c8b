"""Revocation by operators: of one certificate, or of many (``/api/certificates/revoke``)."""

from __future__ import annotations

from typing import Literal

import msgspec

from certctl.authority.operators import Kind, Refused
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.certificates import (
    CertificateDocument,
    Choice,
    WholeCertificate,
    chosen,
    listed,
    whole,
)
from certctl.web.api.operation import WORK, Operation
from certctl.web.api.schema import Document, given

SHOWN = 100  # certificates of a dry run
Reason = Literal[
    "unspecified",
    "keyCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
]  # RFC 5280 section 5.3.1, those that are for subscribers


class Revoking(Document):
    """Why a certificate is revoked."""

    reason: Reason = "unspecified"


class RevokingMany(Document):
    """Which certificates are revoked, and why. A dry run says which, and revokes none."""

    filter: Choice
    reason: Reason = "unspecified"
    dry_run: bool = True


class RevokedMany(msgspec.Struct, kw_only=True):
    """What was revoked; or, of a dry run, what would be: how many, and the first of them."""

    dry_run: bool
    revoked: int = 0
    total: int = 0
    data: list[CertificateDocument] = []


async def revoke_certificate(call: Call[Revoking, Nothing]) -> Reply:
    """Revoke a certificate."""
    revoked = await call.administration.withdrawal.revoke(call.caller, call.id, call.body.reason)
    return Reply(value=await whole(call, revoked))


async def revoke_certificates(call: Call[RevokingMany, Nothing]) -> Reply:
    """Revoke all certificates that a filter finds and that are not revoked yet; a dry run by default."""
    asked, now, withdrawal = call.body, call.administration.now(), call.administration.withdrawal
    members = given(asked.filter)
    if not members:
        raise Refused(
            Kind.INVALID, "filter: name a member at least: an empty one would revoke every certificate"
        )
    wanted = chosen(asked.filter, now)
    if asked.dry_run:
        total, found = await withdrawal.preview(wanted, SHOWN)
        answer = RevokedMany(dry_run=True, total=total, data=[listed(each, now) for each in found])
    else:
        shown = msgspec.to_builtins(asked.filter)
        revoked = await withdrawal.revoke_all(call.caller, wanted, asked.reason, shown)
        answer = RevokedMany(dry_run=False, revoked=revoked, total=revoked)
    return Reply(value=answer)


OPERATIONS = (
    Operation("POST", "certificates/<id>/revoke", revoke_certificate, WORK, WholeCertificate, body=Revoking),
    Operation("POST", "certificates/revoke", revoke_certificates, WORK, RevokedMany, body=RevokingMany),
)
