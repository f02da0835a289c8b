"""Sentences of the console that are said in more than one place."""

from __future__ import annotations

from datetime import datetime

DONE = {
    "signed-out": "You are signed out.",
    "signed-out-everywhere": "You are signed out, here and everywhere else where this key was signed in.",
    "ended": "Your session has ended. Sign in again to go on.",
    "profile-created": "The profile is made. It holds for the next request.",
    "profile-changed": "The profile is changed. It holds for the next order.",
    "profile-archived": "The profile is archived: nobody gets new certificates under it.",
    "profile-deleted": "The profile is deleted.",
    "account-deactivated": "The account is deactivated.",
    "account-paused": "The account is paused: it gets no orders until it is resumed.",
    "account-resumed": "The account may order again.",
    "account-changed": "The account is changed. It holds for its next order.",
    "names-unpaused": "The account may order these names again.",
    "eab-revoked": "The key is revoked: it binds no account any more.",
    "key-revoked": "The key is revoked, and whoever was signed in with it is signed out.",
    "issuer-requested": "The key is made, on this server. Have its request certified by your root, and install that.",
    "issuer-installed": "The issuer is there. Profiles may name it.",
    "issuer-withdrawn": "The request is given up.",
    "issuer-switched": "The switch is set. Profiles name the other issuer from then on.",
    "issuer-stays": "The issuer stays.",
    "issuer-retired": "The issuer is retired: it signs no certificates any more, and its CRL and OCSP answers go on.",
    "renewal-started": "It has begun: clients are told the new time when they ask next.",
    "renewal-cancelled": "It is cancelled: certificates are renewed when they would have been before.",
    "renewal-finished": "It is finished.",
    "revoked": "The certificate is revoked. CRL and OCSP say so from now on.",
    "revoked-none": "No certificate was revoked: none was left that this filter finds.",
}
ROLES = {
    "read-only": "may look at everything but API keys",
    "operator": "may also revoke, pause, and make keys for accounts",
    "admin": "may do everything",
}
REASONS = {
    "unspecified": "no particular reason",
    "keyCompromise": "the private key is or may be known to others",
    "affiliationChanged": "the names belong to somebody else now",
    "superseded": "another certificate has taken its place",
    "cessationOfOperation": "the service is shut down",
    "privilegeWithdrawn": "the holder may no longer have it",
}
MODES = {
    "trust_authenticated": "trusts its accounts: every name that the name policy allows, without proof",
    "challenge": "asks for proof of control of each name, by http-01, dns-01 or tls-alpn-01",
}


def done(key: str) -> str:
    """The sentence for what was done, empty for no such thing; ``revoked-17`` counts."""
    if key.startswith("revoked-") and key[8:].isdecimal() and len(key) < 20:
        number = int(key[8:])
        return f"{number} certificate{'s are' if number != 1 else ' is'} revoked. CRL and OCSP say so from now on."
    return DONE.get(key, "")


_PROBLEMS = {
    "connection": "could not connect",
    "dns": "name not found in the DNS",
    "unauthorized": "wrong answer",
    "incorrectResponse": "wrong answer",
    "tls": "TLS handshake failed",
    "caa": "CAA forbids it",
    "rejectedIdentifier": "name not allowed",
    "badCSR": "request for a certificate does not fit",
    "rateLimited": "too many requests",
    "serverInternal": "the server failed",
    "malformed": "given up, or too late",
    "orderNotReady": "finalized too early",
}
_REFUSALS = {
    "acme_order_refused": "orders refused by a profile",
    "acme_rate_limited": "requests over a rate limit",
    "eab_refused": "accounts without a good key",
    "certificate_revocation_refused": "revocations refused",
}


def problem(type: str) -> str:
    """What a problem's type says, for people."""
    name = type.rpartition(":")[2]
    return _PROBLEMS.get(name, name)


def refusal(action: str) -> str:
    """What was refused, by the action of the trail."""
    return _REFUSALS.get(action, action)


def moment(text: str) -> datetime:
    """A time that is kept as text."""
    return datetime.fromisoformat(text)


def reasons() -> list[tuple[str, str]]:
    """The reasons for a revocation, as a choice."""
    return [(name, f"{name}: {sentence}") for name, sentence in REASONS.items()]


def roles() -> list[tuple[str, str]]:
    """The roles, as a choice."""
    return [(name, f"{name}: {sentence}") for name, sentence in ROLES.items()]
