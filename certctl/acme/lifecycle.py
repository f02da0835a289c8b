"""What becomes of orders and authorizations with time and with each other (RFC 8555 section 7.1.6)."""

from __future__ import annotations

from datetime import datetime

import attrs

from certctl.acme.objects import Authorization, Order, Status
from certctl.acme.problems import Problem, ProblemType

OPEN = frozenset({Status.PENDING, Status.READY, Status.PROCESSING})

EXPIRED = Problem(ProblemType.MALFORMED, "the order expired before it was finalized")
LOST_AUTHORIZATION = Problem(ProblemType.UNAUTHORIZED, "an authorization of the order is not valid any more")


def settled_authorization(authorization: Authorization, now: datetime) -> Authorization:
    """Return the authorization as the time leaves it: past its end, pending is invalid and valid is expired."""
    if authorization.expires_at >= now:
        return authorization
    if authorization.status is Status.VALID:
        return attrs.evolve(authorization, status=Status.EXPIRED)
    if authorization.status is Status.PENDING:
        return attrs.evolve(authorization, status=Status.INVALID)
    return authorization


def settled(order: Order, now: datetime) -> Order:
    """Return the order as its authorizations and the time leave it."""
    if order.status not in OPEN:
        return order
    if order.status is Status.PROCESSING:
        return order  # all held when issuance began, which has an end of its own
    if order.expires_at < now:
        return attrs.evolve(order, status=Status.INVALID, error=EXPIRED.document())
    states = {_state(each.status, each.expires_at, now) for each in order.authorizations}
    if states <= {Status.VALID, Status.PENDING}:
        status = Status.READY if Status.PENDING not in states else Status.PENDING
        return order if order.status is status else attrs.evolve(order, status=status)
    return attrs.evolve(order, status=Status.INVALID, error=LOST_AUTHORIZATION.document())


def _state(status: Status, expires_at: datetime, now: datetime) -> Status:
    return status if expires_at >= now else Status.EXPIRED
