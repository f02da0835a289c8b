"""How a server gets another issuer: a key and a request, then the certificate, and perhaps other chains for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certctl.authority.issuers import Chain, Issuers, key_identifier
from certctl.authority.operators import Caller, Kind, Refused, absent
from certctl.authority.trail import Action, Event, Trail
from certctl.issuance import chains, hierarchy
from certctl.issuance.issuer import IssuerError, Keyring
from certctl.issuance.offline import KEYS
from certctl.storage import issuers
from certctl.storage.database import Conflict, Database
from certctl.storage.issuers import IssuerRecord, IssuerRequest

SENT = "the certificates that were sent"
MAX_CERTIFICATES = 10


class Enrolment:
    """The use cases of operators who add issuers."""

    def __init__(self, database: Database, trail: Trail, held: Issuers, keyring: Keyring | None) -> None:
        self._database = database
        self._trail = trail
        self._held = held
        self._keyring = keyring

    async def request(self, caller: Caller, id: str, common_name: str, algorithm: str) -> IssuerRequest:
        """Make a key on this server and the request for its certificate; raises Refused.

        Asked again for an id whose key is here and whose request was not stored, it goes on from there.
        """
        if algorithm not in KEYS:
            raise Refused(Kind.INVALID, f"key_algorithm is one of {', '.join(KEYS)}")
        try:
            hierarchy.check_name(common_name)
        except IssuerError as error:
            raise Refused(Kind.INVALID, str(error)) from None
        if await self._database.read(issuers.by_id(id)) is not None:
            raise _taken(id)
        if await self._database.read(issuers.request_by_id(id)) is not None:
            raise _taken(id)
        if self._keyring is None:
            raise Refused(Kind.CONFLICT, "this server keeps no keys of further issuers")
        try:
            request = self._keyring.request(id, common_name, algorithm)
        except IssuerError as error:
            raise Refused(Kind.CONFLICT, str(error)) from None
        now = self._trail.now()
        made = IssuerRequest(id=id, request=request, created_by=caller.name, created_at=now)
        event = _event(caller, Action.ISSUER_REQUESTED, id, key_algorithm=algorithm, common_name=common_name)
        try:
            await self._trail.record(now, event, issuers.add_request(made))
        except Conflict:
            raise _taken(id) from None
        return made

    async def withdraw(self, caller: Caller, id: str) -> None:
        """Give a request up; its key stays where it is. Raises Refused if there is none."""
        event = _event(caller, Action.ISSUER_REQUEST_WITHDRAWN, id)
        try:
            await self._trail.record(self._trail.now(), event, issuers.remove_request(id))
        except Conflict:
            raise absent("issuer request", id) from None

    async def install(self, caller: Caller, id: str, pem: str) -> IssuerRecord:
        """Make an issuer of a request and its certificate, or renew the certificate of an issuer; raises Refused.

        The certificate comes first, then those above it, with the root at the end if it is known.
        """
        certificates = _read(pem)
        seen = await self._database.read(issuers.by_id(id))
        asked = await self._database.read(issuers.request_by_id(id))
        if seen is not None:
            if self._held.is_given(id):
                raise Refused(
                    Kind.CONFLICT, f"the certificate of {id} lies in a file; put it there: docs/ca.md"
                )
            key = x509.load_der_x509_certificate(seen.chain[0]).public_key()
        elif asked is not None:
            key = x509.load_der_x509_csr(asked.request).public_key()
        else:
            raise absent("issuer request", id)
        self._judge(certificates)
        if certificates[0].public_key() != key:
            raise Refused(Kind.INVALID, f"the first certificate's key is not that of issuer {id}")
        if seen is not None and certificates[0].subject.public_bytes() != _subject(seen.chain[0]):
            raise Refused(
                Kind.INVALID, "a renewed certificate has the old one's name; request another issuer"
            )
        await self._install(caller, id, certificates, seen)
        await self._held.refresh()
        found = await self._database.read(issuers.by_id(id))
        assert found is not None
        return found

    async def _install(
        self, caller: Caller, id: str, certificates: Sequence[x509.Certificate], seen: IssuerRecord | None
    ) -> None:
        chain, root = _parted(certificates)
        now = self._trail.now()
        event = _event(
            caller,
            Action.ISSUER_INSTALLED,
            id,
            sha256=hashlib.sha256(chain[0]).hexdigest(),
            subject=certificates[0].subject.rfc4514_string(),
            not_after=certificates[0].not_valid_after_utc.isoformat(),
        )
        recorded = issuers.record(id, chain, None if seen is None else seen.chain[0], now, root)
        removed = [issuers.remove_request(id)] if seen is None else []
        try:
            await self._trail.record(now, event, recorded, *removed)
        except Conflict:
            raise Refused(Kind.CHANGED, f"issuer {id} was changed meanwhile: read it again") from None

    async def add_chain(self, caller: Caller, id: str, pem: str) -> IssuerRecord:
        """Add another chain, by another CA's certificate of the issuing CA or of one above it; raises Refused."""
        record = await self._found(id)
        sent = _read(pem)
        chain = self._across(record, sent)
        now, digest = self._trail.now(), hashlib.sha256(sent[0].public_bytes(Encoding.DER)).hexdigest()
        event = _event(
            caller,
            Action.ISSUER_CHAIN_ADDED,
            id,
            sha256=digest,
            subject=sent[0].subject.rfc4514_string(),
            issuer=sent[0].issuer.rfc4514_string(),
        )
        try:
            await self._trail.record(now, event, *issuers.add_chain(record, chain, digest, now))
        except Conflict:
            raise Refused(Kind.CONFLICT, f"issuer {id} has that chain, or was changed meanwhile") from None
        return await self._again(id)

    async def remove_chain(self, caller: Caller, id: str, digest: str) -> IssuerRecord:
        """Take another chain away, by the digest of its certificate; raises Refused if there is none."""
        record = await self._found(id)
        event = _event(caller, Action.ISSUER_CHAIN_REMOVED, id, sha256=digest)
        try:
            await self._trail.record(self._trail.now(), event, *issuers.remove_chain(record, digest))
        except Conflict:
            raise absent("chain", digest) from None
        return await self._again(id)

    def _across(self, record: IssuerRecord, sent: Sequence[x509.Certificate]) -> Chain:
        """The chain that begins as the issuer's own and goes on with what was sent, without a root at its end."""
        own = [*record.chain, *(() if record.root is None else (record.root,))]
        for place, der in enumerate(own):
            each = x509.load_der_x509_certificate(der)
            if each.subject == sent[0].subject and each.public_key() == sent[0].public_key():
                whole = [*map(x509.load_der_x509_certificate, own[:place]), *sent]
                self._judge(whole)
                chain, _ = _parted(whole)
                if chain == record.chain:
                    raise Refused(Kind.CONFLICT, "that is the chain that the issuer has")
                if place == 0 and key_identifier(chain[0]) != key_identifier(record.chain[0]):
                    detail = "its subject key identifier is not that of the issuer's certificate"
                    raise Refused(Kind.INVALID, detail)
                return chain
        detail = "the first certificate is of no CA in the issuer's chain: name and key must be those of one"
        raise Refused(Kind.INVALID, detail)

    def _judge(self, certificates: Sequence[x509.Certificate]) -> None:
        try:
            chains.check_chain(certificates, SENT, self._trail.now())
        except IssuerError as error:
            raise Refused(Kind.INVALID, str(error)) from None
        usage = certificates[0].extensions.get_extension_for_class(x509.KeyUsage).value
        if not usage.crl_sign:
            detail = f"{SENT}: the first may not sign CRLs; have a CA with cRLSign certified"
            raise Refused(Kind.INVALID, detail)

    async def _found(self, id: str) -> IssuerRecord:
        record = await self._database.read(issuers.by_id(id))
        if record is None:
            raise absent("issuer", id)
        return record

    async def _again(self, id: str) -> IssuerRecord:
        await self._held.refresh()
        return await self._found(id)


def _read(pem: str) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem.encode("ascii"))
    except Exception:  # malformed ASN.1 has many exceptions
        raise Refused(Kind.INVALID, f"certificates: {SENT} cannot be read as PEM") from None
    if len(found) > MAX_CERTIFICATES:
        raise Refused(Kind.INVALID, f"certificates: a chain has {MAX_CERTIFICATES} at most")
    if any(one == other for one, other in pairwise(found)):
        raise Refused(Kind.INVALID, f"certificates: among {SENT} one stands twice")
    return found


def _parted(certificates: Sequence[x509.Certificate]) -> tuple[Chain, bytes | None]:
    """The chain, and its root if that is at the end and not all there is."""
    encoded = tuple(each.public_bytes(Encoding.DER) for each in certificates)
    if len(encoded) > 1 and chains.self_signed(certificates[-1]):
        return encoded[:-1], encoded[-1]
    return encoded, None


def _subject(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).subject.public_bytes()


def _taken(id: str) -> Refused:
    return Refused(Kind.CONFLICT, f"there is an issuer or a request {id} already: choose another id")


def _event(caller: Caller, action: Action, id: str, **details: str) -> Event:
    return Event(actor=caller.actor, action=action, resource_type="issuer", resource_id=id, details=details)
