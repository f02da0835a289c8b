"""Which validator a challenge type has: a new one gets its line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from certctl.acme.objects import ChallengeType
from certctl.validation.attempt import Limits, Validator
from certctl.validation.dns01 import DNS01
from certctl.validation.hops import Ports
from certctl.validation.http01 import HTTP01
from certctl.validation.resolver import Resolver
from certctl.validation.tlsalpn01 import TLSALPN01
from certctl.validation.wire import Dialler


def validators(
    reactor: Any, *, http01_port: int = 80, tlsalpn01_port: int = 443, limits: Limits | None = None
) -> Mapping[ChallengeType, Validator]:
    """Return a validator for each challenge type."""
    limits = limits or Limits()
    resolver = Resolver(reactor, seconds=limits.query)
    dialler = Dialler(reactor, resolver, connect_seconds=limits.connect)
    return {
        ChallengeType.HTTP01: HTTP01(reactor, dialler, Ports(http01_port, tlsalpn01_port), limits),
        ChallengeType.DNS01: DNS01(reactor, resolver, limits),
        ChallengeType.TLSALPN01: TLSALPN01(reactor, dialler, tlsalpn01_port, limits),
    }
