"""Refused orders as events of the trail: who asked for what, and which rule refused it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from certctl.acme.objects import Account, Order, Profile
from certctl.acme.problems import Problem, ProblemType
from certctl.authority.trail import Action, Event, Trail, actor_of

MOST = 100  # identifiers in an event
MAX_VALUE = 253  # characters of one
# What is refused by a policy, and not by how the request is made. Rate limits have an event of their own.
_BY_POLICY = frozenset(
    {
        ProblemType.BAD_CSR,
        ProblemType.COMPOUND,
        ProblemType.INVALID_PROFILE,
        ProblemType.REJECTED_IDENTIFIER,
        ProblemType.UNAUTHORIZED,
        ProblemType.UNSUPPORTED_IDENTIFIER,
    }
)


async def record(
    trail: Trail, profile: Profile, account: Account, problem: Problem, asked: Order | Sequence[Any] | None
) -> None:
    """Record a refusal, if a policy is the reason; ``asked`` is the order, or the identifiers of a payload."""
    broken = (
        problem.type is ProblemType.SERVER_INTERNAL and problem.status == ProblemType.SERVER_INTERNAL.status
    )
    if problem.type not in _BY_POLICY and not broken:
        return
    order = asked if isinstance(asked, Order) else None
    rule = {each.identifier.value: each.detail for each in problem.subproblems[:MOST]}
    details = {
        "profile": profile.id,
        "identifiers": _values(asked),
        "type": problem.type.value[0],
        "why": problem.detail,
        "rule": rule or problem.detail,
    }
    event = Event(
        actor=actor_of(account),
        action=Action.ORDER_REFUSED,
        resource_type="acme_account" if order is None else "acme_order",
        resource_id=account.id if order is None else order.id,
        details=details,
    )
    await trail.refuse(event)


def _values(asked: Order | Sequence[Any] | None) -> list[str]:
    if isinstance(asked, Order):
        return [each.value for each in asked.identifiers]
    listed = asked[:MOST] if isinstance(asked, list) else []
    return [str(each.get("value"))[:MAX_VALUE] for each in listed if isinstance(each, Mapping)]
