"""The settings of rate limits, and of how long what has ended is kept."""

from __future__ import annotations

from datetime import timedelta

import attrs

from certctl import settings_parsing as kinds
from certctl.settings_declaration import Section
from certctl.settings_parsing import comma_list, duration
from certctl.settings_values import COUNT, DAY, YEAR

LIMITS = Section("Rate limits")
RETENTION = Section("Retention")
KEPT = duration(timedelta(0), 100 * YEAR)


@attrs.frozen(kw_only=True, slots=False)  # as only one of several parts may have slots
class LimitSettings:
    """A part of ``Settings``."""

    acme_server_rate_limit_orders_per_hour: int = LIMITS.setting(
        COUNT, 100, "The most orders of an account in an hour; 0 is no limit."
    )
    acme_server_rate_limit_concurrent_orders: int = LIMITS.setting(
        COUNT, 5, "The most unfinished orders of an account; 0 is no limit."
    )
    acme_server_rate_limit_key_change_per_hour: int = LIMITS.setting(
        COUNT, 5, "The most key changes of an account in an hour; 0 is no limit."
    )
    acme_server_rate_limit_challenge_responds_per_hour: int = LIMITS.setting(
        COUNT, 60, "The most answers to a challenge in an hour; 0 is no limit."
    )
    acme_server_rate_limit_profile_orders_per_hour: int = LIMITS.setting(
        COUNT, 0, "The most orders under a profile in an hour, of all accounts together; 0 is no limit."
    )
    acme_server_rate_limit_network_accounts_per_hour: int = LIMITS.setting(
        COUNT,
        1000,
        "The most accounts that are made in an hour from one IPv4 address, or one IPv6 network of 64 bits; "
        "0 is no limit.",
    )
    server_trusted_proxies: tuple[kinds.IPNetwork, ...] = LIMITS.setting(
        comma_list(kinds.NETWORK),
        (),
        "Networks of proxies whose `X-Forwarded-For` is believed when that is counted; of all others the address "
        "of the connection counts.",
    )


@attrs.frozen(kw_only=True, slots=False)  # as only one of several parts may have slots
class RetentionSettings:
    """A part of ``Settings``."""

    acme_server_order_retention: timedelta = RETENTION.setting(
        KEPT,
        90 * DAY,
        "How long orders without a certificate, and authorizations, are kept after their end. 0s: for ever.",
    )
    acme_server_certificate_retention: timedelta = RETENTION.setting(
        KEPT,
        YEAR,
        "How long certificates, and their orders, are kept after their end. 0s: for ever.",
    )
