"""Accounts: who may ask (RFC 8555 section 7.3)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from certctl.acme import ids, policy
from certctl.acme.account_rules import AccountRules
from certctl.acme.keys import PublicKey
from certctl.acme.objects import Account, Profile, Status
from certctl.acme.problems import Problem, ProblemType, malformed
from certctl.authority.bindings import Bindings
from certctl.authority.limits import Limits
from certctl.authority.trail import Action, Event, Trail, actor_of
from certctl.storage import accounts, authorizations, eab_keys, orders
from certctl.storage.database import Conflict, Database, Statement


def must_be_valid(account: Account) -> Account:
    """Return the account; raise Problem if it was deactivated or revoked (RFC 8555 section 7.3.6)."""
    if account.status is not Status.VALID:
        raise Problem(ProblemType.UNAUTHORIZED, f"the account is {account.status.value}", status=401)
    return account


class Accounts:
    """Creates accounts and changes them."""

    def __init__(
        self, database: Database, trail: Trail, limits: Limits, bindings: Bindings, rules: AccountRules
    ) -> None:
        self._database = database
        self._trail = trail
        self._limits = limits
        self._bindings = bindings
        self._rules = rules

    async def create(
        self, profile: Profile, key: PublicKey, payload: Mapping[str, Any], url: str, network: str
    ) -> tuple[Account, bool]:
        """Return the account of a key that has none yet, and whether this call, a request to ``url`` that came from
        ``network``, made it.

        Raises Problem as RFC 8555 sections 7.3, 7.3.1 and 7.3.4 have it.
        """
        if payload.get("onlyReturnExisting") is True:
            raise Problem(ProblemType.ACCOUNT_DOES_NOT_EXIST, "no account holds this key")
        policy.judge_open(profile)
        agreed = payload.get("termsOfServiceAgreed") is True
        rules = self._rules.under(profile.policy)
        rules.judge_terms(agreed)
        contact, sent = policy.contacts(payload.get("contact", [])), payload.get("externalAccountBinding")
        bound = await self._bindings.admit(profile, url, key, sent) if rules.judge_binding(sent) else None
        now = self._trail.now()
        account = Account(
            id=ids.new(ids.ACCOUNT, now),
            profile_id=profile.id,
            thumbprint=key.thumbprint,
            jwk=key.jwk,
            contact=contact,
            terms_agreed=agreed,
            created_at=now,
            eab_key_id=None if bound is None else bound.id,
            policy={} if bound is None else bound.policy,
        )
        # The key is used in the change that makes the account, so that one for a single use binds a single account.
        used = () if bound is None else (eab_keys.use(bound.id, now),)
        guards = self._limits.accounts(profile, network)
        spent = self._limits.spend(guards, now)
        try:
            made = accounts.insert(account), *accounts.reachable(account.id, contact)
            await self._trail.record(now, _created(account), *spent, *used, *made)
        except Conflict:  # too many, or another request came first: with the same account key or binding
            existing = await self._database.read(accounts.by_thumbprint(profile.id, key.thumbprint))
            if existing is None:
                await self._limits.explain(guards, now)
            if existing is None and bound is not None:
                raise await self._bindings.refused(profile, bound.id) from None
            assert existing is not None
            return must_be_valid(existing), False
        return account, True

    async def update(self, account: Account, payload: Mapping[str, Any]) -> Account:
        """Change contacts, or deactivate (RFC 8555 sections 7.3.2 and 7.3.6); other members are ignored."""
        if payload.get("status") == Status.DEACTIVATED:
            return await self.deactivate(account, actor_of(account))
        if "contact" not in payload:
            return account
        now = self._trail.now()
        changed = attrs.evolve(account, contact=policy.contacts(payload["contact"]))
        event = Event(
            actor=actor_of(account),
            action=Action.ACCOUNT_CONTACT_UPDATED,
            resource_type="acme_account",
            resource_id=account.id,
            details={"contact": list(changed.contact)},
        )
        replaced = accounts.update(account.id, changed.contact, account.terms_agreed, now)
        searched = accounts.reachable_anew(account.id, changed.contact)
        await self._change(now, event, replaced, *searched)
        return changed

    async def deactivate(self, account: Account, actor: str) -> Account:
        """Deactivate an account and all that it has open; raises Problem unauthorized if somebody else did."""
        now = self._trail.now()
        event = Event(
            actor=actor,
            action=Action.ACCOUNT_DEACTIVATED,
            resource_type="acme_account",
            resource_id=account.id,
        )
        error = Problem(ProblemType.UNAUTHORIZED, "the account was deactivated").document()
        cancelled = (
            orders.cancel_all(account.id, error, now),
            authorizations.deactivate_all(account.id, now),
        )
        await self._change(now, event, accounts.deactivate(account.id, now), *cancelled)
        return attrs.evolve(account, status=Status.DEACTIVATED)

    async def _change(self, now: datetime, event: Event, *statements: Statement) -> None:
        try:
            await self._trail.record(now, event, *statements)
        except Conflict:  # deactivated since it was read
            raise Problem(ProblemType.UNAUTHORIZED, "the account was deactivated", status=401) from None

    async def roll_key(
        self, profile: Profile, account: Account, new: PublicKey
    ) -> tuple[Account, Account | None]:
        """Give the account another key (RFC 8555 section 7.3.5, steps 8 and 9).

        Returns the account as it is now, and the account that holds the new key already, if that is why it is not.
        """
        now = self._trail.now()
        event = Event(
            actor=actor_of(account),
            action=Action.ACCOUNT_KEY_ROLLED,
            resource_type="acme_account",
            resource_id=account.id,
            details={"old": account.thumbprint, "new": new.thumbprint},
        )
        guards = self._limits.key_changes(profile, account)
        rolled = accounts.roll_key(account, new.jwk, new.thumbprint, now)
        try:
            await self._trail.record(now, event, *self._limits.spend(guards, now), rolled)
        except Conflict:
            await self._limits.explain(guards, now)
            holder = await self._database.read(accounts.by_thumbprint(account.profile_id, new.thumbprint))
            if holder is None:
                raise malformed("the account was changed meanwhile: read it again") from None
            return account, holder
        return attrs.evolve(account, jwk=new.jwk, thumbprint=new.thumbprint), None


def _created(account: Account) -> Event:
    bound = {} if account.eab_key_id is None else {"eab_key": account.eab_key_id}
    return Event(
        actor=actor_of(account),
        action=Action.ACCOUNT_CREATED,
        resource_type="acme_account",
        resource_id=account.id,
        details={
            "profile": account.profile_id,
            "thumbprint": account.thumbprint,
            "contact": list(account.contact),
            **bound,
        },
    )
