"""Which requests reach a resource (RFC 8555 section 6): the order of the checks is the order of this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from certctl.storage.database import Database, NonceSpent, Query, nothing
from certctl.web.acme.call import Call, Urls
from certctl.web.acme.table import Route, Signer

JOSE = "application/jose+json"  # RFC 8555 section 6.2


class Admission:
    """Reads requests into calls, or refuses them."""

    def __init__(
        self, authority: Authority, database: Database, nonces: NonceMint, seconds: Callable[[], float]
    ) -> None:
        self._authority = authority
        self._database = database
        self._nonces = nonces
        self._seconds = seconds

    async def unsigned(self, urls: Urls, profile_id: str, arguments: Mapping[str, str]) -> Call[None]:
        """Admit a GET."""
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
        if jws.url != origin + request.uri.decode("ascii", "replace"):
            raise Problem(
                ProblemType.UNAUTHORIZED, "url in the protected header is not the URL of the request"
            )
        by_account = _check_signer(route, jws)
        if route.reads_only and not jws.is_post_as_get:
            raise malformed("this resource is read with an empty payload (RFC 8555 section 6.3)")
        nonce = self._redeemable(jws)
        key = None if jws.jwk is None else keys.public_key(jws.jwk)
        try:
            profile, account, found = await self._database.redeem(
                nonce,
                profiles.by_id(profile_id),
                _account(route, urls, profile_id, jws, key),
                _object(route, arguments),
            )
        except NonceSpent:
            raise Problem(ProblemType.BAD_NONCE, "the nonce was used before") from None
        profile = judge_profile(profile, profile_id)
        if by_account:
            signer, key = _signing_account(account)
            jose.verify(jws, key)
            _check_owner(route, profile, must_be_valid(signer), found)
        else:
            assert key is not None
            jose.verify(jws, key)
        return Call(
            authority=self._authority,
            urls=urls,
            profile=profile,
            arguments=arguments,
            query={
                name.decode(): values[-1].decode("ascii", "replace") for name, values in request.args.items()
            }
            if request.args
            else {},
            jws=jws,
            key=key,
            account=account,
            found=found,
        )

    def _redeemable(self, jws: Jws) -> bytes:
        if jws.nonce is None:
            raise Problem(ProblemType.BAD_NONCE, "the protected header has no nonce")
        return self._nonces.redeemable(jws.nonce, self._seconds())


def _body(request: Request) -> bytes:
    return b"" if request.content is None else bytes(request.content.read())


def _check_content_type(request: Request) -> None:
    sent = request.requestHeaders.getRawHeaders("content-type", [""])[-1]
    if sent.partition(";")[0].strip().lower() != JOSE:
        raise Problem(ProblemType.MALFORMED, f"requests are of content type {JOSE}", status=415)


def _check_signer(route: Route, jws: Jws) -> bool:
    """Return whether an account signed; raise Problem if the route asks for the other way."""
    if jws.kid is None and route.signed_by is Signer.KID:
        raise malformed("this resource asks for a request signed by an account, with kid")
    if jws.kid is not None and route.signed_by is Signer.JWK:
        raise malformed("this resource asks for a request that carries its key, with jwk")
    return jws.kid is not None


def _account(
    route: Route, urls: Urls, profile_id: str, jws: Jws, key: PublicKey | None
) -> Query[Account | None]:
    """The query for the account that signed, or that holds the key that signed."""
    if jws.kid is None:
        assert key is not None
        return (
            accounts.by_thumbprint(profile_id, key.thumbprint) if route.signed_by is Signer.JWK else nothing()
        )
    id = jws.kid.removeprefix(urls.to("account", ""))
    if id == jws.kid:
        detail = f"kid is the account's URL, which begins with {urls.to('account', '')} here"
        raise Problem(ProblemType.ACCOUNT_DOES_NOT_EXIST, detail)
    return accounts.by_id(profile_id, id)


def _object(route: Route, arguments: Mapping[str, str]) -> Query[Any]:
    return route.loads(arguments.get("id", ""))


def _signing_account(account: Account | None) -> tuple[Account, PublicKey]:
    if account is None:
        raise Problem(ProblemType.ACCOUNT_DOES_NOT_EXIST, "no account of this profile has the URL in kid")
    return account, keys.load(account.jwk)


def _check_owner(route: Route, profile: Profile, account: Account, found: Any) -> None:
    """Refuse what is not there and what is another account's with the same words: existence is nobody's business."""
    if "<id>" not in route.path or route.path.startswith("account/"):
        return
    if found is None or found.account_id != account.id or found.profile_id != profile.id:
        raise Problem(
            ProblemType.MALFORMED, f"this account has no such {route.path.partition('/')[0]}", status=404
        )
