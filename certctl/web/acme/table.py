"""The ACME routes. From this table come the routes, the directory document and every URL (RFC 8555 section 7.1)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Any

import attrs

from certctl.storage import authorizations, certificates, orders
from certctl.storage.database import Query, nothing
from certctl.web.acme import accounts as account_resources
from certctl.web.acme import authorizations as authorization_resources
from certctl.web.acme import certificates as certificate_resources
from certctl.web.acme import directory as directory_resources
from certctl.web.acme import orders as order_resources
from certctl.web.acme import renewals as renewal_resources
from certctl.web.acme.call import Call
from certctl.web.answer import Answer


class Signer(Enum):
    """How a request to a route is signed (RFC 8555 section 6.2)."""

    JWK = auto()  # by the key that it carries
    KID = auto()  # by an account
    EITHER = auto()


Handler = Callable[[Call[Any]], Awaitable[Answer]]


def _no_object(_: str) -> Query[Any]:
    return nothing()


@attrs.frozen
class Route:
    """One resource: its name, its path below the profile, who handles it, and what a request to it must be."""

    name: str
    path: str
    handler: Handler
    signed_by: Signer = Signer.KID
    loads: Callable[[str], Query[Any]] = (
        _no_object  # the object that the path names, which must be the signer's
    )
    reads_only: bool = False  # a POST-as-GET is the only request (RFC 8555 section 6.3)
    gets: bool = False  # an unsigned GET is allowed too
    posts: bool = True
    lately: bool = False  # the profile as it was a second ago will do, so that the database need not be asked
    directory: str | None = None  # the member of the directory that names it

    @property
    def variables(self) -> list[str]:
        """The names of the path's variable parts."""
        return re.findall("<([^>]*)>", self.path)

    @property
    def template(self) -> str:
        """The path with ``{}`` for each variable part."""
        return re.sub("<[^>]*>", "{}", self.path)


ROUTES = (
    Route("directory", "directory", directory_resources.directory, reads_only=True, gets=True),
    Route(
        "new-nonce",
        "new-nonce",
        directory_resources.new_nonce,
        reads_only=True,
        gets=True,
        directory="newNonce",
    ),
    Route(
        "new-account",
        "new-account",
        account_resources.new_account,
        signed_by=Signer.JWK,
        directory="newAccount",
    ),
    Route("account", "account/<id>", account_resources.account),
    Route("orders", "account/<id>/orders", account_resources.orders, reads_only=True),
    Route("key-change", "key-change", account_resources.key_change, directory="keyChange"),
    Route("new-order", "new-order", order_resources.new_order, directory="newOrder"),
    Route("order", "order/<id>", order_resources.order, loads=orders.by_id, reads_only=True),
    Route("finalize", "order/<id>/finalize", order_resources.finalize, loads=orders.by_id),
    Route("new-authz", "new-authz", authorization_resources.new_authorization, directory="newAuthz"),
    Route("authorization", "authz/<id>", authorization_resources.authorization, loads=authorizations.by_id),
    Route(
        "challenge", "challenge/<id>", authorization_resources.challenge, loads=authorizations.by_challenge
    ),
    Route(
        "certificate",
        "certificate/<id>",
        certificate_resources.certificate,
        loads=certificates.by_id,
        reads_only=True,
    ),
    Route(
        "alternate",
        "certificate/<id>/chain/<chain>",
        certificate_resources.certificate,
        loads=certificates.by_id,
        reads_only=True,
    ),
    Route(
        "renewal-info",
        "renewal-info/<id>",
        renewal_resources.renewal_info,
        gets=True,
        posts=False,
        lately=True,
        directory="renewalInfo",
    ),
    Route(
        "explanation",
        "renewal-info/<id>/explanation",
        renewal_resources.explanation,
        gets=True,
        posts=False,
        lately=True,
    ),
    Route(
        "revoke-cert",
        "revoke-cert",
        certificate_resources.revoke,
        signed_by=Signer.EITHER,
        directory="revokeCert",
    ),
)

PATHS = {route.name: route.template for route in ROUTES}
# The directory's members, and the paths that they stand for, without what the client adds to them.
DIRECTORY = tuple(
    (route.directory, route.path.partition("/<")[0]) for route in ROUTES if route.directory is not None
)


# Paths alternate: a word, what it is about, a word ... The words alone tell which route it is.
_BY_WORDS = {tuple(route.path.split("/")[::2]): (route, route.variables) for route in ROUTES}


def find(path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of a path below the profile, and the values of its variable parts; None if there is none."""
    parts = path.split("/")
    found, values = _BY_WORDS.get(tuple(parts[::2])), parts[1::2]
    if found is None or not all(values) or len(values) != len(found[1]):
        return None
    route, variables = found
    return route, dict(zip(variables, values, strict=True))
