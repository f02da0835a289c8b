"""Under which URL a request reached this server: what all URLs of its answer begin with."""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.server import Request

from certctl.acme.problems import Problem, ProblemType


class Origin:
    """Tells the origin (``https://host:port``) of a request.

    It is the external URL if one is set. Else it is made from the Host header, which the client chooses, and so only
    if the host is one of the names that the server's certificate answers to.
    """

    def __init__(self, external_url: str, answers_to: Callable[[str], bool]) -> None:
        self._external_url = external_url.rstrip("/")
        self._answers_to = answers_to
        self._known: dict[bytes, str] = {}

    def of(self, request: Request) -> str:
        """Return the origin; raise Problem (421) if the server does not answer to the name in Host."""
        if self._external_url:
            return self._external_url
        host = request.requestHeaders.getRawHeaders(b"host", [b""])[-1]
        if origin := self._known.get(host):
            return origin
        text = host.decode("ascii", "replace")
        name, _, port = text.rpartition(":") if not text.endswith("]") and ":" in text else (text, "", "")
        if not (self._answers_to(name) and (not port or port.isdigit())):
            detail = (
                f"this server does not answer to the name {text[:100]!r}: "
                "its operator sets CERTCTL_SERVER_TLS_NAMES or CERTCTL_SERVER_EXTERNAL_URL"
            )
            raise Problem(ProblemType.MALFORMED, detail, status=421)
        if len(self._known) < MAX_KNOWN:
            self._known[host] = f"https://{text}"
        return f"https://{text}"

    def forget(self) -> None:
        """Ask again for every host: the names have changed."""
        self._known.clear()


MAX_KNOWN = 1000  # hosts kept in memory; a wildcard name would let clients invent any number
