"""One event for each change: its audit row in the change's transaction, its log line once that is durable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

import attrs
from twisted.logger import Logger

from certctl.acme.objects import Account
from certctl.authority.refusals import Seldom
from certctl.storage import audit
from certctl.storage.database import Database, Statement

GC = "acme-system:gc"
SYSTEM = "acme-system:start"
ISSUANCE = "acme-system:issuance"


class Action(StrEnum):
    """What the audit rows say was done."""

    ACCOUNT_CREATED = "acme_account_created"
    ACCOUNT_CONTACT_UPDATED = "acme_account_contact_updated"
    ACCOUNT_DEACTIVATED = "acme_account_deactivated"
    ACCOUNT_KEY_ROLLED = "acme_account_key_rolled"
    ACCOUNT_PAUSED = "acme_account_paused"
    ACCOUNT_POLICY_CHANGED = "acme_account_policy_changed"
    ACCOUNT_RESUMED = "acme_account_resumed"
    API_KEY_CREATED = "api_key_created"
    API_KEY_REVOKED = "api_key_revoked"
    AUTHORIZATION_CREATED = "acme_authorization_created"
    AUTHORIZATION_DEACTIVATED = "acme_authorization_deactivated"
    AUTHORIZATIONS_DELETED = "acme_authorizations_deleted"
    AUTHORIZATIONS_EXPIRED = "acme_authorizations_expired"
    BINDING_REFUSED = "eab_refused"
    CERTIFICATE_REVOCATION_REFUSED = "certificate_revocation_refused"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CERTIFICATES_DELETED = "certificates_deleted"
    CERTIFICATES_REVOKED = "certificates_revoked"
    CHALLENGE_COMPLETED = "acme_challenge_completed"
    CHALLENGE_PROCESSING = "acme_challenge_processing"
    CONSOLE_SIGN_IN_REFUSED = "console_sign_in_refused"
    CONSOLE_SIGNED_IN = "console_signed_in"
    CONSOLE_SIGNED_OUT = "console_signed_out"
    EAB_KEY_CREATED = "eab_key_created"
    EAB_KEY_REVOKED = "eab_key_revoked"
    ISSUER_CHAIN_ADDED = "issuer_chain_added"
    ISSUER_CHAIN_REMOVED = "issuer_chain_removed"
    ISSUER_INSTALLED = "issuer_installed"
    ISSUER_REQUESTED = "issuer_requested"
    ISSUER_REQUEST_WITHDRAWN = "issuer_request_withdrawn"
    ISSUER_RETIRED = "issuer_retired"
    ISSUER_SWITCHED = "issuer_switched"
    ISSUER_SWITCH_CANCELLED = "issuer_switch_cancelled"
    ISSUER_SWITCH_PLANNED = "issuer_switch_planned"
    ISSUER_RECORDED = "issuer_recorded"
    MASS_RENEWAL_CANCELLED = "mass_renewal_cancelled"
    MASS_RENEWAL_FINISHED = "mass_renewal_finished"
    MASS_RENEWAL_STARTED = "mass_renewal_started"
    NAMES_UNPAUSED = "acme_names_unpaused"
    ORDER_CREATED = "acme_order_created"
    ORDER_EXPIRED = "acme_order_expired"
    ORDER_FAILED = "acme_order_failed"
    ORDER_FINALIZED = "acme_order_finalized"
    ORDER_PROCESSING = "acme_order_processing"
    ORDER_REFUSED = "acme_order_refused"
    ORDERS_DELETED = "acme_orders_deleted"
    PROFILE_ARCHIVED = "profile_archived"
    PROFILE_CHANGED = "profile_changed"
    PROFILE_CREATED = "profile_created"
    PROFILE_DELETED = "profile_deleted"
    RATE_LIMITED = "acme_rate_limited"
    RESTORED = "backup_restored"
    SECRET_RECORDED = "secret_key_recorded"


@attrs.frozen(kw_only=True)
class Event:
    """Who did what to which resource."""

    actor: str
    action: Action
    resource_type: str
    resource_id: str
    details: Mapping[str, Any] = attrs.field(factory=dict)

    def row(self, now: datetime) -> Statement:
        """The audit row of the event."""
        return audit.insert(
            created_at=now,
            actor=self.actor,
            action=self.action.value,
            resource_type=self.resource_type,
            resource_id=self.resource_id,
            details=dict(self.details),
        )


def actor_of(account: Account) -> str:
    """How the trail names an account."""
    return f"acme:{account.id}"


def stranger_to(profile_id: str) -> str:
    """How the trail names who has no account yet: by nothing that a stranger could choose."""
    return f"acme-stranger:{profile_id}"


class Seconds(Protocol):
    """What tells the time: the reactor, or a test's clock."""

    def seconds(self) -> float:
        """Seconds since the epoch."""


class Observer(Protocol):
    """Who wants to hear of events, to count them."""

    def recorded(self, event: Event) -> None:
        """The event is recorded, and its change durable. Raises nothing."""


class Trail:
    """Makes changes, and leaves a trail of them."""

    _log = Logger(namespace="certctl")

    def __init__(self, database: Database, clock: Seconds, observer: Observer | None = None) -> None:
        self._database = database
        self._clock = clock
        self._observer = observer
        self._refusals = Seldom()

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self._clock.seconds(), UTC)

    async def record(self, now: datetime, events: Event | Sequence[Event], *statements: Statement) -> None:
        """Make a change and record its events together; raise storage's Conflict if somebody else was first."""
        events = (events,) if isinstance(events, Event) else events
        await self._database.write(*statements, *(event.row(now) for event in events))
        for event in events:
            self._log.info(event.action.value, **_fields(event))
            if self._observer is not None:
                self._observer.recorded(event)

    async def refuse(self, event: Event) -> None:
        """Record a refusal that matters, which changes nothing: the first of its actor and action in a minute.

        The next that is recorded says in ``details.unrecorded`` how many were not. Raises nothing: what is refused
        stays refused where the trail cannot be written.
        """
        now = self.now()
        unrecorded = self._refusals.admit((event.actor, event.action), now)
        if unrecorded is None:
            return
        more = {"unrecorded": unrecorded} if unrecorded else {}
        try:
            await self.record(now, attrs.evolve(event, details={**event.details, **more}))
        except Exception as error:
            self._log.error("a refusal could not be recorded", refused=event.action.value, why=str(error))


def _fields(event: Event) -> dict[str, Any]:
    return {event.resource_type: event.resource_id, "actor": event.actor, **event.details}
