"""Issuance jobs (``issuance_jobs``): one for each order whose issuer has been asked and has not answered for good."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from certctl.storage.database import Json, Query, Row, Statement, every, first

_COLUMNS = "order_id, certificate_id, issuer_id, template, attempts, due_at, deadline, last_error, created_at"
_SELECT = f"SELECT {_COLUMNS} FROM issuance_jobs"


@attrs.frozen(kw_only=True)
class Job:
    """A certificate that an issuer is to be asked for until it gives an answer."""

    order_id: str
    certificate_id: str  # of the certificate to come; also the id of the request to the issuer
    issuer_id: str
    template: Mapping[str, Any]
    attempts: int = 0  # how often it was taken
    due_at: datetime  # when it may be taken: after a pause, or when the lease of who took it ends
    deadline: datetime  # after which the order fails
    last_error: str = ""  # why the last attempt came to nothing, for operators
    created_at: datetime


def _job(row: Row) -> Job:
    names = _COLUMNS.split(", ")
    return Job(**dict(zip(names, row, strict=True)))


def of_order(order_id: str) -> Query[Job | None]:
    """The job of an order."""
    return Query(f"{_SELECT} WHERE order_id = ?", (order_id,), first(_job))


def due(now: datetime, limit: int) -> Query[list[Job]]:
    """Jobs that may be taken, the longest due first."""
    return Query(f"{_SELECT} WHERE due_at <= ? ORDER BY due_at LIMIT ?", (now, limit), every(_job))


def oldest(limit: int) -> Query[list[Job]]:
    """The jobs that wait longest."""
    return Query(f"{_SELECT} ORDER BY created_at LIMIT ?", (limit,), every(_job))


def insert(job: Job) -> Statement:
    """Add a job."""
    return Statement(
        f"INSERT INTO issuance_jobs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job.order_id,
            job.certificate_id,
            job.issuer_id,
            Json(job.template),
            job.attempts,
            job.due_at,
            job.deadline,
            job.last_error,
            job.created_at,
        ),
    )


def take(job: Job, until: datetime, now: datetime) -> Statement:
    """Take a job that is due, for so long; touches no row if somebody else did."""
    return Statement(
        "UPDATE issuance_jobs SET attempts = attempts + 1, due_at = ?"
        " WHERE order_id = ? AND attempts = ? AND due_at <= ?",
        (until, job.order_id, job.attempts, now),
        rows=1,
    )


def put_off(job: Job, until: datetime, why: str) -> Statement:
    """Let a job that was taken be due again later; touches no row if somebody else has taken it meanwhile."""
    return Statement(
        "UPDATE issuance_jobs SET due_at = ?, last_error = ? WHERE order_id = ? AND attempts = ?",
        (until, why, job.order_id, job.attempts),
        rows=1,
    )


def make_due(now: datetime) -> Statement:
    """Let all jobs be taken now: for who knows that nobody else has one."""
    return Statement("UPDATE issuance_jobs SET due_at = ? WHERE due_at > ?", (now, now))


def end(job: Job) -> Statement:
    """Delete a job whose answer came, whoever has taken it meanwhile; touches no row if it is gone."""
    return Statement("DELETE FROM issuance_jobs WHERE order_id = ?", (job.order_id,), rows=1)


def drop(job: Job) -> Statement:
    """Delete a job that nobody else has taken meanwhile."""
    return Statement(
        "DELETE FROM issuance_jobs WHERE order_id = ? AND attempts = ?", (job.order_id, job.attempts), rows=1
    )
