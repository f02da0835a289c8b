"""What a new account must bring: agreement to terms, a binding (RFC 8555 sections 7.3 and 7.3.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from certctl.acme.members import PolicyError
from certctl.acme.problems import Problem, ProblemType
from certctl.acme.profile_policy import Binding, Policy


@attrs.frozen(kw_only=True)
class AccountRules:
    """The server's rules for new accounts, or a profile's."""

    terms_url: str = ""
    binding: Binding = Binding.OPTIONAL

    def under(self, policy: Mapping[str, Any]) -> AccountRules:
        """The rules of a profile with that policy, where these are the server's; a misread policy is the strictest."""
        try:
            own = Policy.of(policy)
        except PolicyError:
            return attrs.evolve(self, binding=Binding.REQUIRED)
        return AccountRules(terms_url=own.tos_url or self.terms_url, binding=own.eab or self.binding)

    def judge_terms(self, agreed: bool) -> None:
        """Raise Problem userActionRequired unless the terms were agreed to, or there are none."""
        if self.terms_url and not agreed:
            detail = f"agree to the terms of service first: {self.terms_url}"
            links = {"Link": f'<{self.terms_url}>;rel="terms-of-service"'}
            members = {"instance": self.terms_url}
            raise Problem(ProblemType.USER_ACTION_REQUIRED, detail, headers=links, members=members)

    def judge_binding(self, sent: object) -> bool:
        """Whether a binding that was sent (None if none was) is to be verified; raise Problem if one is missing.

        Where bindings are off, one that is sent is neither verified nor reflected (RFC 8555 section 7.3.4).
        """
        if self.binding is Binding.REQUIRED and sent is None:
            detail = (
                "accounts need an external account binding here: ask the operator of this CA for a key id and a MAC"
                " key, and give both to the client"
            )
            raise Problem(ProblemType.EXTERNAL_ACCOUNT_REQUIRED, detail)
        return sent is not None and self.binding is not Binding.OFF
