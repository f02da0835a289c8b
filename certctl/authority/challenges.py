"""Responses to challenges, validated in the background (RFC 8555 sections 7.5.1 and 8.2)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from certctl.acme import challenges as protocol
from certctl.acme import keys
from certctl.acme.objects import Account, Authorization, Challenge, ChallengeType, Profile, Status
from certctl.acme.problems import Problem, ProblemType
from certctl.authority.caa import Permission
from certctl.authority.challenge_rules import ChallengeRules
from certctl.authority.limits import Limits
from certctl.authority.trail import Action, Event, Trail, actor_of
from certctl.authority.turns import Turns
from certctl.background import Background
from certctl.storage import accounts, authorizations, failures, orders, profiles
from certctl.storage.database import Conflict, Database, Unavailable
from certctl.validation.addresses import Network
from certctl.validation.attempt import Attempt, Evidence, Transient, Validator

PAUSES = (1.0, 3.0, 8.0)  # seconds before another try after a failure that may pass (RFC 8555 section 8.2)
SILENCE = timedelta(minutes=2)  # after which a challenge that is processing is taken for left behind
MAX_WAITING = 5000  # challenges of one type that wait for their turn; more are refused, and may be sent again
BUSY = timedelta(seconds=30)


class Challenges:
    """Has challenges validated, each type with so many at once as its limit says."""

    _log = Logger(namespace="certctl")

    def __init__(
        self,
        database: Database,
        trail: Trail,
        limits: Limits,
        background: Background,
        reactor: IReactorTime,
        *,
        validators: Mapping[ChallengeType, Validator],
        concurrency: Mapping[ChallengeType, int],
        network: Network,
        permission: Permission,
        authorization_ttl: timedelta,
        hold: timedelta,
    ) -> None:
        self._database = database
        self._trail = trail
        self._limits = limits
        self._background = background
        self._reactor = reactor
        self._validators = validators
        self._turns = {type: Turns(reactor, number) for type, number in concurrency.items()}
        self._network = network
        self._permission = permission
        self._authorization_ttl = authorization_ttl
        self._validating: set[str] = set()  # challenges, by id
        self._sleeping: dict[str, Deferred[None]] = {}  # before another try, by the challenge's id
        self._hold = hold.total_seconds()
        self._asking: dict[str, list[Deferred[None]]] = {}  # who waits for an end, by the authorization's id

    def waiting(self, type: ChallengeType) -> int:
        """How many challenges of a type wait for their turn."""
        return self._turns[type].waiting

    async def respond(
        self, profile: Profile, account: Account, authorization: Authorization, challenge_id: str
    ) -> Authorization:
        """Begin to validate a pending challenge; one that has begun or ended is returned as it is.

        Raises Problem rateLimited if too many wait already.
        """
        challenge, now = _of(authorization, challenge_id), self._trail.now()
        guards = self._limits.responses(profile, account, challenge_id)
        if authorization.status is not Status.PENDING or challenge.status is not Status.PENDING:
            await self._limits.charge(guards, now)
            if (waking := self._sleeping.get(challenge_id)) is not None and not waking.called:
                waking.callback(None)  # the client asks for the next try at once (RFC 8555 section 8.2)
            return authorization
        if self._turns[challenge.type].waiting >= MAX_WAITING:
            detail = "too many challenges wait for their validation"
            raise Problem(ProblemType.RATE_LIMITED, detail, status=503, retry_after=BUSY)
        event = Event(
            actor=actor_of(account),
            action=Action.CHALLENGE_PROCESSING,
            resource_type="acme_challenge",
            resource_id=challenge.id,
            details={"type": challenge.type.value, "identifier": authorization.covers.value},
        )
        spent = self._limits.spend(guards, now)
        try:
            await self._trail.record(now, event, *spent, authorizations.process(challenge.id, now))
        except Conflict:  # the same response came twice, and the other one was first
            await self._limits.explain(guards, now)
            current = await self._database.read(authorizations.by_id(authorization.id))
            assert current is not None
            return current
        self._background.start(self._validate(profile, account, authorization, challenge))
        begun = attrs.evolve(challenge, status=Status.PROCESSING)
        return attrs.evolve(
            authorization,
            challenges=tuple(begun if each.id == begun.id else each for each in authorization.challenges),
        )

    async def settled(self, authorization: Authorization) -> Authorization:
        """Return the authorization once a validation of this server has ended, or as it is when that takes long.

        A client that asks meanwhile is told the end at once, instead of asking again and again (RFC 8555 section
        7.5.1 leaves it to the server when to answer).
        """
        if not self._hold or all(each.id not in self._validating for each in authorization.challenges):
            return authorization
        waiting: Deferred[None] = Deferred()
        asking = self._asking.setdefault(authorization.id, [])
        asking.append(waiting)
        timer = self._reactor.callLater(self._hold, waiting.callback, None)
        await waiting
        if timer.active():
            timer.cancel()
        else:
            asking.remove(waiting)
        return await self._database.read(authorizations.by_id(authorization.id)) or authorization

    async def resume(self, silence: timedelta) -> int:
        """Validate again what has been processing for so long without news: a stop, or a fault, left it behind.

        Returns how many there are.
        """
        silent = await self._database.read(authorizations.processing(self._trail.now() - silence))
        left = [each for each in silent if each[1] not in self._validating]
        for authorization_id, challenge_id in left:
            authorization = await self._database.read(authorizations.by_id(authorization_id))
            assert authorization is not None
            profile = await self._database.read(profiles.by_id(authorization.profile_id))
            account = await self._database.read(accounts.of_any_profile(authorization.account_id))
            assert profile is not None and account is not None
            self._background.start(
                self._validate(profile, account, authorization, _of(authorization, challenge_id))
            )
        return len(left)

    async def _validate(
        self, profile: Profile, account: Account, authorization: Authorization, challenge: Challenge
    ) -> None:
        """Find out, and write what was found: whatever goes wrong, the challenge is not left processing."""
        verdict: Evidence | Problem
        tries: list[dict[str, str]] = []
        self._validating.add(challenge.id)
        try:
            verdict = await self._judge(profile, account, authorization, challenge, tries)
        except Problem as problem:
            verdict = problem
        except Exception:
            self._log.failure("a validation failed", name=authorization.covers.value)
            verdict = Problem(ProblemType.SERVER_INTERNAL, "the validation could not be carried out")
        try:
            await self._settle(authorization, challenge, verdict, tries)
        finally:  # what could not be written is found by ``resume``
            self._validating.discard(challenge.id)
            for waiting in self._asking.pop(authorization.id, ()):
                waiting.callback(None)

    async def _judge(
        self,
        profile: Profile,
        account: Account,
        authorization: Authorization,
        challenge: Challenge,
        tries: list[dict[str, str]],
    ) -> Evidence:
        rules = ChallengeRules.of(profile, self._network)
        attempt = Attempt(
            identifier=authorization.identifier,
            wildcard=authorization.wildcard,
            type=challenge.type,
            token=challenge.token,
            key_authorization=protocol.key_authorization(challenge.token, keys.load(account.jwk).thumbprint),
            network=rules.network,
        )

        async def look() -> Evidence:
            evidence = await self._once(account, attempt)
            now = self._trail.now()
            await self._permission.ask(rules, account, authorization.covers, challenge.type, now)
            return evidence

        return await self._try(challenge, look, tries)

    async def _try(
        self,
        challenge: Challenge,
        look: Callable[[], Coroutine[Any, Any, Evidence]],
        tries: list[dict[str, str]],
    ) -> Evidence:
        """Validate, and again a little later where that may help; each failure is shown (RFC 8555 section 8.2)."""
        for pause in PAUSES:
            try:
                return await look()
            except Transient as failure:
                tries.append({"at": self._trail.now().isoformat(), "error": str(failure.detail)})
                await self._note(challenge, failure)
            await self._sleep(challenge.id, pause)
        return await look()

    async def _note(self, challenge: Challenge, failure: Problem) -> None:
        """Show the client why the last try failed; if that cannot be written now, the next try matters more."""
        with contextlib.suppress(Unavailable):
            note = authorizations.note(challenge, failure.document(), self._trail.now())
            await self._database.write(note)

    async def _sleep(self, challenge_id: str, seconds: float) -> None:
        """Wait, at most until the client sends its response again. No turn is taken from others meanwhile."""
        waking = self._sleeping[challenge_id] = Deferred()
        timer = self._reactor.callLater(seconds, waking.callback, None)
        await waking
        del self._sleeping[challenge_id]
        if timer.active():
            timer.cancel()

    async def _once(self, account: Account, attempt: Attempt) -> Evidence:
        turns = self._turns[attempt.type]
        await turns.take(account.id)
        try:
            return await self._validators[attempt.type].validate(attempt)
        finally:
            turns.give_back()

    async def _settle(
        self,
        authorization: Authorization,
        challenge: Challenge,
        verdict: Evidence | Problem,
        tries: list[dict[str, str]],
    ) -> None:
        """Write what was found: the challenge, its authorization, and every order that hangs on it."""
        now = self._trail.now()
        event = _completed(authorization, challenge, verdict, tries)
        hanging = await self._database.read(orders.hanging_on(authorization.id))
        if isinstance(verdict, Problem):
            error = verdict.document()
            counted = (
                ()  # a fault of the server is nobody's failure
                if verdict.type is ProblemType.SERVER_INTERNAL
                else (failures.count(authorization.account_id, authorization.covers, now),)
            )
            statements = [
                *authorizations.disprove(challenge, error, now),
                *counted,
                *(orders.make_invalid(each, error, now) for each in hanging),
            ]
        else:
            expires_at = now + self._authorization_ttl
            statements = [
                *authorizations.prove(challenge, expires_at, now),
                failures.forget(authorization.account_id, authorization.covers),
                *(orders.touch(each, now) for each in hanging),
                *(orders.make_ready(each, now) for each in hanging),
            ]
        try:
            await self._trail.record(now, event, *statements)
        except Conflict:
            await self._settle_late(challenge, event, now)

    async def _settle_late(self, challenge: Challenge, event: Event, now: datetime) -> None:
        """End a challenge whose authorization was settled or given up before it."""
        error = Problem(
            ProblemType.MALFORMED, "the authorization was settled before this challenge"
        ).document()
        late = attrs.evolve(
            event, details={"status": Status.INVALID.value, "type": challenge.type.value, "error": error}
        )
        with contextlib.suppress(Conflict):  # another replica has ended it
            await self._trail.record(now, late, authorizations.abandon(challenge, error, now))


def _of(authorization: Authorization, challenge_id: str) -> Challenge:
    return next(each for each in authorization.challenges if each.id == challenge_id)


def _completed(
    authorization: Authorization,
    challenge: Challenge,
    verdict: Evidence | Problem,
    tries: list[dict[str, str]],
) -> Event:
    failed = isinstance(verdict, Problem)
    found = {"error": verdict.document()} if isinstance(verdict, Problem) else attrs.asdict(verdict)
    return Event(
        actor=f"acme:{authorization.account_id}",
        action=Action.CHALLENGE_COMPLETED,
        resource_type="acme_challenge",
        resource_id=challenge.id,
        details={
            "status": (Status.INVALID if failed else Status.VALID).value,
            "type": challenge.type.value,
            "identifier": authorization.covers.value,
            **found,
            **({"tries": tries} if tries else {}),
        },
    )
