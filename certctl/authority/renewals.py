"""Renewal information, and orders that replace a certificate (RFC 9773)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import attrs
from cryptography import x509

from certctl.acme.identifiers import Identifier
from certctl.acme.objects import Account, Certificate, Profile
from certctl.acme.problems import Problem, ProblemType, malformed
from certctl.acme.renewal import CertID, Window, hurried, key_identifier_of, overdue
from certctl.authority.issuers import Issuers
from certctl.authority.profile_rules import advertised, renewal_policy
from certctl.storage import certificates, orders
from certctl.storage.database import Database

JITTER = 0.1  # of the poll interval, so that those who asked together do not ask together again


@attrs.frozen
class RenewalInfo:
    """When to renew, and when to ask again (RFC 9773 section 4.2)."""

    window: Window
    ask_again: timedelta


class Renewals:
    """Says when to renew, and judges what an order says it replaces."""

    def __init__(
        self, database: Database, issuers: Issuers, *, enabled: bool, poll_interval: timedelta
    ) -> None:
        self._database = database
        self._issuers = issuers
        self._poll_interval = poll_interval
        self.enabled = enabled

    async def info(self, profile: Profile, text: str) -> RenewalInfo:
        """The renewal information of a certificate that this profile issued; raises Problem for any other."""
        if not self.enabled:
            raise Problem(ProblemType.MALFORMED, "this server gives no renewal information", status=404)
        certificate = await self._find(_parsed(text))
        if certificate is None or certificate.profile_id not in (profile.id, *advertised(profile)):
            raise _unknown()
        if certificate.revoked_at is not None:
            window = overdue(certificate.revoked_at)
        else:
            window = renewal_policy(profile).window(certificate.not_before, certificate.not_after)
            if (retiring := self._issuers.renewal(certificate.issuer_id)) is not None:
                window = hurried(window, *retiring)
        wait = self._poll_interval * (1 - JITTER * random.random())
        return RenewalInfo(window, wait)

    async def replaced(
        self,
        account: Account,
        identifiers: Sequence[Identifier],
        payload: Mapping[str, Any],
    ) -> str | None:
        """The certID of the certificate that an order replaces, if it says so and we would know.

        Raises Problem for a certificate that it cannot replace (RFC 9773 section 5). What another CA issued is nothing
        that could be checked, so it is ignored, as is the member itself where renewal information is off.
        """
        text = payload.get("replaces")
        if text is None or not self.enabled:
            return None
        if not isinstance(text, str):
            raise malformed("replaces is a certID (RFC 9773 section 4.1)")
        cert_id = _parsed(text)
        if cert_id.key_identifier not in self._issuers.key_identifiers():
            return None
        certificate = await self._find(
            cert_id
        )  # of any profile that the account could choose (draft-ietf-acme-profiles)
        if certificate is None or certificate.account_id != account.id:
            raise _unknown()
        if not set(identifiers) & set(certificate.names):
            raise malformed("an order shares a name at least with the certificate that it replaces")
        return text

    async def explain(self, cert_id: str | None) -> None:
        """Raise Problem alreadyReplaced if that is why an order could not be stored; return if it is not."""
        if cert_id is not None and await self._database.read(orders.replacing(cert_id)):
            detail = "another order replaces that certificate already; order without replaces"
            raise Problem(ProblemType.ALREADY_REPLACED, detail)

    async def _find(self, cert_id: CertID) -> Certificate | None:
        for certificate in await self._database.read(certificates.by_serial(cert_id.serial)):
            signed_by = key_identifier_of(x509.load_der_x509_certificate(certificate.der))
            if signed_by == cert_id.key_identifier:
                return certificate
        return None


def _parsed(text: str) -> CertID:
    try:
        return CertID.parse(text)
    except ValueError as error:
        raise malformed(str(error)) from None


def _unknown() -> Problem:
    detail = "this profile has issued no such certificate"
    return Problem(ProblemType.MALFORMED, detail, status=404)
