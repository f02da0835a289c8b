"""CAA (RFC 8659) with the parameters accounturi and validationmethods (RFC 8657).

RFC 8657 section 5.6 wants a validating resolver that the CA trusts: that is the operator's choice of
resolvers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import attrs

from certctl.acme.objects import ChallengeType
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.addresses import Resolvers
from certctl.validation.attempt import Limits, Transient, within
from certctl.validation.resolver import CAARecord, NameNotFound, NoRecords, Resolver

_CRITICAL = 0x80  # RFC 8659 section 4.1
_UNDERSTOOD = frozenset({"issue", "issuewild", "iodef"})

# RFC 8659 section 4.2. Parameters are parted at semicolons, which no value may hold.
_LABEL = r"[A-Za-z0-9](?:-*[A-Za-z0-9])*"
_ISSUER = re.compile(rf"[ \t]*({_LABEL}(?:\.{_LABEL})*)?[ \t]*\Z")
_PARAMETER = re.compile(rf"[ \t]*({_LABEL})[ \t]*=[ \t]*([!-:<-~]*)[ \t]*\Z")
_METHODS = re.compile(r"(?:[A-Za-z0-9-]+(?:,[A-Za-z0-9-]+)*)?\Z")  # RFC 8657 section 4
MAX_VALUE = 4096  # characters of a property's value


@attrs.frozen(kw_only=True)
class Question:
    """What is to be issued, for whom, and how control was shown."""

    wildcard: bool
    identities: Collection[str]  # the issuer-domain-names by which this CA knows itself
    account_url: str
    method: ChallengeType | None  # None: by no challenge at all, which no ``validationmethods`` lists


@attrs.frozen
class Grant:
    """The value of an ``issue`` or ``issuewild`` property."""

    issuer: str  # lower case; empty: nobody
    parameters: tuple[tuple[str, str], ...] = ()

    def covers(self, question: Question) -> bool:
        """Whether this grant names this CA, this account and this method."""
        if not self.issuer or self.issuer not in {each.lower() for each in question.identities}:
            return False
        accounts = self._values("accounturi")
        methods = self._values("validationmethods")
        if len(accounts) > 1 or len(methods) > 1:  # unsatisfiable (RFC 8657 section 3)
            return False
        if accounts and accounts[0] != question.account_url:
            return False
        return not methods or (
            _METHODS.match(methods[0]) is not None and question.method in methods[0].split(",")
        )

    def _values(self, tag: str) -> list[str]:
        return [value for each, value in self.parameters if each == tag]


NOBODY = Grant("")


def grant(value: bytes) -> Grant:
    """Parse a property's value; what does not match the grammar grants nothing (RFC 8659 section 4.2)."""
    text = value.decode("ascii", "replace")
    if len(text) > MAX_VALUE:
        return NOBODY
    head, *rest = text.split(";")
    issuer = _ISSUER.match(head)
    if rest and not rest[-1].strip(" \t"):
        rest.pop()  # a semicolon may stand at the end, or alone
    found = [_PARAMETER.match(each) for each in rest]
    if issuer is None or None in found:
        return NOBODY
    return Grant((issuer[1] or "").lower(), tuple((each[1].lower(), each[2]) for each in found if each))


def judge(records: Sequence[CAARecord], question: Question) -> None:
    """Return if the relevant record set lets this CA issue; raise Problem if not (RFC 8659 section 4).

    A critical property with a tag that is not understood refuses; for a wildcard, ``issuewild`` where there
    is one goes before ``issue``; without a property that restricts anything, nothing is restricted.
    """
    for each in records:
        if each.flags & _CRITICAL and each.tag.lower() not in _UNDERSTOOD:
            raise _forbidden(f"a critical property {each.tag[:32]!r} that is not understood here")
    issue = [each for each in records if each.tag.lower() == "issue"]
    wild = [each for each in records if each.tag.lower() == "issuewild"]
    relevant = (wild or issue) if question.wildcard else issue
    if not relevant or any(grant(each.value).covers(question) for each in relevant):
        return
    tag = "issuewild" if question.wildcard and wild else "issue"
    raise _forbidden(f"no {tag} property that grants it to this CA, account and method")


def _forbidden(words: str) -> Problem:
    return Problem(ProblemType.CAA, words)


def climb(name: str) -> tuple[str, ...]:
    """Return the names to ask, from ``name`` to its top-level domain (RFC 8659 section 3)."""
    labels = name.rstrip(".").split(".")
    return tuple(".".join(labels[start:]) for start in range(len(labels)))


@attrs.frozen
class CAA:
    """Looks up the relevant record set and judges it."""

    _reactor: Any
    _resolver: Resolver
    _limits: Limits

    async def check(
        self,
        name: str,
        wildcard: bool,
        identities: Collection[str],
        account_url: str,
        method: ChallengeType | None,
        resolvers: Resolvers,
    ) -> None:
        """Return if CAA lets this CA issue for ``name`` (or ``*.name``).

        Raises Problem of type caa if not, and Transient of type dns if the records cannot be had: without
        them there is no telling (RFC 8659 section 6.3).
        """

        def late() -> Problem:
            return Transient(
                ProblemType.DNS, f"the CAA lookup for {name} did not end within {self._limits.total:g} s"
            )

        question = Question(wildcard=wildcard, identities=identities, account_url=account_url, method=method)
        found = await within(self._reactor, self._limits.total, self._relevant(name, resolvers), late)
        try:
            judge(found[1], question)
        except Problem as refusal:
            shown = f"*.{name}" if wildcard else name
            raise Problem(ProblemType.CAA, f"CAA at {found[0]} forbids {shown}: {refusal.detail}") from None

    async def _relevant(self, name: str, resolvers: Resolvers) -> tuple[str, Sequence[CAARecord]]:
        """The first record set on the way up, and where it is (RFC 8659 section 3)."""
        for each in climb(name):
            try:
                return each, await self._resolver.caa(each, resolvers)
            except (NameNotFound, NoRecords):
                continue
        return name, ()


def caa(reactor: Any, limits: Limits | None = None) -> CAA:
    """Return a check that asks with a resolver of its own."""
    limits = limits or Limits()
    return CAA(reactor, Resolver(reactor, seconds=limits.query), limits)
