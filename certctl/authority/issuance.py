"""Finalizing: from an order and a CSR to a certificate (RFC 8555 section 7.4)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from certctl.acme import csr, ids, keys, lifecycle
from certctl.acme.csr import CertificateRequest
from certctl.acme.objects import Account, Certificate, Order, Profile, Status
from certctl.acme.problems import Problem, ProblemType, malformed
from certctl.authority.caa import Permission
from certctl.authority.challenge_rules import ChallengeRules
from certctl.authority.trail import Action, Event, Trail, actor_of
from certctl.issuance.issuer import Issuer, IssuerUnavailable, Template
from certctl.issuance.profile import ValidityError, validity
from certctl.storage import authorizations, certificates, orders
from certctl.storage.database import Conflict, Database
from certctl.validation.addresses import Network

RETRY_AFTER = timedelta(seconds=10)  # until a signer that does not answer is asked again
_ISSUED = frozenset({Status.VALID, Status.PROCESSING})


class Issuance:
    """Turns ready orders into certificates."""

    def __init__(
        self,
        database: Database,
        trail: Trail,
        issuers: Mapping[str, Issuer],
        network: Network,
        permission: Permission,
    ) -> None:
        self._database = database
        self._trail = trail
        self._issuers = issuers
        self._network = network
        self._permission = permission

    async def finalize(
        self, profile: Profile, account: Account, order: Order, payload: Mapping[str, Any]
    ) -> Order:
        """Issue the certificate of a ready order, and return the order, which is valid then.

        An order that has its certificate for the same key is returned as it is, for clients that repeat the request
        instead of polling. Raises Problem: badCSR leaves the order ready; orderNotReady otherwise.
        """
        now = self._trail.now()
        order = lifecycle.settled(order, now)
        if order.status not in _ISSUED | {Status.READY}:
            raise Problem(ProblemType.ORDER_NOT_READY, f"the order is {order.status.value}")
        request = _request(payload)
        if order.status in _ISSUED:
            return await self._repeated(order, request)
        csr.judge(request, order.identifiers, keys.load(account.jwk).key)
        await self._ask_permission(profile, account, order, now)
        certificate = await self._sign(profile, order, request, now)
        event = Event(
            actor=actor_of(account),
            action=Action.ORDER_FINALIZED,
            resource_type="acme_order",
            resource_id=order.id,
            details={
                "profile": profile.id,
                "certificate": certificate.id,
                "serial": certificate.serial,
                "issuer": certificate.issuer_id,
            },
        )
        made_valid = orders.make_valid(order.id, certificate.id, now)
        try:
            await self._trail.record(now, event, made_valid, *certificates.insert(certificate))
        except (
            Conflict
        ):  # another request finalized the order, or an authorization was lost; ours is forgotten unseen
            current = await self._database.read(orders.by_id(order.id))
            assert current is not None
            return await self._repeated(current, request)
        return attrs.evolve(order, status=Status.VALID, certificate_id=certificate.id)

    async def _ask_permission(self, profile: Profile, account: Account, order: Order, now: datetime) -> None:
        """Ask CAA once more, where the profile obeys it and the answer from the validation is old."""
        rules = ChallengeRules.of(profile, self._network)
        if not rules.caa:
            return
        methods = await self._database.read(authorizations.methods(order.id))
        for each in order.identifiers:
            await self._permission.ask(rules, account, each, methods.get(each), now)

    async def _repeated(self, order: Order, request: CertificateRequest) -> Order:
        """Return an order whose certificate has the request's key; raise Problem orderNotReady for any other."""
        if order.certificate_id is not None:
            issued = await self._database.read(certificates.by_id(order.certificate_id))
            if issued is not None and _key(issued) == request.public_key:
                return order
        raise Problem(ProblemType.ORDER_NOT_READY, f"the order is {order.status.value}")

    async def _sign(
        self, profile: Profile, order: Order, request: CertificateRequest, now: datetime
    ) -> Certificate:
        issuer = issuer_of(profile, self._issuers)
        starts, ends = granted_validity(profile, issuer, now, order.not_before, order.not_after)
        template = Template(
            names=order.identifiers,
            common_name=request.common_name,
            public_key=request.public_key,
            not_before=starts,
            not_after=ends,
            extended_key_usages=tuple(profile.policy.get("extended_key_usages", ("serverAuth",))),
        )
        try:
            issued = await issuer.sign(template)
        except IssuerUnavailable:
            detail = "the issuing CA cannot sign at the moment"
            raise Problem(ProblemType.SERVER_INTERNAL, detail, status=503, retry_after=RETRY_AFTER) from None
        return Certificate(
            id=ids.new(ids.CERTIFICATE, now),
            profile_id=profile.id,
            issuer_id=issuer.id,
            account_id=order.account_id,
            order_id=order.id,
            serial=issued.serial,
            names=order.identifiers,
            der=issued.der,
            not_before=issued.not_before,
            not_after=issued.not_after,
            created_at=now,
        )

    def chains(self, certificate: Certificate) -> tuple[tuple[bytes, ...], ...]:
        """The chains that a certificate may be sent with: the usual one first, then the one that has the root too."""
        issuer = self._issuers[certificate.issuer_id]
        usual = (certificate.der, *issuer.chain)
        return (usual,) if issuer.root is None else (usual, (*usual, issuer.root))


def issuer_of(profile: Profile, issuers: Mapping[str, Issuer]) -> Issuer:
    """The issuer that a profile names; raises RuntimeError if the server does not have it."""
    issuer = issuers.get(profile.issuer_id)
    if issuer is None:
        raise RuntimeError(
            f"profile {profile.id} names issuer {profile.issuer_id}, which this server does not have"
        )
    return issuer


def granted_validity(
    profile: Profile, issuer: Issuer, now: datetime, not_before: datetime | None, not_after: datetime | None
) -> tuple[datetime, datetime]:
    """First and last second of a certificate: as asked for, or not at all (RFC 8555 section 7.4).

    Raises Problem malformed if profile or issuer cannot grant what was asked for.
    """
    try:
        return validity(
            now, timedelta(seconds=profile.max_ttl_seconds), issuer.expires_at, not_before, not_after
        )
    except ValidityError as error:
        raise malformed(str(error)) from None


def _request(payload: Mapping[str, Any]) -> CertificateRequest:
    text = payload.get("csr")
    if not isinstance(text, str):
        raise malformed("the payload has a member csr: the CSR's DER in base64url")
    request = csr.parse(text)
    if request.must_staple:
        raise Problem(ProblemType.BAD_CSR, "it asks for must-staple, which this profile does not give")
    return request


def _key(certificate: Certificate) -> CertificatePublicKeyTypes:
    return x509.load_der_x509_certificate(certificate.der).public_key()
