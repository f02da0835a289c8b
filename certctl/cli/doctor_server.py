"""What ``certctl doctor`` looks at by asking the server: its TLS, its clock, its API, its profiles."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from cryptography import x509

from certctl.cli.access import Access, alternatives
from certctl.cli.client import Answer, Api
from certctl.cli.failures import Failure
from certctl.cli.findings import Finding, fail, ok, warn
from certctl.settings import Settings

SECONDS = 10.0
NOT_FOUND = 404  # of a directory: ACME is off; with no default profile it is 403
SOON = timedelta(days=14)
SKEW = timedelta(seconds=30)  # nonces and orders bear more; certificates begin a minute before they are made


async def look_at_server(api: Api, settings: Settings | None) -> AsyncIterator[Finding]:
    """What can be seen of a server by asking it; ``settings`` are those of the one on this host."""
    for finding in _tls(api.access, settings):
        yield finding
    try:
        ready = await api.http("GET", f"{api.access.url}/ready", None, {})
    except Failure as failure:
        words, _, remedy = failure.message.partition(": ")
        yield fail("server", words, remedy)
        return
    yield _readiness(ready)
    if (await api.http("GET", f"{api.access.url}/acme/directory", None, {})).status == NOT_FOUND:
        yield warn("ACME", "it is off: its URLs are 404", "set CERTCTL_ACME_SERVER_ENABLED=true")
    if clock := _clock(ready, api.access):
        yield clock
    async for finding in _profiles(api, settings):
        yield finding


def _readiness(answer: Answer) -> Finding:
    if answer.status == 200:
        return ok("server", "it answers over TLS that is trusted, and is ready")
    words = " ".join(answer.body.decode("utf-8", "replace").split())[:200]
    return fail("server", f"/ready answers {answer.status}: {words}", "see the server's log")


def _tls(access: Access, settings: Settings | None) -> Iterator[Finding]:
    """The server's own certificate: its names and its end. Whether it is trusted is seen when it is asked."""
    shown = _shown(access)
    if shown is None:  # that nobody answers is said by who asks for more
        return
    now, ends = datetime.now(UTC), shown.not_valid_after_utc
    names = alternatives(shown)
    issuer = shown.issuer.rfc4514_string()
    external = urlsplit((settings.server_external_url or "") if settings else access.url).hostname
    if external and not any(_covers(each, external) for each in names):
        yield fail(
            "TLS",
            f"clients know the server as {external}, and its certificate has {', '.join(names) or 'no names'}",
            "add the name to CERTCTL_SERVER_TLS_NAMES, or give the server a certificate that has it",
        )
    if now >= ends:
        yield fail(
            "TLS",
            f"the server's certificate expired on {ends:%Y-%m-%d}",
            "renew it; the log says what hinders",
        )
    elif ends - now < SOON:
        yield warn(
            "TLS", f"the server's certificate ends on {ends:%Y-%m-%d}", "renew it, and send the server SIGHUP"
        )
    else:
        yield ok("TLS", f"certificate by {issuer}, for {', '.join(names)}, good until {ends:%Y-%m-%d}")


def _covers(name: str, wanted: str) -> bool:
    if name.startswith("*."):
        return wanted.partition(".")[2] == name[2:]
    return name.lower() == wanted.lower()


def _shown(access: Access) -> x509.Certificate | None:
    """The certificate that the server shows, whoever signed it; None if there is no server, or no TLS."""
    split = urlsplit(access.url)
    host = split.hostname or ""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is looked at, and told nothing
    try:
        with (
            socket.create_connection(access.dial or (host, split.port or 443), SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as shaken,
        ):
            der = shaken.getpeercert(binary_form=True)
    except OSError:
        return None
    return None if der is None else x509.load_der_x509_certificate(der)


def _clock(answer: Answer, access: Access) -> Finding | None:
    """The clock of this machine against the server's, where that is another one."""
    if access.local:
        return None
    try:
        there = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return None
    apart = abs(datetime.now(UTC) - there)
    if apart > SKEW:
        return fail(
            "clock", f"the server's is {apart.total_seconds():.0f} s from this machine's", "let NTP set both"
        )
    return ok("clock", "the server's agrees with this machine's")


async def _profiles(api: Api, settings: Settings | None) -> AsyncIterator[Finding]:
    """What the API says of profiles that let too much pass."""
    try:
        found = await api.all("profiles")
    except Failure as failure:
        words, _, remedy = failure.message.partition(": ")
        yield fail("API", words, remedy or "give the doctor a key that may read")
        return
    yield ok("API", f"the key is known; {len(found)} profiles")
    default = settings.acme_server_default_profile_id if settings else None
    if default and not any(each["id"] == default and each["enabled"] for each in found):
        yield warn(
            "profile",
            f"{default}, for which the URLs under /acme/ stand, is not there or not enabled",
            "set CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID to one of certctl profile list",
        )
    for each in found:
        if each.get("archived_at") or not each["enabled"]:
            continue
        for warning in each.get("warnings", ()):
            yield warn(
                "profile",
                warning,
                f"certctl profile edit {each['id']} --set 'policy.names.allow=[\"*.corp.example\"]'",
            )
