"""What operators may do. The REST API and the CLI stand on the use cases named here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import attrs

from certctl.acme.objects import AuthMode
from certctl.authority.api_keys import ApiKeys
from certctl.authority.bindings import Bindings
from certctl.authority.enrolment import Enrolment
from certctl.authority.issuers import Issuers
from certctl.authority.mass_renewals import MassRenewals
from certctl.authority.presence import Presence
from certctl.authority.profiles import Profiles
from certctl.authority.renewals import Renewals
from certctl.authority.revocation_lists import RevocationLists
from certctl.authority.rotation import Rotation
from certctl.authority.supervision import Supervision
from certctl.authority.trail import Trail
from certctl.authority.withdrawal import Withdrawal
from certctl.issuance.issuer import StatusUrls
from certctl.storage.database import Database
from certctl.storage.search.statistics import Counted


@attrs.frozen(kw_only=True)
class Administration:
    """The use cases of operators, and the database for what is only looked at."""

    database: Database
    trail: Trail
    issuers: Issuers
    enrolment: Enrolment
    rotation: Rotation
    default_mode: AuthMode  # of a profile that names none
    pause_after: int  # failed validations in a row, after which a name is paused; 0: never
    api_keys: ApiKeys
    bindings: Bindings
    profiles: Profiles
    supervision: Supervision
    withdrawal: Withdrawal
    presence: Presence
    revocation_lists: Callable[[str], Awaitable[RevocationLists | None]]
    status_urls: Callable[[str], StatusUrls | None]  # of an issuer's certificates
    engine: str  # of the database: SQLite or PostgreSQL
    mass_renewals: MassRenewals
    renewals: Renewals

    counted_days: dict[tuple[datetime, datetime], Counted] = attrs.field(factory=dict)  # that are over

    def now(self) -> datetime:
        """The time, in UTC."""
        return self.trail.now()
