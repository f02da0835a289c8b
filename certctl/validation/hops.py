"""The URLs on the way to a key authorization: where the first one is, and where a redirect may lead."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import attrs

from certctl.acme.challenges import http01_path
from certctl.acme.identifiers import Identifier, IdentifierError, IdentifierType, dns_name, ip_address
from certctl.acme.problems import Problem, ProblemType
from certctl.validation.attempt import printable

MAX_URL = 2048  # characters of a redirect's target

_URL = re.compile(
    r"(https?)://(\[[^\]/?#@]*\]|[^:\[\]/?#@]*)(?::([0-9]{1,5}))?"  # scheme, host, port: no user information
    r"(/[^?#]*)?(\?[^#]*)?(?:#.*)?\Z"
)
_VISIBLE = re.compile(r"[!-\[\]-~]+\Z")  # ASCII without blanks, controls and the backslash


@attrs.frozen
class Ports:
    """The ports of the two schemes: 80 and 443 but for tests."""

    http: int = 80
    https: int = 443

    def of(self, scheme: str) -> int:
        """Return the one port that ``scheme`` may be dialled on."""
        return self.https if scheme == "https" else self.http


@attrs.frozen(kw_only=True)
class Hop:
    """One URL on the way to the key authorization."""

    scheme: str
    host: Identifier
    port: int
    path: str
    query: str = ""

    @property
    def authority(self) -> str:
        """The value of the Host field: the name or the address, and a port that is not the scheme's (RFC
        8738 section 5).
        """
        host = self.host.value
        host = f"[{host}]" if self.host.type is IdentifierType.IP and ":" in host else host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}{self.query}"


def first_hop(identifier: Identifier, token: str, ports: Ports) -> Hop:
    """The URL of RFC 8555 section 8.3, step 1: http, the identifier, the well-known path."""
    return Hop(scheme="http", host=identifier, port=ports.http, path=http01_path(token))


def next_hop(status: int, locations: tuple[bytes, ...], base: Hop, ports: Ports) -> Hop:
    """Return where a redirect leads; raise Problem if that is no place to go (RFC 8555 section 10.4).

    http and https, each on its one port; no user information; the host a DNS name or an address in its
    canonical form. ``http://0x7f.1/`` and the like are neither. Whether its addresses may be dialled is
    judged when they are known.
    """
    if len(locations) != 1:
        raise refused(base, f"status {status} with {len(locations) or 'no'} Location fields")
    location = locations[0].decode("ascii", "replace")
    if len(location) > MAX_URL or not _VISIBLE.match(location):
        raise refused(base, f"the redirect to {printable(locations[0])} is not a URL")
    try:
        match = _URL.match(urljoin(base.url, location))
    except ValueError:
        match = None
    if match is None:
        raise refused(
            base, f"the redirect to {printable(locations[0])} is not an http or https URL with a plain host"
        )
    scheme, host, port, path, query = match.groups()
    if port is not None and int(port) != ports.of(scheme):
        raise refused(base, f"the redirect to {printable(locations[0])} is not to port {ports.of(scheme)}")
    return Hop(
        scheme=scheme, host=_host(host, base), port=ports.of(scheme), path=path or "/", query=query or ""
    )


def _host(text: str, base: Hop) -> Identifier:
    try:
        if text.startswith("["):
            host = ip_address(text[1:-1])
            if ":" not in host.value:
                raise IdentifierError("brackets are for IPv6")
            return host
        if text.replace(".", "").isdigit():
            return ip_address(text)
        host = dns_name(text)
        if host.wildcard:
            raise IdentifierError("no host has an asterisk in its name")
        return host
    except IdentifierError as wrong:
        raise refused(
            base, f"the redirect to the host {printable(text.encode())} is not followed: {wrong}"
        ) from None


def refused(base: Hop, words: str) -> Problem:
    """The problem of a redirect that is not followed."""
    return Problem(ProblemType.UNAUTHORIZED, f"{base.url}: {words}")
