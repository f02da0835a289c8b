"""What a new account must bring: agreement to terms, a binding (RFC 8555 sections 7.3 and 7.3.4)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs

from certctl.acme.problems import Problem, ProblemType


class Demand(StrEnum):
    """Whether accounts are bound to external accounts."""

    OFF = "off"  # a binding that is sent is not looked at, and not reflected
    OPTIONAL = "optional"
    REQUIRED = "required"


@attrs.frozen(kw_only=True)
class AccountRules:
    """The server's rules for new accounts, or a profile's."""

    terms_url: str = ""
    binding: Demand = Demand.OPTIONAL

    def under(self, policy: Mapping[str, Any]) -> AccountRules:
        """The rules of a profile with that policy, where these are the server's.

        What the API would never have stored, somebody wrote by hand: it counts as the strictest.
        """
        terms = policy.get("tos_url", self.terms_url)
        try:
            binding = Demand(policy.get("eab", self.binding))
        except ValueError:
            binding = Demand.REQUIRED
        return AccountRules(terms_url=terms if isinstance(terms, str) else self.terms_url, binding=binding)

    def judge_terms(self, agreed: bool) -> None:
        """Raise Problem userActionRequired unless the terms were agreed to, or there are none."""
        if self.terms_url and not agreed:
            detail = f"agree to the terms of service first: {self.terms_url}"
            links = {"Link": f'<{self.terms_url}>;rel="terms-of-service"'}
            members = {"instance": self.terms_url}
            raise Problem(ProblemType.USER_ACTION_REQUIRED, detail, headers=links, members=members)

    def judge_binding(self, sent: object) -> bool:
        """Whether a binding that was sent (None if none was) is to be verified; raise Problem if one is missing."""
        if self.binding is Demand.REQUIRED and sent is None:
            detail = (
                "accounts need an external account binding here: ask the operator of this CA for a key id and a MAC"
                " key, and give both to the client"
            )
            raise Problem(ProblemType.EXTERNAL_ACCOUNT_REQUIRED, detail)
        return sent is not None and self.binding is not Demand.OFF
