"""The one door to the signers: what goes through it is judged once more, whatever let it come so far."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

from certctl.acme import issuing_policy, name_constraints
from certctl.acme.csr import CertificateRequest
from certctl.acme.objects import Certificate, Order
from certctl.acme.policy import NameRules
from certctl.acme.problems import Problem, ProblemType, malformed
from certctl.acme.profile_policy import BeyondIssuer
from certctl.authority.profile_rules import Terms
from certctl.authority.trail import Action, Event
from certctl.issuance import received
from certctl.issuance.issuer import Issued, Issuer, IssuerUnavailable, Template
from certctl.issuance.profile import SECOND, ValidityError, validity

RETRY_AFTER = timedelta(seconds=10)  # until a signer that does not answer is asked again


async def sign(issuer: Issuer, terms: Terms, order: Order, template: Template, request_id: str) -> Issued:
    """Have a certificate signed that the profile gives; raise Problem, and sign nothing, for any other."""
    try:
        return await ask(issuer, terms, order, template, request_id)
    except IssuerUnavailable:
        detail = "the issuing CA cannot sign at the moment"
        raise Problem(ProblemType.SERVER_INTERNAL, detail, status=503, retry_after=RETRY_AFTER) from None


async def ask(issuer: Issuer, terms: Terms, order: Order, template: Template, request_id: str) -> Issued:
    """Do as ``sign``, and raise IssuerUnavailable where that leaves open whether there is a certificate.

    What comes from afar is held against the template: TemplateError for another certificate.
    """
    names = under(terms, issuer)
    issuing_policy.judge_certificate(terms.profile, terms.policy, names, order.identifiers, template)
    issued = await issuer.sign(template, request_id)
    if not issuer.at_once:
        received.check(template, issuer, issued)
    return issued


async def withdraw(issuer: Issuer, template: Template, request_id: str) -> Issued | None:
    """Give up a request; return the certificate if there is one, which is held against the template.

    Raises IssuerUnavailable, and TemplateError for another certificate.
    """
    issued = await issuer.withdraw(request_id)
    if issued is not None:
        received.check(template, issuer, issued)
    return issued


def template(
    terms: Terms, issuer: Issuer, order: Order, request: CertificateRequest, now: datetime
) -> Template:
    """The certificate of an order: of the CSR it has the key, and what the profile lets the CSR say."""
    policy = terms.policy
    starts, ends = granted_validity(terms, issuer, now, order.not_before, order.not_after)
    return Template(
        names=order.identifiers,
        common_name=issuing_policy.common_name(policy, request),
        public_key=request.public_key,
        not_before=starts,
        not_after=ends,
        extended_key_usages=policy.extended_key_usages,
        must_staple=issuing_policy.must_staple(policy, request),
        no_rev_avail=policy.no_rev_avail,
    )


def under(terms: Terms, issuer: Issuer) -> NameRules:
    """The rules for names under an issuer: those of profile and account, and the name constraints of its chain."""
    chain = issuer.chain if issuer.root is None else (*issuer.chain, issuer.root)
    constraints = name_constraints.of_chain(chain)
    return attrs.evolve(terms.names, constraints=constraints) if constraints else terms.names


def granted_validity(
    terms: Terms, issuer: Issuer, now: datetime, not_before: datetime | None, not_after: datetime | None
) -> tuple[datetime, datetime]:
    """First and last second of a certificate: as asked for, or not at all (RFC 8555 section 7.4).

    Raises Problem malformed if profile or issuer cannot grant what was asked for, and unauthorized if the issuer ends
    before a certificate of the usual length would, and the profile says that none is shortened then.
    """
    profile = terms.profile
    most = timedelta(seconds=profile.max_ttl_seconds)
    try:
        starts, ends = validity(
            now, most, issuer.expires_at, not_before, not_after, usual=terms.policy.default_ttl
        )
    except ValidityError as error:
        raise malformed(str(error)) from None
    wanted = min(most, terms.policy.default_ttl or most)
    if (
        not_after is None
        and terms.policy.beyond_issuer is BeyondIssuer.REFUSE
        and ends - starts + SECOND < wanted
    ):
        detail = (
            f"the issuing CA ends at {issuer.expires_at:%Y-%m-%dT%H:%M:%SZ}, and profile {profile.id} shortens no"
            " certificate: ask its operator for another issuing CA, or for an earlier notAfter"
        )
        raise Problem(ProblemType.UNAUTHORIZED, detail)
    return starts, ends


def certificate(id: str, issuer_id: str, order: Order, issued: Issued, now: datetime) -> Certificate:
    """The certificate of an order, as it is stored."""
    return Certificate(
        id=id,
        profile_id=order.profile_id,
        issuer_id=issuer_id,
        account_id=order.account_id,
        order_id=order.id,
        serial=issued.serial,
        names=order.identifiers,
        der=issued.der,
        not_before=issued.not_before,
        not_after=issued.not_after,
        created_at=now,
    )


def finalized(certificate: Certificate) -> Event:
    """The event of an order that has its certificate."""
    return Event(
        actor=f"acme:{certificate.account_id}",
        action=Action.ORDER_FINALIZED,
        resource_type="acme_order",
        resource_id=certificate.order_id,
        details={
            "profile": certificate.profile_id,
            "certificate": certificate.id,
            "serial": certificate.serial,
            "issuer": certificate.issuer_id,
        },
    )
