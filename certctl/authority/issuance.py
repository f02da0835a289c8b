"""Finalizing: from an order and a CSR to a certificate (RFC 8555 section 7.4)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from certctl.acme import csr, ids, issuing_policy, keys, lifecycle, policy
from certctl.acme.csr import CertificateRequest
from certctl.acme.objects import Account, Certificate, Order, Profile, Status
from certctl.acme.problems import Problem, ProblemType, malformed
from certctl.authority import order_refusals, signing
from certctl.authority.caa import Permission
from certctl.authority.challenge_rules import ChallengeRules
from certctl.authority.profile_rules import ProfileRules
from certctl.authority.trail import Action, Event, Trail, actor_of
from certctl.issuance.issuer import Issuer
from certctl.storage import authorizations, certificates, orders, profiles
from certctl.storage.database import Conflict, Database
from certctl.validation.addresses import Network

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
        rules: ProfileRules,
    ) -> None:
        self._database = database
        self._trail = trail
        self._issuers = issuers
        self._network = network
        self._permission = permission
        self._rules = rules

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
        try:
            certificate = await self._certificate(profile, account, order, request, now)
        except Problem as problem:
            await order_refusals.record(self._trail, profile, account, problem, order)
            raise
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

    async def _ask_permission(self, profile: Profile, account: Account, order: Order, now: datetime) -> bool:
        """Ask CAA once more, where the profile obeys it and the answer from the validation is old.

        Returns whether that may have taken time, in which the profile may have changed.
        """
        rules = ChallengeRules.of(profile, self._network)
        if not rules.caa:
            return False
        methods = await self._database.read(authorizations.methods(order.id))
        for each in order.identifiers:
            await self._permission.ask(rules, account, each, methods.get(each), now)
        return True

    async def _repeated(self, order: Order, request: CertificateRequest) -> Order:
        """Return an order whose certificate has the request's key; raise Problem orderNotReady for any other."""
        if order.certificate_id is not None:
            issued = await self._database.read(certificates.by_id(order.certificate_id))
            if issued is not None and _key(issued) == request.public_key:
                return order
        raise Problem(ProblemType.ORDER_NOT_READY, f"the order is {order.status.value}")

    async def _certificate(
        self, profile: Profile, account: Account, order: Order, request: CertificateRequest, now: datetime
    ) -> Certificate:
        """Have the certificate signed, if account, CSR and profile allow it; raise Problem if not."""
        policy.judge_pause(account)
        terms = self._rules.terms(profile, account)
        csr.judge(request, order.identifiers, keys.load(account.jwk).key)
        issuing_policy.judge_request(profile, terms.policy, request)
        if await self._ask_permission(profile, account, order, now):
            profile = policy.judge_profile(await self._database.read(profiles.by_id(profile.id)), profile.id)
            terms = self._rules.terms(profile, account)
        policy.judge_open(profile, ProblemType.INVALID_PROFILE)
        issuer = signing.issuer_of(profile, self._issuers)
        template = signing.template(terms, issuer, order, request, now)
        issued = await signing.sign(issuer, terms, order, template)
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


def _request(payload: Mapping[str, Any]) -> CertificateRequest:
    text = payload.get("csr")
    if not isinstance(text, str):
        raise malformed("the payload has a member csr: the CSR's DER in base64url")
    return csr.parse(text)


def _key(certificate: Certificate) -> CertificatePublicKeyTypes:
    return x509.load_der_x509_certificate(certificate.der).public_key()
