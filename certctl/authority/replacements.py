"""Orders that replace a certificate (RFC 9773 section 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from certctl.acme.identifiers import Identifier
from certctl.acme.objects import Account, Order
from certctl.acme.problems import Problem, ProblemType, malformed
from certctl.authority.issuers import Issuers
from certctl.authority.renewals import Renewals, find, parsed, unknown
from certctl.storage import orders
from certctl.storage.database import Database


@attrs.frozen
class Replaced:
    """The certificate that an order replaces: its certID as the client wrote it, and its id."""

    cert_id: str
    id: str


class Replacements:
    """Judges what an order says it replaces (RFC 9773 section 5)."""

    def __init__(self, database: Database, issuers: Issuers, renewals: Renewals) -> None:
        self._database = database
        self._issuers = issuers
        self._renewals = renewals

    async def replaced(
        self,
        account: Account,
        identifiers: Sequence[Identifier],
        payload: Mapping[str, Any],
    ) -> Replaced | None:
        """The certificate that an order replaces, if it says so and we would know.

        Raises Problem for a certificate that it cannot replace (RFC 9773 section 5). What another CA issued is nothing
        that could be checked, so it is ignored, as is the member itself where renewal information is off.
        """
        text = payload.get("replaces")
        if text is None or not self._renewals.enabled:
            return None
        if not isinstance(text, str):
            raise malformed("replaces is a certID (RFC 9773 section 4.1)")
        cert_id = parsed(text)
        if cert_id.key_identifier not in self._issuers.key_identifiers():
            return None
        # Of any profile that the account could choose (draft-ietf-acme-profiles).
        certificate = await find(self._database, cert_id)
        if certificate is None or certificate.account_id != account.id:
            raise unknown()
        if not set(identifiers) & set(certificate.names):
            raise malformed("an order shares a name at least with the certificate that it replaces")
        return Replaced(text, certificate.id)

    async def awaited(self, order: Order) -> bool:
        """Whether an operator has asked for this order, so that none in an hour are too many.

        Clients that renew in time are not held back (RFC 9773 section 5), even those that send no ``replaces``.
        """
        return order.replaces is not None or await self._renewals.called(order)

    async def explain(self, cert_id: str | None) -> None:
        """Raise Problem alreadyReplaced if that is why an order could not be stored; return if it is not."""
        if cert_id is not None and await self._database.read(orders.replacing(cert_id)):
            detail = "another order replaces that certificate already; order without replaces"
            raise Problem(ProblemType.ALREADY_REPLACED, detail)
