"""Problem documents (RFC 8555 section 6.7, RFC 7807): one line a type, raised anywhere, rendered once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum
from typing import Any

import attrs

from certctl.acme.identifiers import Identifier

NAMESPACE = "urn:ietf:params:acme:error:"
MAX_NAMED = 5  # of the refused identifiers in one sentence; all of them are in subproblems


class ProblemType(Enum):
    """An error type and the HTTP status it is answered with (RFC 8555 section 6.7 unless said otherwise)."""

    ACCOUNT_DOES_NOT_EXIST = ("accountDoesNotExist", 400)
    ALREADY_REPLACED = ("alreadyReplaced", 409)  # RFC 9773 section 5
    ALREADY_REVOKED = ("alreadyRevoked", 400)
    BAD_CSR = ("badCSR", 400)
    BAD_NONCE = ("badNonce", 400)
    BAD_PUBLIC_KEY = ("badPublicKey", 400)
    BAD_REVOCATION_REASON = ("badRevocationReason", 400)
    BAD_SIGNATURE_ALGORITHM = ("badSignatureAlgorithm", 400)
    CAA = ("caa", 403)
    COMPOUND = ("compound", 400)
    CONNECTION = ("connection", 400)
    DNS = ("dns", 400)
    EXTERNAL_ACCOUNT_REQUIRED = ("externalAccountRequired", 403)
    INCORRECT_RESPONSE = ("incorrectResponse", 403)
    INVALID_CONTACT = ("invalidContact", 400)
    INVALID_PROFILE = ("invalidProfile", 400)  # draft-ietf-acme-profiles section 6.3
    MALFORMED = ("malformed", 400)
    ORDER_NOT_READY = ("orderNotReady", 403)  # RFC 8555 section 7.4
    RATE_LIMITED = ("rateLimited", 429)
    REJECTED_IDENTIFIER = ("rejectedIdentifier", 400)
    SERVER_INTERNAL = ("serverInternal", 500)
    TLS = ("tls", 400)
    UNAUTHORIZED = ("unauthorized", 403)
    UNSUPPORTED_CONTACT = ("unsupportedContact", 400)
    UNSUPPORTED_IDENTIFIER = ("unsupportedIdentifier", 400)
    USER_ACTION_REQUIRED = ("userActionRequired", 403)

    @property
    def urn(self) -> str:
        """The URN that goes into the document's ``type``."""
        return NAMESPACE + str(self.value[0])

    @property
    def status(self) -> int:
        """The HTTP status that goes with the type unless a Problem names another."""
        return int(self.value[1])


@attrs.frozen
class Subproblem:
    """What is wrong with one identifier of several (RFC 8555 section 6.7.1)."""

    type: ProblemType
    detail: str
    identifier: Identifier

    def document(self) -> dict[str, Any]:
        """Render as a member of ``subproblems``."""
        return {"type": self.type.urn, "detail": self.detail, "identifier": self.identifier.document()}


class Problem(Exception):
    """A refusal worded for the client.

    ``status`` replaces the type's usual one where the RFC asks for it (404, 409, 413); ``retry_after`` becomes
    the header of that name; ``headers`` and ``members`` are added to the answer and to the document.
    """

    def __init__(
        self,
        type: ProblemType,
        detail: str,
        *,
        status: int | None = None,
        subproblems: Sequence[Subproblem] = (),
        retry_after: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.type = type
        self.detail = detail
        self.status = type.status if status is None else status
        self.subproblems = tuple(subproblems)
        self.retry_after = retry_after
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    def document(self) -> dict[str, Any]:
        """Render as an ``application/problem+json`` object, without empty members."""
        document: dict[str, Any] = {"type": self.type.urn, "detail": self.detail, "status": self.status}
        if self.subproblems:
            document["subproblems"] = [each.document() for each in self.subproblems]
        document.update(self.members)
        return document


def malformed(detail: str) -> Problem:
    """The most frequent refusal: a request that is not what the RFC describes."""
    return Problem(ProblemType.MALFORMED, detail)


def refusing_identifiers(subproblems: Sequence[Subproblem], of: int = 1) -> Problem:
    """One problem for all refused identifiers: theirs if they agree, else ``compound`` (section 6.7.1).

    ``of`` is how many were asked for. Where that is not clear by itself the detail names the refused ones, since
    there are clients that show of a subproblem all but its identifier.
    """
    types = {each.type for each in subproblems}
    if len(subproblems) == 1:
        (only,) = subproblems
        detail = f"{only.identifier.value}: {only.detail}" if of > 1 else only.detail
        return Problem(only.type, detail, subproblems=subproblems)
    shared = types.pop() if len(types) == 1 else ProblemType.COMPOUND
    named = ", ".join(each.identifier.value for each in subproblems[:MAX_NAMED])
    more = f" and {len(subproblems) - MAX_NAMED} more" if len(subproblems) > MAX_NAMED else ""
    detail = f"{len(subproblems)} of the identifiers were refused: {named}{more}"
    return Problem(shared, detail, subproblems=subproblems)
