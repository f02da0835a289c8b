"""Which requests reach a resource (RFC 8555 section 6): the order of the checks is the order of this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.web.server import Request

from certctl.acme import jose, keys
from certctl.acme.jose import Jws
from certctl.acme.keys import PublicKey
from certctl.acme.nonces import NonceMint
from certctl.acme.objects import Account, Profile
from certctl.acme.policy import judge_profile
from certctl.acme.problems import Problem, ProblemType, malformed
from certctl.authority import Authority
from certctl.authority.accounts import must_be_valid
from certctl.storage import accounts, profiles
from certctl.storage.database import Database, NonceSpent, Query
from certctl.web.acme.call import Call, Urls
from certctl.web.acme.table import Route, Signer
from certctl.web.network import Networks

JOSE = b"application/jose+json"  # RFC 8555 section 6.2


class Admission:
    """Reads requests into calls, or refuses them."""

    def __init__(
        self,
        authority: Authority,
        database: Database,
        nonces: NonceMint,
        networks: Networks,
        seconds: Callable[[], float],
    ) -> None:
        self._authority = authority
        self._database = database
        self._nonces = nonces
        self._networks = networks
        self._seconds = seconds

    async def unsigned(
        self, route: Route, urls: Urls, profile_id: str, arguments: Mapping[str, str]
    ) -> Call[None]:
        """Admit a GET."""
        if route.lately:
            profile = await self._authority.renewals.profile(profile_id)
        else:
            profile = judge_profile(await self._database.read(profiles.by_id(profile_id)), profile_id)
        return Call(authority=self._authority, urls=urls, profile=profile, arguments=arguments, found=None)

    async def signed(
        self,
        route: Route,
        request: Request,
        origin: str,
        urls: Urls,
        profile_id: str,
        arguments: Mapping[str, str],
    ) -> Call[Any]:
        """Admit a POST: one JWS, for this URL, with a fresh nonce, by an account or a key as the route asks, which
        verifies, about an object that is the signer's. Raises Problem otherwise.
        """
        _check_content_type(request)
        jws = jose.parse(_body(request))
        _check_header(route, jws, origin + request.uri.decode("ascii", "replace"))
        nonce = self._redeemable(jws)
        carried = None if jws.jwk is None else keys.public_key(jws.jwk)
        try:
            (found_profile, account), found = await self._database.redeem(
                nonce, _signer(urls, profile_id, jws, carried), route.loads(arguments.get("id", ""))
            )
        except NonceSpent:
            raise Problem(ProblemType.BAD_NONCE, "the nonce was used before") from None
        profile = judge_profile(found_profile, profile_id)
        key = carried or _account_key(account)
        jose.verify(jws, key)
        if carried is None and account is not None:
            if _check_owner(route, must_be_valid(account), found) and found.profile_id != profile.id:
                profile = await self._chosen(found.profile_id)
        elif route.signed_by is Signer.EITHER:
            account = None  # a certificate's key signs for the certificate alone, whoever's else it is
        return Call(
            authority=self._authority,
            urls=urls,
            profile=profile,
            arguments=arguments,
            query=_query(request),
            jws=jws,
            key=key,
            account=account,
            found=found,
            network=partial(self._networks.of, request),
        )

    async def _chosen(self, profile_id: str) -> Profile:
        """The profile that an order named, in place of that of the URL; raise Problem if it is no more."""
        profile = await self._database.read(profiles.by_id(profile_id))
        if profile is None or not profile.enabled:
            raise Problem(ProblemType.INVALID_PROFILE, f"profile {profile_id} is not to be had any more")
        return profile

    def _redeemable(self, jws: Jws) -> bytes:
        if jws.nonce is None:
            raise Problem(ProblemType.BAD_NONCE, "the protected header has no nonce")
        return self._nonces.redeemable(jws.nonce, self._seconds())


def _body(request: Request) -> bytes:
    return b"" if request.content is None else bytes(request.content.read())


def _check_content_type(request: Request) -> None:
    sent = request.requestHeaders.getRawHeaders(b"content-type", [b""])[-1]
    if sent.partition(b";")[0].strip().lower() != JOSE:
        raise Problem(
            ProblemType.MALFORMED, f"requests are of content type {JOSE.decode('ascii')}", status=415
        )


def _check_header(route: Route, jws: Jws, url: str) -> None:
    """Refuse what is for another URL, signed in another way, or not as empty as the route asks for."""
    if jws.url != url:
        raise Problem(ProblemType.UNAUTHORIZED, "url in the protected header is not the URL of the request")
    if jws.kid is None and route.signed_by is Signer.KID:
        raise malformed("this resource asks for a request signed by an account, with kid")
    if jws.kid is not None and route.signed_by is Signer.JWK:
        raise malformed("this resource asks for a request that carries its key, with jwk")
    if route.reads_only and not jws.is_post_as_get:
        raise malformed("this resource is read with an empty payload (RFC 8555 section 6.3)")


def _signer(
    urls: Urls, profile_id: str, jws: Jws, carried: PublicKey | None
) -> Query[tuple[Profile | None, Account | None]]:
    """The query for the profile, and for the account that signed or that holds the key that signed."""
    if carried is not None:
        return accounts.signer_by_thumbprint(profile_id, carried.thumbprint)
    assert jws.kid is not None
    id = jws.kid.removeprefix(urls.to("account", ""))
    if id == jws.kid:
        detail = (
            f"kid names no account of this profile, whose accounts' URLs begin with {urls.to('account', '')}:"
            " make one here, with newAccount"
        )
        raise Problem(ProblemType.ACCOUNT_DOES_NOT_EXIST, detail)
    return accounts.signer_by_id(profile_id, id)


def _account_key(account: Account | None) -> PublicKey:
    if account is None:
        raise Problem(ProblemType.ACCOUNT_DOES_NOT_EXIST, "no account of this profile has the URL in kid")
    return keys.load(account.jwk)


def _query(request: Request) -> dict[str, str]:
    return {
        name.decode("ascii", "replace"): values[-1].decode("ascii", "replace")
        for name, values in (request.args or {}).items()
    }


def _check_owner(route: Route, account: Account, found: Any) -> bool:
    """Refuse what is not there and what is another account's with the same words: existence is nobody's business.

    Returns whether the route is about such an object.
    """
    if "<id>" not in route.path or route.path.startswith("account/"):
        return False
    if found is None or found.account_id != account.id:
        raise Problem(
            ProblemType.MALFORMED, f"this account has no such {route.path.partition('/')[0]}", status=404
        )
    return True
