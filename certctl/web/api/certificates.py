"""Certificates that were issued (``/api/certificates``)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from certctl.acme.identifiers import IdentifierError, dns_name
from certctl.acme.objects import Certificate
from certctl.authority.operators import Kind, Refused, absent
from certctl.authority.revocation import REASONS
from certctl.storage import certificates
from certctl.storage.search import certificates as search
from certctl.storage.search.certificates import CertificateFilter, Listed, NameRange
from certctl.web.api import x509_documents
from certctl.web.api.call import Call, Nothing, Reply
from certctl.web.api.operation import READ, Operation
from certctl.web.api.schema import (
    PER_PAGE,
    Cursor,
    Document,
    Id,
    IdentifierDocument,
    Moment,
    Name,
    PerPage,
    Window,
    given,
    identifier,
    window,
)
from certctl.web.api.x509_documents import Decoded

CertificateStatus = Literal["valid", "expired", "revoked"]
Serial = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^(0[xX])?[0-9a-fA-F]+(:[0-9a-fA-F]+)*$")]
Form = Literal["pem", "chain", "der", "pkcs7"]


class CertificateDocument(msgspec.Struct, kw_only=True):
    """A certificate. ``newest`` says whether its account has none for the same names that was issued later."""

    id: str
    profile_id: str
    issuer_id: str
    account_id: str
    order_id: str
    serial: str
    names: list[IdentifierDocument]
    status: CertificateStatus
    not_before: datetime
    not_after: datetime
    created_at: datetime
    revoked_at: datetime | None
    revocation_reason: str | None
    newest: bool


class WholeCertificate(CertificateDocument, kw_only=True):
    """A certificate, decoded and in PEM. ``replaced_by`` is a later one of the same account for the same names."""

    replaced_by: str | None
    decoded: Decoded
    certificate: str


class Choice(Document):
    """Which certificates are meant.

    ``name`` is one name or address, or ``*.corp.example`` for all below corp.example, wildcards included. ``serial`` is
    hexadecimal, with or without colons and leading zeros.
    """

    name: Name | UnsetType = UNSET
    serial: Serial | UnsetType = UNSET
    account_id: Id | UnsetType = UNSET
    profile_id: Id | UnsetType = UNSET
    issuer_id: Id | UnsetType = UNSET
    status: CertificateStatus | UnsetType = UNSET
    expires_after: Moment | UnsetType = UNSET
    expires_before: Moment | UnsetType = UNSET


class CertificateQuery(Choice):
    """Which part of which certificates is asked for."""

    cursor: Cursor = ""
    per_page: PerPage = PER_PAGE


class Download(Document):
    """In which form a certificate is asked for: ``chain`` has the issuing certificates behind it, ``pkcs7`` too."""

    format: Form = "chain"


def chosen(choice: Choice, now: datetime) -> CertificateFilter:
    """The filter that a choice is; raises Refused for a name that is none."""
    plain = given(
        choice, "account_id", "profile_id", "issuer_id", "status", "expires_after", "expires_before"
    )
    serial = None if isinstance(choice.serial, UnsetType) else plain_serial(choice.serial)
    return CertificateFilter(now=now, name=_name(choice.name), serial=serial, **plain)


def plain_serial(text: str) -> str:
    """The serial as it is kept: lower-case hexadecimal without leading zeros."""
    return text.lower().removeprefix("0x").replace(":", "").lstrip("0") or "0"


def _name(text: str | UnsetType) -> NameRange | None:
    if isinstance(text, str) and text.startswith("*."):
        try:
            return NameRange(f".{dns_name(text[2:]).value}")
        except IdentifierError as error:
            raise Refused(Kind.INVALID, f"name: {error}") from None
    found = identifier(text, "name")
    return None if found is None else NameRange(found.value)


async def list_certificates(call: Call[Nothing, CertificateQuery]) -> Reply:
    """List certificates, the newest first; those asked for by their end, the last to end first."""
    asked, now = call.query, call.administration.now()
    wanted = chosen(asked, now)
    found = await call.administration.withdrawal.find(wanted, asked.cursor or None, asked.per_page + 1)
    page, cursor = window(found, asked, lambda each: each.id)
    data = [listed(each, now) for each in page]
    return Reply(value=Window(data=data, next_cursor=cursor, per_page=asked.per_page))


async def certificate(call: Call[Nothing, Nothing]) -> Reply:
    """Show a certificate, decoded."""
    return Reply(value=await whole(call, await _by_id(call)))


async def download_certificate(call: Call[Nothing, Download]) -> Reply:
    """Download a certificate."""
    found, form = await _by_id(call), call.query.format
    above = (await call.administration.issuers.chains(found.issuer_id))[0]
    chain = (found.der, *(above if form in ("chain", "pkcs7") else ()))
    content_type, content, suffix = x509_documents.encoded(chain, form)
    disposition = f'attachment; filename="{found.serial}.{suffix}"'
    return Reply(content=content, content_type=content_type, headers={"Content-Disposition": disposition})


class CertificateRenewal(msgspec.Struct, kw_only=True):
    """The renewal information that the client of a certificate is given (RFC 9773), null where it is given none.

    ``kind`` says whether the window is the ``usual`` one of its life, ``moved`` by an operator, or ``overdue``, as the
    certificate was revoked.
    """

    window_start: datetime | None = None
    window_end: datetime | None = None
    kind: Literal["usual", "moved", "overdue"] | None = None
    why: str | None = None
    explanation_url: str | None = None


async def certificate_renewal(call: Call[Nothing, Nothing]) -> Reply:
    """Show when the client of a certificate is told to renew it, and why then."""
    told = await call.administration.renewals.of(await _by_id(call))
    if told is None:
        return Reply(value=CertificateRenewal())
    answer = CertificateRenewal(
        window_start=told.window.start,
        window_end=told.window.end,
        kind=told.kind,  # type: ignore[arg-type]
        why=told.why,
        explanation_url=told.explanation_url,
    )
    return Reply(value=answer)


async def whole(call: Call[Any, Any], found: Certificate) -> WholeCertificate:
    """A certificate with all that is known of it."""
    newer = await call.administration.database.read(search.replaced_by(found.id))
    return WholeCertificate(
        **_members(found, call.administration.now()),
        newest=newer is None,
        replaced_by=newer,
        decoded=x509_documents.decoded(found.der),
        certificate=x509_documents.pem(found.der),
    )


def listed(found: Listed, now: datetime) -> CertificateDocument:
    """A certificate as a list shows it."""
    return CertificateDocument(**_members(found, now), newest=found.newest)


async def _by_id(call: Call[Any, Any]) -> Certificate:
    found = await call.administration.database.read(certificates.by_id(call.id))
    if found is None:
        raise absent("certificate", call.id)
    return found


def _members(found: Certificate | Listed, now: datetime) -> dict[str, Any]:
    reason = found.revocation_reason
    return {
        "id": found.id,
        "profile_id": found.profile_id,
        "issuer_id": found.issuer_id,
        "account_id": found.account_id,
        "order_id": found.order_id,
        "serial": found.serial,
        "names": [IdentifierDocument.of(each) for each in found.names],
        "status": "revoked" if found.revoked_at else "valid" if now <= found.not_after else "expired",
        "not_before": found.not_before,
        "not_after": found.not_after,
        "created_at": found.created_at,
        "revoked_at": found.revoked_at,
        "revocation_reason": None if reason is None else REASONS.get(reason, str(reason)),
    }


OPERATIONS = (
    Operation(
        "GET", "certificates", list_certificates, READ, Window[CertificateDocument], query=CertificateQuery
    ),
    Operation("GET", "certificates/<id>", certificate, READ, WholeCertificate),
    Operation("GET", "certificates/<id>/renewal", certificate_renewal, READ, CertificateRenewal),
    Operation(
        "GET",
        "certificates/<id>/download",
        download_certificate,
        READ,
        None,
        query=Download,
        media=x509_documents.MEDIA,
    ),
)
