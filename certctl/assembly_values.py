"""What the parts take of the settings: rules, rates, networks, what is said of issuers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from certctl.acme.account_rules import AccountRules
from certctl.acme.objects import ChallengeType
from certctl.acme.profile_policy import Binding
from certctl.authority.api_keys import ApiKeys, FixedKey
from certctl.authority.console_sessions import ConsoleSessions
from certctl.authority.issuers import Issuers
from certctl.authority.limits import Rates
from certctl.authority.operators import Role
from certctl.authority.profile_rules import ProfileRules
from certctl.authority.renewal_news import RenewalNews
from certctl.authority.renewals import Renewals
from certctl.authority.trail import Trail
from certctl.issuance.issuer import StatusSigner, StatusUrls
from certctl.settings import Settings
from certctl.storage.database import Database
from certctl.validation.addresses import EgressPolicy, Network, Resolvers
from certctl.web.meters import RenewalMeter
from certctl.web.pki.site import Publication


def concurrency(settings: Settings) -> Mapping[ChallengeType, int]:
    """How many challenges of each type are validated at once."""
    return {
        ChallengeType.HTTP01: settings.acme_server_http01_concurrency,
        ChallengeType.DNS01: settings.acme_server_dns01_concurrency,
        ChallengeType.TLSALPN01: settings.acme_server_tlsalpn01_concurrency,
    }


def profile_rules(settings: Settings) -> ProfileRules:
    """How profiles and accounts are read."""
    return ProfileRules(
        require_name_policy=settings.acme_server_require_name_policy,
        max_identifiers=settings.acme_server_max_identifiers,
        accounts=account_rules(settings),
    )


def account_rules(settings: Settings) -> AccountRules:
    """What new accounts must bring."""
    return AccountRules(
        terms_url=settings.acme_server_tos_url or "",
        binding=Binding.REQUIRED if settings.acme_server_eab_required else Binding.OPTIONAL,
    )


def rates(settings: Settings) -> Rates:
    """The rate limits, before profiles and accounts change them."""
    return Rates(
        orders_per_hour=settings.acme_server_rate_limit_orders_per_hour,
        open_orders=settings.acme_server_rate_limit_concurrent_orders,
        key_changes_per_hour=settings.acme_server_rate_limit_key_change_per_hour,
        responses_per_hour=settings.acme_server_rate_limit_challenge_responds_per_hour,
        profile_orders_per_hour=settings.acme_server_rate_limit_profile_orders_per_hour,
        network_accounts_per_hour=settings.acme_server_rate_limit_network_accounts_per_hour,
    )


def kept(settings: Settings) -> tuple[timedelta, timedelta]:
    """For how long orders and certificates are kept after their end."""
    return settings.acme_server_order_retention, settings.certificates_kept


def network(settings: Settings) -> Network:
    """Which addresses may be dialled, and which resolvers are asked."""
    return Network(
        EgressPolicy(settings.acme_server_egress_allow, settings.acme_server_egress_deny),
        Resolvers.of(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            for host, port in settings.acme_server_dns01_resolver
        ),
    )


def status_urls(settings: Settings, issuer_id: str) -> StatusUrls | None:
    """What an issuer's certificates say of where they are spoken of; None if nobody knows where that is reached."""
    if settings.pki_url is None:
        return None
    return StatusUrls(f"{settings.pki_url.rstrip('/')}/pki/{issuer_id}", settings.pki_crl_shards)


def fixed_keys(settings: Settings, local_key: str) -> Iterator[FixedKey]:
    """The API keys that no database holds, and their names in the trail."""
    if local_key:
        yield FixedKey.of("local", Role.ADMIN, local_key)
    for number, key in enumerate(settings.auth_secret, 1):
        yield FixedKey.of(f"secret-{number}", Role.ADMIN, key)
    for named in settings.api_keys_named:
        name, key, *admin = named.split(":")
        yield FixedKey.of(name, Role.ADMIN if admin else Role.OPERATOR, key)


def publisher(
    settings: Settings, database: Database, reactor: Any
) -> Callable[[str, StatusSigner], Publication]:
    """What makes the CRLs and OCSP answers of an issuer."""
    lifetimes = {"crl_lifetime": settings.pki_crl_lifetime, "ocsp_lifetime": settings.pki_ocsp_lifetime}

    def publish(id: str, signer: StatusSigner) -> Publication:
        return Publication.of(id, signer, status_urls(settings, id), database, reactor, **lifetimes)

    return publish


def renewal_information(
    settings: Settings, database: Database, reactor: Any, issuers: Issuers, meter: RenewalMeter
) -> Renewals:
    """Renewal information as the settings have it, counted."""
    news = RenewalNews(database, reactor, issuers)
    meter.watch(lambda: news.running)
    return Renewals(
        database,
        news,
        meter,
        enabled=settings.acme_server_ari_enabled,
        poll_interval=settings.acme_server_ari_poll_interval,
    )


def console_sessions(
    settings: Settings, database: Database, trail: Trail, api_keys: ApiKeys
) -> ConsoleSessions:
    """Sessions of the console, for as long as the settings let them be."""
    return ConsoleSessions(
        database,
        trail,
        api_keys,
        idle=settings.console_session_idle,
        longest=settings.console_session_lifetime,
    )
