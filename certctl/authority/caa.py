"""Whether CAA lets this CA issue (RFC 8659), for the profiles that want to know."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Protocol

from certctl.acme.identifiers import Identifier, IdentifierType
from certctl.acme.objects import Account, ChallengeType
from certctl.authority.challenge_rules import ChallengeRules
from certctl.validation.addresses import Resolvers

FRESH = timedelta(
    hours=1
)  # a permission is good for so long; RFC 8659 section 2.2 allows 8 hours in practice
MAX_KEPT = 10_000  # permissions


class Check(Protocol):
    """Looks CAA records up and judges them."""

    async def check(
        self,
        name: str,
        wildcard: bool,
        identities: Collection[str],
        account_url: str,
        method: ChallengeType | None,
        resolvers: Resolvers,
    ) -> None:
        """Return if this CA may issue; raise Problem if not, or if there is no telling."""


class Permission:
    """Asks when control was shown, and again before issuing if that is long ago."""

    def __init__(
        self, check: Check, identities: Collection[str], account_url: Callable[[Account], str]
    ) -> None:
        self._check = check
        self._identities = identities
        self._account_url = account_url
        self._given: OrderedDict[tuple[str, Identifier, ChallengeType | None], datetime] = OrderedDict()

    async def ask(
        self,
        rules: ChallengeRules,
        account: Account,
        identifier: Identifier,
        method: ChallengeType | None,
        now: datetime,
    ) -> None:
        """Return if the profile does not care, or CAA lets it pass; raise Problem otherwise.

        ``method`` is how control was shown; None if the profile trusts its accounts.
        """
        if not rules.caa or identifier.type is IdentifierType.IP:  # RFC 8738 section 7: CAA is for names
            return
        key = (account.id, identifier, method)
        if (given := self._given.get(key)) is not None and now - given < FRESH:
            return
        name, wildcard = identifier.base.value, identifier.wildcard
        url = self._account_url(account)
        await self._check.check(name, wildcard, self._identities, url, method, rules.network.resolvers)
        self._given[key] = now
        while len(self._given) > MAX_KEPT:
            self._given.popitem(last=False)
