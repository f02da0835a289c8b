"""Finalizing: from an order and a CSR to a certificate (RFC 8555 section 7.4)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
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
from certctl.authority.issuers import Issuers
from certctl.authority.jobs import Jobs, new_job
from certctl.authority.profile_rules import ProfileRules, Terms
from certctl.authority.trail import Action, Event, Trail, actor_of
from certctl.issuance import stored
from certctl.issuance.issuer import Issuer, Template
from certctl.storage import authorizations, certificates, jobs, orders, profiles
from certctl.storage.database import Conflict, Database
from certctl.validation.addresses import Network

_ISSUED = frozenset({Status.VALID, Status.PROCESSING})


class Issuance:
    """Turns ready orders into certificates."""

    def __init__(
        self,
        database: Database,
        trail: Trail,
        issuers: Issuers,
        network: Network,
        permission: Permission,
        rules: ProfileRules,
        waiting: Jobs,
        *,
        deadline: timedelta,
    ) -> None:
        self._database = database
        self._trail = trail
        self._issuers = issuers
        self._network = network
        self._permission = permission
        self._rules = rules
        self._jobs = waiting
        self._deadline = deadline

    async def finalize(
        self, profile: Profile, account: Account, order: Order, payload: Mapping[str, Any]
    ) -> Order:
        """Issue the certificate of a ready order, and return the order: valid, or processing with a slow issuer.

        An order that has its certificate for the same key, or will have, is returned as it is, for clients that
        repeat the request instead of polling. Raises Problem: badCSR leaves the order ready; orderNotReady otherwise.
        """
        now = self._trail.now()
        order = lifecycle.settled(order, now)
        if order.status not in _ISSUED | {Status.READY}:
            raise Problem(ProblemType.ORDER_NOT_READY, f"the order is {order.status.value}")
        request = _request(payload)
        if order.status in _ISSUED:
            return await self._repeated(order, request)
        try:
            terms, issuer, template = await self._judged(profile, account, order, request, now)
            if not issuer.at_once:
                return await self._begun(account, order, request, issuer, template, now)
            certificate = await self._certificate(terms, issuer, order, template, now)
        except Problem as problem:
            await order_refusals.record(self._trail, profile, account, problem, order)
            raise
        made_valid = orders.make_valid(order.id, certificate.id, now)
        try:
            await self._trail.record(
                now, signing.finalized(certificate), made_valid, *certificates.insert(certificate)
            )
        except (
            Conflict
        ):  # another request finalized the order, or an authorization was lost; ours is forgotten unseen
            return await self._repeated(await self._current(order), request)
        return attrs.evolve(order, status=Status.VALID, certificate_id=certificate.id)

    async def _begun(
        self,
        account: Account,
        order: Order,
        request: CertificateRequest,
        issuer: Issuer,
        template: Template,
        now: datetime,
    ) -> Order:
        """Have a job ask an issuer that takes its time, and return the order as it is after the first moments."""
        job = new_job(order, issuer, template, self._deadline, now)
        event = Event(
            actor=actor_of(account),
            action=Action.ORDER_PROCESSING,
            resource_type="acme_order",
            resource_id=order.id,
            details={"profile": order.profile_id, "certificate": job.certificate_id, "issuer": issuer.id},
        )
        moved = orders.make_processing(order.id, job.deadline, now)
        try:
            await self._trail.record(now, event, moved, jobs.insert(job))
        except Conflict:
            return await self._repeated(await self._current(order), request)
        self._jobs.begin(job)
        return await self._jobs.settled(await self._current(order))

    async def _current(self, order: Order) -> Order:
        current = await self._database.read(orders.by_id(order.id))
        assert current is not None
        return current

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
        """Return an order whose certificate has, or will have, the request's key; raise Problem orderNotReady for
        any other.
        """
        if order.certificate_id is not None:
            issued = await self._database.read(certificates.by_id(order.certificate_id))
            if issued is not None and _key(issued) == request.public_key:
                return order
        elif order.status is Status.PROCESSING:
            job = await self._database.read(jobs.of_order(order.id))
            if job is None:  # it has ended since the order was read
                order = await self._current(order)
                if order.status is not Status.PROCESSING:
                    return await self._repeated(order, request)
            elif stored.unpacked(job.template).public_key == request.public_key:
                return order
        raise Problem(ProblemType.ORDER_NOT_READY, f"the order is {order.status.value}")

    async def _judged(
        self, profile: Profile, account: Account, order: Order, request: CertificateRequest, now: datetime
    ) -> tuple[Terms, Issuer, Template]:
        """What is to be signed, by whom, if account, CSR and profile allow it; raise Problem if not."""
        policy.judge_pause(account)
        terms = self._rules.terms(profile, account)
        csr.judge(request, order.identifiers, keys.load(account.jwk).key)
        issuing_policy.judge_request(profile, terms.policy, request)
        if await self._ask_permission(profile, account, order, now):
            profile = policy.judge_profile(await self._database.read(profiles.by_id(profile.id)), profile.id)
            terms = self._rules.terms(profile, account)
        policy.judge_open(profile, ProblemType.INVALID_PROFILE)
        issuer = await self._issuers.find(profile.issuer_id)
        return terms, issuer, signing.template(terms, issuer, order, request, now)

    async def _certificate(
        self, terms: Terms, issuer: Issuer, order: Order, template: Template, now: datetime
    ) -> Certificate:
        """Have the certificate signed by an issuer that does so at once; raise Problem."""
        id = ids.new(ids.CERTIFICATE, now)
        issued = await signing.sign(issuer, terms, order, template, id)
        return signing.certificate(id, issuer.id, order, issued, now)

    async def chains(self, certificate: Certificate) -> tuple[tuple[bytes, ...], ...]:
        """The chains that a certificate may be sent with: the usual one first, the same with its root, the others."""
        return tuple((certificate.der, *chain) for chain in await self._issuers.chains(certificate.issuer_id))


def _request(payload: Mapping[str, Any]) -> CertificateRequest:
    text = payload.get("csr")
    if not isinstance(text, str):
        raise malformed("the payload has a member csr: the CSR's DER in base64url")
    return csr.parse(text)


def _key(certificate: Certificate) -> CertificatePublicKeyTypes:
    return x509.load_der_x509_certificate(certificate.der).public_key()
