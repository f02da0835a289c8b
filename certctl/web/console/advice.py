"""What to do about a problem, by its type and what it says (RFC 8555 section 6.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMESPACE = "urn:ietf:params:acme:error:"
# By the words of the detail first: they tell more than the type.
_BY_WORDS = (
    (
        "connection refused",
        "Nothing listens there. http-01 needs port 80 and tls-alpn-01 port 443 of the name open for this server while "
        "the client runs: look for a firewall between, and whether the name leads to the host the client runs on.",
    ),
    (
        "is not dialled",
        "The address is in a range that validation does not dial. If it is right, allow the range by "
        "policy.challenge.egress of the profile or by CERTCTL_ACME_SERVER_EGRESS_ALLOW.",
    ),
    (
        "NXDOMAIN",
        "The resolver knows no such name. Make the record, or let the server ask a resolver that sees your internal "
        "names: CERTCTL_ACME_SERVER_DNS01_RESOLVER, or policy.challenge.resolvers of the profile.",
    ),
    (
        " within ",
        "No answer came in time. A firewall that drops packets looks like this: test from the server's host with "
        "certctl doctor.",
    ),
)
_BY_TYPE = {
    "connection": "The host could not be reached. certctl doctor, on the server's host, dials it as validation does.",
    "dns": "The name could not be looked up. Ask the same resolver by hand; certctl doctor shows which it is.",
    "unauthorized": "Something answered, but not with what the client was told to put there. Often another web server "
    "answers on that port, or the record is of an earlier try.",
    "incorrectResponse": "Something answered, but not with what the client was told to put there. Often another web "
    "server answers on that port, or the record is of an earlier try.",
    "tls": "The TLS handshake did not end well. tls-alpn-01 needs the client itself on port 443, without a proxy that "
    "ends TLS in between.",
    "caa": "A CAA record of the name forbids this CA. Change the record, or CERTCTL_ACME_SERVER_CAA_IDENTITIES.",
    "rejectedIdentifier": "The name policy refuses the name. The profile's page says which rule does.",
    "badCSR": "The client's request for a certificate does not fit the order or the profile: its names, its key.",
    "rateLimited": "The account asks too often. Its page shows limits and paused names.",
    "orderNotReady": "The client finalized before its names were proved.",
    "serverInternal": "The server failed. Its log says why.",
    "malformed": "The client gave up, or came too late: it may simply order again.",
}


def of(problem: Mapping[str, Any]) -> str:
    """A sentence or two, empty if there is nothing to say."""
    detail = str(problem.get("detail", ""))
    for words, sentence in _BY_WORDS:
        if words in detail:
            return sentence
    return _BY_TYPE.get(name(problem), "")


def name(problem: Mapping[str, Any]) -> str:
    """The problem's type without its namespace."""
    return str(problem.get("type", "")).removeprefix(NAMESPACE)
