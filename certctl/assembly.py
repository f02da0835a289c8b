"""Where the parts are joined: from settings, a database and a CA to everything that answers requests.

Beside ``tap``, the only module that knows the concrete classes. What the parts need of the world (the reactor, the
database, the signer, the names that TLS answers to) is handed in, so that tests join the same parts around a clock
and a database in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
from klein.resource import KleinResource

from certctl import __version__
from certctl.acme.nonces import NonceMint
from certctl.acme.objects import Account, ChallengeType
from certctl.assembly_values import (
    account_rules,
    concurrency,
    console_sessions,
    fixed_keys,
    kept,
    network,
    profile_rules,
    publisher,
    rates,
    renewal_information,
    status_urls,
)
from certctl.authority import Authority, Service
from certctl.authority.accounts import Accounts
from certctl.authority.administration import Administration
from certctl.authority.api_keys import ApiKeys
from certctl.authority.authorizations import Authorizations
from certctl.authority.bindings import Bindings
from certctl.authority.caa import Permission
from certctl.authority.challenges import Challenges
from certctl.authority.enrolment import Enrolment
from certctl.authority.issuance import Issuance
from certctl.authority.issuers import Issuers
from certctl.authority.jobs import Jobs
from certctl.authority.limits import Limits
from certctl.authority.mass_renewals import MassRenewals
from certctl.authority.orders import Orders
from certctl.authority.presence import Presence
from certctl.authority.profile_rules import ProfileRules
from certctl.authority.profiles import Profiles
from certctl.authority.renewals import Renewals
from certctl.authority.replacements import Replacements
from certctl.authority.retention import Retention
from certctl.authority.revocation import Revocation
from certctl.authority.rotation import Rotation
from certctl.authority.supervision import Supervision
from certctl.authority.sweeper import Sweeper
from certctl.authority.trail import Trail
from certctl.authority.withdrawal import Withdrawal
from certctl.background import Background
from certctl.issuance.issuer import Issuer, Keyring, StatusSigner
from certctl.sealing import Seal
from certctl.settings import AuthType, Settings
from certctl.storage.database import Database
from certctl.storage.measured import MeasuredDatabase
from certctl.validation.addresses import Network
from certctl.validation.attempt import Validator
from certctl.validation.caa import caa
from certctl.validation.measured import MeasuredValidator
from certctl.validation.table import validators
from certctl.web.acme.admission import Admission
from certctl.web.acme.call import Urls
from certctl.web.acme.dispatch import Dispatch
from certctl.web.acme.table import DIRECTORY, PATHS
from certctl.web.api.dispatch import ApiDispatch
from certctl.web.api.door import Door
from certctl.web.channel import Shortcut
from certctl.web.console.dispatch import ConsoleDispatch
from certctl.web.health import Health
from certctl.web.metrics import Metrics
from certctl.web.network import Networks
from certctl.web.origin import Origin
from certctl.web.pki.site import PkiSite
from certctl.web.site import root


@attrs.frozen(kw_only=True)
class Parts:
    """A server, joined."""

    trail: Trail
    background: Background
    bindings: Bindings
    issuers: Issuers
    rotation: Rotation
    challenges: Challenges
    jobs: Jobs
    sweeper: Sweeper
    metrics: Metrics
    health: Health
    origin: Origin
    presence: Presence
    resource: KleinResource
    pki: PkiSite
    shortcut: Shortcut | None


def assemble(
    settings: Settings,
    database: Database,
    issuers: Mapping[str, Issuer],
    reactor: Any,
    answers_to: Callable[[str], bool],
    validating: Mapping[ChallengeType, Validator] | None = None,
    local_key: str = "",
    *,
    seal: Seal,
    signers: Mapping[str, StatusSigner] | None = None,
    keyring: Keyring | None = None,
) -> Parts:
    """Join a server from its parts.

    ``issuers`` are those whose keys the settings or the first start name; the others have theirs in the ``keyring``.
    ``validating`` takes the place of the validators that dial out; ``local_key`` is the state directory's API key.
    """
    background = Background()
    metrics = Metrics(background, reactor.seconds, settings.acme_server_gc_interval)
    database = MeasuredDatabase(database, metrics.database)
    trail = Trail(database, reactor, metrics)
    held = Issuers(database, trail, issuers, signers or {}, keyring)
    metrics.watch_issuers(held)
    nonces = NonceMint(lambda: database.nonce_keys, settings.acme_server_nonce_ttl)
    rules = profile_rules(settings)
    ground = _Ground(
        settings=settings,
        database=database,
        issuers=held,
        keyring=keyring,
        rotation=Rotation(database, trail, held),
        reactor=reactor,
        trail=trail,
        background=background,
        limits=Limits(database, trail, rules, rates(settings)),
        rules=rules,
        network=network(settings),
        permission=Permission(caa(reactor), settings.acme_server_caa_identities, _account_url(settings)),
        bindings=Bindings(database, trail, seal),
        renewals=renewal_information(settings, database, reactor, held, metrics.renewals),
    )
    challenges = _challenges(ground, validating, metrics)
    metrics.validations.watch_waiting(challenges.waiting)
    jobs = _jobs(ground)
    health = Health(database, trail, held)
    origin = Origin(settings.server_external_url or "", answers_to)
    authority, networks = _authority(ground, challenges, jobs), Networks(settings.server_trusted_proxies)
    dispatch = Dispatch(
        admission=Admission(authority, database, nonces, networks, reactor.seconds),
        nonces=nonces,
        origin=origin,
        background=background,
        metrics=metrics,
        seconds=reactor.seconds,
        default_profile_id=settings.acme_server_default_profile_id,
    )
    served = dispatch if settings.acme_server_enabled else None
    pki = PkiSite(held, publisher(settings, database, reactor), background, reactor)
    presence = Presence(database, trail, version=__version__, beat=settings.acme_server_gc_interval)
    door = _door(ground, presence, pki, local_key)
    console = _console(ground, door, origin)
    api = None if door is None else ApiDispatch(door, origin, background)
    return Parts(
        trail=trail,
        background=background,
        bindings=ground.bindings,
        issuers=held,
        rotation=ground.rotation,
        challenges=challenges,
        jobs=jobs,
        sweeper=Sweeper(database, trail, nonces, Retention(database, trail, *kept(settings))),
        metrics=metrics,
        health=health,
        origin=origin,
        presence=presence,
        resource=root(served, health, metrics, api, console),
        pki=pki,
        shortcut=pki.before(None if served is None else served.shortcut),
    )


@attrs.frozen(kw_only=True)
class _Ground:
    """What the use cases stand on."""

    settings: Settings
    database: Database
    issuers: Issuers
    keyring: Keyring | None
    rotation: Rotation
    reactor: Any
    trail: Trail
    background: Background
    limits: Limits
    rules: ProfileRules
    network: Network
    permission: Permission
    bindings: Bindings
    renewals: Renewals


def _door(ground: _Ground, presence: Presence, pki: PkiSite, local_key: str) -> Door | None:
    settings = ground.settings
    if settings.auth_type is AuthType.NONE:
        return None
    rules = account_rules(settings)
    accounts = Accounts(ground.database, ground.trail, ground.limits, ground.bindings, rules)
    withdrawal, polled = Withdrawal(ground.database, ground.trail), settings.acme_server_ari_poll_interval
    administration = Administration(
        database=ground.database,
        trail=ground.trail,
        default_mode=settings.acme_server_default_auth_mode,
        api_keys=ApiKeys(ground.database, ground.trail, fixed_keys(settings, local_key)),
        profiles=Profiles(
            ground.database,
            ground.trail,
            require_name_policy=settings.acme_server_require_name_policy,
        ),
        issuers=ground.issuers,
        enrolment=Enrolment(ground.database, ground.trail, ground.issuers, ground.keyring),
        rotation=ground.rotation,
        pause_after=settings.acme_server_pause_after_failures,
        bindings=ground.bindings,
        supervision=Supervision(ground.database, ground.trail, accounts),
        presence=presence,
        revocation_lists=pki.lists,
        status_urls=partial(status_urls, settings),
        engine="PostgreSQL" if settings.on_postgres else "SQLite",
        withdrawal=withdrawal,
        renewals=ground.renewals,
        mass_renewals=MassRenewals(ground.database, ground.trail, withdrawal, ground.reactor, polled),
    )
    return Door(administration, settings.api_requests_per_minute)


def _console(ground: _Ground, door: Door | None, origin: Origin) -> ConsoleDispatch | None:
    settings = ground.settings
    if door is None or not settings.console_enabled:
        return None
    sessions = console_sessions(settings, ground.database, ground.trail, door.administration.api_keys)
    return ConsoleDispatch(door, sessions, origin, ground.background)


def _challenges(
    ground: _Ground, validating: Mapping[ChallengeType, Validator] | None, metrics: Metrics
) -> Challenges:
    settings = ground.settings
    validators = _validators(settings, ground.reactor) if validating is None else validating
    return Challenges(
        ground.database,
        ground.trail,
        ground.limits,
        ground.background,
        ground.reactor,
        validators={type: MeasuredValidator(each, metrics.validations) for type, each in validators.items()},
        concurrency=concurrency(settings),
        network=ground.network,
        permission=ground.permission,
        authorization_ttl=settings.acme_server_authz_ttl,
        hold=settings.acme_server_poll_hold,
    )


def _jobs(ground: _Ground) -> Jobs:
    return Jobs(
        ground.database,
        ground.trail,
        ground.issuers,
        ground.rules,
        ground.background,
        ground.reactor,
        timeout=ground.settings.signer_timeout,
        hold=ground.settings.acme_server_poll_hold,
    )


def _authority(ground: _Ground, challenges: Challenges, jobs: Jobs) -> Authority:
    settings, database, trail, limits = ground.settings, ground.database, ground.trail, ground.limits
    rules = account_rules(settings)
    authorizations = Authorizations(
        database,
        trail,
        ground.network,
        ground.rules,
        ground.issuers,
        ttl=settings.acme_server_authz_ttl,
        pause_after=settings.acme_server_pause_after_failures,
    )
    return Authority(
        trail=trail,
        service=Service(
            directory=tuple(
                each for each in DIRECTORY if ground.renewals.enabled or each[0] != "renewalInfo"
            ),
            rules=rules,
            website=settings.acme_server_website or "",
            caa_identities=settings.acme_server_caa_identities,
        ),
        accounts=Accounts(database, trail, limits, ground.bindings, rules),
        authorizations=authorizations,
        bindings=ground.bindings,
        orders=Orders(
            database,
            trail,
            ground.issuers,
            authorizations,
            limits,
            Replacements(database, ground.issuers, ground.renewals),
            ground.rules,
            ttl=settings.acme_server_order_ttl,
        ),
        challenges=challenges,
        issuance=Issuance(
            database,
            trail,
            ground.issuers,
            ground.network,
            ground.permission,
            ground.rules,
            jobs,
            deadline=settings.signer_deadline,
        ),
        jobs=jobs,
        revocation=Revocation(database, trail),
        renewals=ground.renewals,
    )


def _account_url(settings: Settings) -> Callable[[Account], str]:
    """How CAA's accounturi names an account: below the external URL, as there is no request to tell the origin."""
    origin = settings.server_external_url or ""
    return lambda account: Urls(PATHS, origin, account.profile_id).to("account", account.id)


def _validators(settings: Settings, reactor: Any) -> Mapping[ChallengeType, Validator]:
    return validators(
        reactor,
        http01_port=settings.acme_server_http01_port,
        tlsalpn01_port=settings.acme_server_tlsalpn01_port,
    )
