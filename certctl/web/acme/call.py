"""A request as a resource sees it: admitted, signed by whom it says, and read into objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import attrs

from certctl.acme.jose import Jws
from certctl.acme.keys import PublicKey
from certctl.acme.objects import Account, Profile
from certctl.authority import Authority
from certctl.web.answer import Answer

F = TypeVar("F")


class Urls:
    """Makes the URLs of one profile's resources, as one client reaches them."""

    __slots__ = ("_paths", "base")

    def __init__(self, paths: Mapping[str, str], origin: str, profile_id: str) -> None:
        self._paths = paths
        self.base = f"{origin}/acme/profile/{profile_id}/"

    def to(self, name: str, *ids: object) -> str:
        """The URL of a route, its variable parts filled in order."""
        return self.base + self._paths[name].format(*ids)


@attrs.frozen(kw_only=True)
class Call(Generic[F]):
    """One request to a resource. ``account`` is None if nobody or a bare key signed; ``key`` if nobody did."""

    authority: Authority
    urls: Urls
    profile: Profile
    arguments: Mapping[str, str]
    query: Mapping[str, str] = attrs.field(factory=dict)
    jws: Jws | None = None
    key: PublicKey | None = None
    account: Account | None = None
    found: F
    network: Callable[[], str] = lambda: ""  # from which it comes

    @property
    def signer(self) -> Account:
        """The account that signed, where the route says that one did."""
        assert self.account is not None
        return self.account

    @property
    def signing_key(self) -> PublicKey:
        """The key that signed, where the route says that one did."""
        assert self.key is not None
        return self.key

    @property
    def payload(self) -> Mapping[str, Any]:
        """The payload's JSON object; raises Problem malformed if it is none."""
        assert self.jws is not None
        return self.jws.payload_object()

    @property
    def reads(self) -> bool:
        """Whether the request is a POST-as-GET (RFC 8555 section 6.3), or a GET where that is allowed."""
        return self.jws is None or self.jws.is_post_as_get


__all__ = ["Answer", "Call", "Urls"]
