"""Orders whose issuer does not sign at once: a job has each of them signed, whatever crashes or stops meanwhile.

The job is stored in the change that makes the order ``processing``, and goes with the change that ends it. Who works on
it has taken it for a while (``due_at``), so that one server at a time asks the issuer; one that dies loses it to
another. The issuer is asked under the id that the certificate will have, and answers the same as often as it is asked
(``Issuer``), so that no crash loses a certificate or makes a second one. An order that ended before its certificate
came wants none: if there is one all the same, it is stored revoked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from certctl.acme import ids, policy
from certctl.acme.objects import Certificate, Order, Status
from certctl.acme.problems import Problem, ProblemType
from certctl.authority import signing
from certctl.authority.issuers import Issuers
from certctl.authority.profile_rules import ProfileRules
from certctl.authority.revocation import REASONS
from certctl.authority.trail import ISSUANCE, Action, Event, Trail
from certctl.background import Background
from certctl.issuance import stored
from certctl.issuance.issuer import Issued, Issuer, IssuerUnavailable, Template, TemplateError
from certctl.storage import accounts, certificates, jobs, orders, profiles
from certctl.storage.database import Conflict, Database, Unavailable
from certctl.storage.jobs import Job

A = TypeVar("A")
AT_ONCE = 50  # jobs that one server works on at the same time
LONGEST_PAUSE = 60  # seconds between two attempts
POLL = 2  # seconds until a client asks again while the first attempt is under way
CESSATION = 5  # cessationOfOperation (RFC 5280 section 5.3.1): what the certificate was for has ended

TOO_LATE = Problem(ProblemType.SERVER_INTERNAL, "the issuing CA did not answer in time")
RETIRED = Problem(ProblemType.SERVER_INTERNAL, "the issuing CA was retired")
REFUSED = Problem(ProblemType.SERVER_INTERNAL, "the issuing CA refused to sign the certificate")


class Jobs:
    """Works on jobs, and lets clients wait for them."""

    _log = Logger(namespace="certctl")

    def __init__(
        self,
        database: Database,
        trail: Trail,
        issuers: Issuers,
        rules: ProfileRules,
        background: Background,
        reactor: IReactorTime,
        *,
        timeout: timedelta,
        hold: timedelta,
    ) -> None:
        self._database = database
        self._trail = trail
        self._issuers = issuers
        self._rules = rules
        self._background = background
        self._reactor = reactor
        self._timeout = timeout
        self._hold = hold.total_seconds()
        self._working: dict[str, list[Deferred[None]]] = {}  # who waits for an attempt, by the order's id
        self._asking: set[Deferred[Any]] = set()  # calls of issuers
        self._is_full = False  # jobs were left behind
        self._is_stopping = False

    def begin(self, job: Job) -> bool:
        """Work on a job, unless that is under way already, or too much else is; return whether it begins."""
        if job.order_id in self._working or not self._has_room():
            return False
        self._background.start(self._work(job))
        return True

    async def settled(self, order: Order) -> Order:
        """Return a processing order once an attempt of this server has ended, or as it is when that takes long."""
        asking = self._working.get(order.id)
        if not self._hold or asking is None:
            return order
        waiting: Deferred[None] = Deferred()
        asking.append(waiting)
        timer = self._reactor.callLater(self._hold, waiting.callback, None)
        await waiting
        if timer.active():
            timer.cancel()
        else:
            asking.remove(waiting)
        return await self._database.read(orders.by_id(order.id)) or order

    async def poll_after(self, order: Order) -> int:
        """In how many seconds a client shall ask again for an order that is processing."""
        job = await self._database.read(jobs.of_order(order.id))
        return POLL if job is None else max(POLL, _pause(job))

    async def resume(self, *, alone: bool = False) -> int:
        """Work on what is due: what a stop or another server left behind, and what is to be tried again.

        ``alone`` says that nobody else can be at any job. Returns how many are begun.
        """
        now = self._trail.now()
        if alone:
            await self._database.write(jobs.make_due(now))
        found = await self._database.read(jobs.due(now, AT_ONCE + 1))
        return sum([self.begin(job) for job in found])

    def stop(self) -> None:
        """Begin nothing more, and give back what is under way: the issuers are asked again after the next start."""
        self._is_stopping = True
        for each in list(self._asking):
            each.cancel()

    def _has_room(self) -> bool:
        self._is_full = len(self._working) >= AT_ONCE
        return not self._is_full and not self._is_stopping

    def _wake(self) -> None:
        if not self._is_stopping:
            self._background.start(self._resume_later())

    async def _resume_later(self) -> None:
        with contextlib.suppress(Unavailable):  # the sweeper resumes as well
            await self.resume()

    async def _work(self, job: Job) -> None:
        """Take a job and have one attempt at it. Whatever goes wrong, it will be due again."""
        self._working[job.order_id] = []
        try:
            now = self._trail.now()
            lease = now + 2 * self._timeout  # beyond the answer there is time to store it
            await self._database.write(jobs.take(job, lease, now))
            await self._attempt(attrs.evolve(job, attempts=job.attempts + 1, due_at=lease))
        except Conflict:  # another server has it
            return
        except Unavailable as error:  # due again when the lease ends
            self._log.warn("a job could not be read or written", acme_order=job.order_id, why=str(error))
        finally:
            for waiting in self._working.pop(job.order_id):
                waiting.callback(None)
            if self._is_full:
                self._reactor.callLater(0, self._wake)

    async def _attempt(self, job: Job) -> None:
        """Bring a job that was taken to its end, or put it off; raise Conflict if it is somebody else's by now."""
        order = await self._database.read(orders.by_id(job.order_id))
        assert order is not None
        try:
            if order.status is not Status.PROCESSING:
                await self._let_go(job, order)
            elif self._trail.now() > job.deadline:
                await self._fail(job, order, TOO_LATE, f"{TOO_LATE.detail}; {job.last_error}")
            else:
                await self._advance(job, order)
        except CancelledError:  # by ``stop``
            await self._database.write(jobs.put_off(job, self._trail.now(), "the server was stopped"))
        except IssuerUnavailable as error:
            await self._put_off(job, str(error))
        except (Conflict, Unavailable):
            raise
        except Exception as error:
            self._log.failure("an issuer failed", acme_order=job.order_id, issuer=job.issuer_id)
            await self._put_off(job, type(error).__name__)

    async def _put_off(self, job: Job, why: str) -> None:
        pause = _pause(job)
        self._log.warn(
            "an issuer did not sign, and will be asked again",
            acme_order=job.order_id,
            issuer=job.issuer_id,
            attempts=job.attempts,
            why=why,
        )
        await self._database.write(jobs.put_off(job, self._trail.now() + timedelta(seconds=pause), why))
        self._reactor.callLater(pause, self._wake)

    async def _advance(self, job: Job, order: Order) -> None:
        """Have the certificate of an order signed that still wants one."""
        try:
            issued = await self._signed(job, order, stored.unpacked(job.template))
        except Problem as problem:
            await self._fail(job, order, problem, problem.detail)
        except TemplateError as error:
            await self._fail(job, order, REFUSED, str(error), for_good=True)
        else:
            await self._store(job, order, issued)

    async def _signed(self, job: Job, order: Order, template: Template) -> Issued:
        """Ask the issuer, if profile and account still allow it; raise Problem if they do not."""
        issuer = self._issuer(job)
        if self._issuers.all[job.issuer_id].record.retired_at is not None:
            raise RETIRED
        profile = policy.judge_profile(
            await self._database.read(profiles.by_id(order.profile_id)), order.profile_id
        )
        account = await self._database.read(accounts.of_any_profile(order.account_id))
        assert account is not None
        policy.judge_pause(account)
        policy.judge_open(profile, ProblemType.INVALID_PROFILE)
        try:
            terms = self._rules.terms(profile, account)
        except Problem as problem:  # a policy that cannot be read, which an operator can mend
            raise IssuerUnavailable(problem.detail) from None
        return await self._asked(signing.ask(issuer, terms, order, template, job.certificate_id))

    async def _asked(self, question: Coroutine[Any, Any, A]) -> A:
        """Wait for an issuer, for so long; raise IssuerUnavailable after that, and CancelledError at a stop."""
        if self._is_stopping:
            question.close()
            raise CancelledError
        asking = Deferred.fromCoroutine(question)
        _ = asking.addTimeout(self._timeout.total_seconds(), self._reactor)
        self._asking.add(asking)
        try:
            return await asking
        except TookTooLong:
            raise IssuerUnavailable("it did not answer in time") from None
        finally:
            self._asking.discard(asking)

    async def _store(self, job: Job, order: Order, issued: Issued) -> None:
        """End the job with a valid order; or with a revoked certificate, if the order has ended meanwhile."""
        now = self._trail.now()
        certificate = signing.certificate(job.certificate_id, job.issuer_id, order, issued, now)
        event = signing.finalized(certificate)
        finished = orders.finish(order.id, certificate.id, now)
        try:
            await self._trail.record(now, event, finished, *certificates.insert(certificate), jobs.end(job))
        except Conflict:
            current = await self._database.read(orders.by_id(order.id))
            if current is not None and current.status is Status.INVALID:
                await self._keep_revoked(job, certificate)

    async def _fail(
        self, job: Job, order: Order, problem: Problem, why: str, *, for_good: bool = False
    ) -> None:
        """End the order with a problem; the job too, unless the issuer may have signed in an earlier attempt."""
        now = self._trail.now()
        open_question = job.attempts > 1 and not for_good
        event = Event(
            actor=ISSUANCE,
            action=Action.ORDER_FAILED,
            resource_type="acme_order",
            resource_id=order.id,
            details={
                "profile": order.profile_id,
                "issuer": job.issuer_id,
                "attempts": job.attempts,
                "error": problem.document(),
                "why": why,
            },
        )
        left = jobs.put_off(job, now, why) if open_question else jobs.drop(job)
        await self._trail.record(now, event, orders.fail(order.id, problem.document(), now), left)
        if open_question:
            self._reactor.callLater(0, self._wake)

    def _issuer(self, job: Job) -> Issuer:
        """The issuer of a job, retired or not; raise IssuerUnavailable if it is not here."""
        held = self._issuers.all.get(job.issuer_id)
        if (
            held is None or held.issuer is None
        ):  # another server may have it, or this one after its next start
            raise IssuerUnavailable(f"this server does not have {job.issuer_id}")
        return held.issuer

    async def _let_go(self, job: Job, order: Order) -> None:
        """Find out whether there is a certificate that nobody wants any more, and have it revoked."""
        issued = None
        if job.attempts > 1:  # else the issuer was never asked
            issuer, template = self._issuer(job), stored.unpacked(job.template)
            try:
                issued = await self._asked(signing.withdraw(issuer, template, job.certificate_id))
            except TemplateError as error:
                self._log.error("{why}", why=str(error), acme_order=order.id, issuer=job.issuer_id)
        if issued is None:
            await self._database.write(jobs.drop(job))
        else:
            now = self._trail.now()
            certificate = signing.certificate(job.certificate_id, job.issuer_id, order, issued, now)
            await self._keep_revoked(job, certificate)

    async def _keep_revoked(self, job: Job, certificate: Certificate) -> None:
        """Store a certificate that came too late: what was signed is known, and good for nothing."""
        now = self._trail.now()
        event = Event(
            actor=ISSUANCE,
            action=Action.CERTIFICATE_REVOKED,
            resource_type="certificate",
            resource_id=certificate.id,
            details={
                "profile": certificate.profile_id,
                "serial": certificate.serial,
                "reason": REASONS[CESSATION],
                "order": certificate.order_id,
                "why": "the order had ended when its certificate came",
            },
        )
        revoked = certificates.revoke(certificate.id, CESSATION, now)
        await self._trail.record(now, event, *certificates.insert(certificate), revoked, jobs.end(job))


def new_job(order: Order, issuer: Issuer, template: Template, deadline: timedelta, now: datetime) -> Job:
    """The job of an order."""
    return Job(
        order_id=order.id,
        certificate_id=ids.new(ids.CERTIFICATE, now),
        issuer_id=issuer.id,
        template=stored.packed(template),
        due_at=now,
        deadline=now + deadline,
        created_at=now,
    )


def _pause(job: Job) -> int:
    """Seconds until the next attempt: 1, 2, 4 and so on."""
    return int(min(LONGEST_PAUSE, 2 ** min(job.attempts - 1, 10))) if job.attempts else 0
