"""The cookie of a session, and what a form must have beside it (RFC 6265; OWASP's signed double submit)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from http.cookies import CookieError, SimpleCookie

from twisted.web.server import Request

SESSION = "__Secure-certctl-console"
FORM = "__Secure-certctl-sign-in"  # of who is not signed in, for the one form that there is for them
_ATTRIBUTES = "Path=/console/; Secure; HttpOnly; SameSite=Strict"


def cookie(request: Request, name: str) -> str:
    """The value of a cookie, empty if there is none."""
    sent = request.requestHeaders.getRawHeaders(b"cookie", [b""])[-1].decode("latin-1")
    try:
        found = SimpleCookie(sent).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def setting(name: str, value: str) -> str:
    """The header that sets a cookie until the browser is closed; or, with no value, removes it."""
    return f"{name}={value}; {_ATTRIBUTES}" + ("" if value else "; Max-Age=0")


def new_form_secret() -> str:
    """A value for the cookie FORM."""
    return secrets.token_urlsafe(16)


def csrf_token(secret: str) -> str:
    """What forms must send that belong to a cookie of that value."""
    return hmac.new(secret.encode("utf-8", "surrogateescape"), b"certctl csrf", hashlib.sha256).hexdigest()


def belongs(sent: str, secret: str) -> bool:
    """Whether a form belongs to a cookie of that value."""
    expected = csrf_token(secret).encode("ascii")
    return bool(secret) and hmac.compare_digest(sent.encode("utf-8", "surrogateescape"), expected)


def is_from_here(request: Request, origin: str) -> bool:
    """Whether a request came from a page of this server, as far as the browser says (Fetch metadata, RFC 6454)."""
    header = request.requestHeaders.getRawHeaders
    site = header(b"sec-fetch-site", [b"same-origin"])[-1]
    host = header(b"host", [b""])[-1].decode("latin-1")
    sent = header(b"origin", [origin.encode("latin-1")])[-1].decode("latin-1")
    return site == b"same-origin" and sent in (origin, f"https://{host}")
