"""Revocation by the account, the certificate's key, or who proved control of all names (RFC 8555 section 7.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from cryptography import x509

from certctl.acme.encoding import from_base64url
from certctl.acme.keys import PublicKey
from certctl.acme.objects import Account, Certificate, Profile
from certctl.acme.problems import Problem, ProblemType, malformed
from certctl.authority.profile_rules import advertised
from certctl.authority.trail import Action, Event, Trail, actor_of, stranger_to
from certctl.storage import authorizations, certificates
from certctl.storage.database import Conflict, Database

# RFC 5280 section 5.3.1. Not for subscribers: cACompromise and aACompromise are said of authorities; certificateHold
# and removeFromCRL would make revocation something that ends.
REASONS = {
    0: "unspecified",
    1: "keyCompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
    9: "privilegeWithdrawn",
}


class Revocation:
    """Revokes certificates for those who may."""

    def __init__(self, database: Database, trail: Trail) -> None:
        self._database = database
        self._trail = trail

    async def revoke(
        self, profile: Profile, account: Account | None, key: PublicKey, payload: Mapping[str, Any]
    ) -> Certificate:
        """Revoke the certificate that the payload holds, whole; with no account, the certificate's own key signed.

        Raises Problem: malformed (404) for a certificate that is not from this profile, unauthorized, alreadyRevoked,
        badRevocationReason.
        """
        reason = _reason(payload)
        certificate = await self._find(profile, payload)
        actor = await self._judge_recording(account, key, certificate)
        now = self._trail.now()
        event = Event(
            actor=actor,
            action=Action.CERTIFICATE_REVOKED,
            resource_type="certificate",
            resource_id=certificate.id,
            details={
                "profile": certificate.profile_id,
                "serial": certificate.serial,
                "reason": REASONS[reason],
            },
        )
        try:
            await self._trail.record(now, event, certificates.revoke(certificate.id, reason, now))
        except Conflict:
            raise Problem(ProblemType.ALREADY_REVOKED, "the certificate was revoked before") from None
        return attrs.evolve(certificate, revoked_at=now, revocation_reason=reason)

    async def _find(self, profile: Profile, payload: Mapping[str, Any]) -> Certificate:
        """The stored certificate that is, octet for octet, the one sent: what is judged is what is revoked."""
        text = payload.get("certificate")
        try:
            der = from_base64url(text) if isinstance(text, str) else b""
            serial = f"{x509.load_der_x509_certificate(der).serial_number:x}"
        except Exception:
            raise malformed("the payload has a member certificate: its DER in base64url") from None
        for certificate in await self._database.read(certificates.by_serial(serial)):
            if certificate.der == der and certificate.profile_id in (profile.id, *advertised(profile)):
                return certificate
        raise Problem(ProblemType.MALFORMED, "this profile has not issued that certificate", status=404)

    async def _judge_recording(
        self, account: Account | None, key: PublicKey, certificate: Certificate
    ) -> str:
        """Do as ``_judge``, and record who tried to revoke what is not theirs."""
        try:
            return await self._judge(account, key, certificate)
        except Problem as problem:
            await self._trail.refuse(
                Event(
                    actor=stranger_to(certificate.profile_id) if account is None else actor_of(account),
                    action=Action.CERTIFICATE_REVOCATION_REFUSED,
                    resource_type="certificate",
                    resource_id=certificate.id,
                    details={"serial": certificate.serial, "why": problem.detail},
                )
            )
            raise

    async def _judge(self, account: Account | None, key: PublicKey, certificate: Certificate) -> str:
        """Return the actor that the trail names; raise Problem if the signer may not revoke."""
        if account is None:
            if key.key == x509.load_der_x509_certificate(certificate.der).public_key():
                return f"acme-cert-key:{certificate.serial}"
            raise Problem(ProblemType.UNAUTHORIZED, "the key is not that of the certificate")
        if account.id == certificate.account_id:
            return actor_of(account)
        # Only what was proved by a challenge counts: by the trust of a profile any account would hold any name.
        proved = await self._database.read(authorizations.valid_for(account.id, self._trail.now()))
        if proved.issuperset(certificate.names):
            return actor_of(account)
        detail = "the certificate is another account's, and this one has not proved control of all its names"
        raise Problem(ProblemType.UNAUTHORIZED, detail)


def _reason(payload: Mapping[str, Any]) -> int:
    """The reason code; unspecified if there is none."""
    reason = payload.get("reason", 0)
    if not isinstance(reason, int) or isinstance(reason, bool) or reason not in REASONS:
        allowed = ", ".join(f"{code} ({name})" for code, name in REASONS.items())
        raise Problem(ProblemType.BAD_REVOCATION_REASON, f"the reason codes allowed are {allowed}")
    return reason
