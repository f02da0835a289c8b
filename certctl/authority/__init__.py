"""The registration authority: what may be done with accounts, orders and certificates, one use case each.

A use case takes objects as they were read, decides by the pure functions of ``certctl.acme``, and makes one change,
with its audit row, through the trail.
"""

from __future__ import annotations

from datetime import datetime

import attrs

from certctl.acme.account_rules import AccountRules
from certctl.authority.accounts import Accounts
from certctl.authority.authorizations import Authorizations
from certctl.authority.bindings import Bindings
from certctl.authority.challenges import Challenges
from certctl.authority.issuance import Issuance
from certctl.authority.jobs import Jobs
from certctl.authority.orders import Orders
from certctl.authority.renewals import Renewals
from certctl.authority.revocation import Revocation
from certctl.authority.trail import Trail


@attrs.frozen(kw_only=True)
class Service:
    """What the directory says of the server (RFC 8555 section 9.7.6)."""

    directory: tuple[tuple[str, str], ...]  # the directory's members, and their paths below the profile
    rules: AccountRules
    website: str = ""
    caa_identities: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Authority:
    """All use cases."""

    trail: Trail
    service: Service
    accounts: Accounts
    bindings: Bindings
    orders: Orders
    authorizations: Authorizations
    challenges: Challenges
    issuance: Issuance
    jobs: Jobs
    revocation: Revocation
    renewals: Renewals

    def now(self) -> datetime:
        """The time, in UTC."""
        return self.trail.now()
