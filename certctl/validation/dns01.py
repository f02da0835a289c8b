"""dns-01 (RFC 8555 section 8.4): a TXT record under the name."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

import attrs

from certctl.acme.challenges import dns01_name, dns01_value
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.attempt import Attempt, Evidence, Limits, Transient, printable, within
from certctl.validation.resolver import NameNotFound, NoRecords, Resolver


@attrs.frozen
class DNS01:
    """Validates by dns-01, wildcards included."""

    _reactor: Any
    _resolver: Resolver
    _limits: Limits

    async def validate(self, attempt: Attempt) -> Evidence:
        """Ask for the TXT records; see ``Validator.validate``."""
        attempt.check_type()
        name = dns01_name(attempt.identifier)

        def late() -> Problem:
            return Transient(
                ProblemType.DNS, f"the lookup of TXT {name} did not end within {self._limits.total:g} s"
            )

        return await within(self._reactor, self._limits.total, self._look(name, attempt), late)

    async def _look(self, name: str, attempt: Attempt) -> Evidence:
        """A name or record that is not there is no trouble with a query, but authorization that is lacking.

        So it is ``unauthorized``, and ``dns`` is left to what another resolver or another hour would answer
        otherwise (RFC 8555 section 6.7).
        """
        try:
            records = await self._resolver.txt(name, attempt.network.resolvers)
        except (NameNotFound, NoRecords) as nothing:
            raise Problem(ProblemType.UNAUTHORIZED, nothing.detail) from None
        judge_records(records, name, attempt.key_authorization)
        return Evidence(None, None, f"TXT {name}: {dns01_value(attempt.key_authorization)}")


def judge_records(records: Sequence[bytes], name: str, key_authorization: str) -> None:
    """Return if one of several records is the value (RFC 8555 section 8.4, step 3); raise Problem with what
    was found.
    """
    value = dns01_value(key_authorization).encode("ascii")
    if any([hmac.compare_digest(each, value) for each in records]):  # noqa: C419 - all are compared, whichever matches
        return
    count = "1 TXT record" if len(records) == 1 else f"{len(records)} TXT records"
    first = f", the first {printable(records[0])}" if records else ""
    raise Problem(
        ProblemType.INCORRECT_RESPONSE, f"{name} has {count}, none with the value of this challenge{first}"
    )
