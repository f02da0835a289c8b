"""What the policies of profiles and accounts say, read strictly: what cannot be read allows nothing (docs/profiles.md).

A policy is read once for each value that it has. The member ``challenge`` is read by ``authority/challenge_rules.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from certctl.acme.identifiers import Identifier, IdentifierError, identifier
from certctl.acme.keys import curve_name
from certctl.acme.members import Members, PolicyError
from certctl.acme.name_policy import NamePolicy, Verdict
from certctl.acme.objects import AuthMode, Profile
from certctl.acme.renewal import RenewalPolicy

READ = 1024  # policies that are kept as they were read
MOST_TTL = 100 * 366 * 24 * 3600  # seconds
MOST_IDENTIFIERS = 1000
MOST_ADVERTISED = 100
COUNT = 1_000_000  # the highest limit, as in the settings

EXTENDED_KEY_USAGES: Mapping[str, x509.ObjectIdentifier] = {  # RFC 5280 section 4.2.1.12
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "codeSigning": ExtendedKeyUsageOID.CODE_SIGNING,
    "emailProtection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timeStamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "OCSPSigning": ExtendedKeyUsageOID.OCSP_SIGNING,
}
SHORT_LIVED = timedelta(days=7)  # as for public CAs (CA/Browser Forum Baseline Requirements, section 1.6.1)
_ANY_USAGE = "2.5.29.37.0"  # anyExtendedKeyUsage
_PROFILE_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}\Z")  # as in the URLs


class KeyAlgorithm(StrEnum):
    """A kind of key that a certificate may have."""

    P256 = "ecdsa-p256"
    P384 = "ecdsa-p384"
    P521 = "ecdsa-p521"
    RSA2048 = "rsa-2048"
    RSA3072 = "rsa-3072"
    RSA4096 = "rsa-4096"
    ED25519 = "ed25519"


class MustStaple(StrEnum):
    """Whether certificates have the TLS feature status_request (RFC 7633)."""

    NEVER = "never"
    ALLOWED = "allowed"  # if the CSR asks for it
    ALWAYS = "always"


class BeyondIssuer(StrEnum):
    """What becomes of a certificate that would end after its issuer, and whose end nobody asked for."""

    SHORTEN = "shorten"
    REFUSE = "refuse"


class CommonName(StrEnum):
    """Whether the subject has a common name."""

    WHEN_REQUESTED = "when_requested"  # by the CSR, and a name of the order
    NEVER = "never"


class Binding(StrEnum):
    """What a new account is told about an external account binding (RFC 8555 section 7.3.4)."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


@attrs.frozen(kw_only=True)
class LimitPolicy:
    """Rate limits in place of those of the server; None where the server's holds, 0 for none."""

    orders_per_hour: int | None = None
    concurrent_orders: int | None = None
    key_changes_per_hour: int | None = None
    challenge_responds_per_hour: int | None = None
    profile_orders_per_hour: int | None = None  # of all accounts, so no account has it

    @classmethod
    def of(cls, policy: Members, *, without: str = "") -> LimitPolicy:
        """Read the member ``limits`` of a policy; raise PolicyError."""
        known = tuple(each.name for each in attrs.fields(cls) if each.name != without)
        limits = policy.within("limits", known)
        return cls(**{name: limits.number(name, 0, COUNT) for name in known})


@attrs.frozen(kw_only=True)
class Policy:
    """A profile's policy. None is what the server's settings say."""

    names: NamePolicy = attrs.field(factory=NamePolicy)
    key_algorithms: tuple[KeyAlgorithm, ...] | None = None  # None: every key that is good
    extended_key_usages: tuple[str, ...] = ("serverAuth",)
    default_ttl: timedelta | None = None
    must_staple: MustStaple = MustStaple.NEVER
    max_identifiers: int | None = None
    common_name: CommonName = CommonName.WHEN_REQUESTED
    beyond_issuer: BeyondIssuer = BeyondIssuer.SHORTEN
    eab: Binding | None = None
    tos_url: str | None = None
    limits: LimitPolicy = attrs.field(factory=LimitPolicy)
    no_rev_avail: bool = False  # RFC 9608: nobody is to ask for the revocation of these certificates
    renewal: RenewalPolicy = attrs.field(factory=RenewalPolicy)
    advertises: tuple[str, ...] = ()  # ids of the other profiles that orders may name

    @classmethod
    def of(cls, policy: Mapping[str, Any]) -> Policy:
        """Read a profile's ``policy``; raise PolicyError (a ValueError) for what is unknown or misread."""
        return _DEFAULT if policy == {} else _read(_as_text(policy))

    def usages(self) -> frozenset[str]:
        """The extended key usages as dotted OIDs."""
        return frozenset(map(usage, self.extended_key_usages))


@attrs.frozen(kw_only=True)
class AccountPolicy:
    """An account's policy: names in addition to the profile's, limits in place of the profile's."""

    names: NamePolicy = attrs.field(factory=NamePolicy)
    limits: LimitPolicy = attrs.field(factory=LimitPolicy)

    @classmethod
    def of(cls, policy: Mapping[str, Any]) -> AccountPolicy:
        """Read an account's ``policy``; raise PolicyError (a ValueError) for what is unknown or misread."""
        return _DEFAULT_ACCOUNT if policy == {} else _read_account(_as_text(policy))


_DEFAULT, _DEFAULT_ACCOUNT = Policy(), AccountPolicy()
_MEMBERS = (
    "names",
    "key_algorithms",
    "extended_key_usages",
    "default_ttl_seconds",
    "must_staple",
    "no_rev_avail",
    "max_identifiers",
    "common_name",
    "beyond_issuer",
    "eab",
    "tos_url",
    "limits",
    "renewal",
    "advertises",
    "challenge",
)


def _as_text(policy: Mapping[str, Any]) -> str:
    """The policy as a key of the cache."""
    try:
        return json.dumps(policy)
    except (TypeError, ValueError, RecursionError):
        raise PolicyError("policy", "is no JSON object of usual depth") from None


@lru_cache(maxsize=READ)
def _read(text: str) -> Policy:
    policy = Members.of(json.loads(text), "policy", _MEMBERS)
    seconds = policy.number("default_ttl_seconds", 1, MOST_TTL)
    must_staple = policy.choice("must_staple", MustStaple) or MustStaple.NEVER
    return Policy(
        names=NamePolicy.of(policy),
        key_algorithms=_key_algorithms(policy),
        extended_key_usages=_usages(policy),
        default_ttl=None if seconds is None else timedelta(seconds=seconds),
        must_staple=must_staple,
        no_rev_avail=_no_rev_avail(policy, must_staple),
        max_identifiers=policy.number("max_identifiers", 1, MOST_IDENTIFIERS),
        common_name=policy.choice("common_name", CommonName) or CommonName.WHEN_REQUESTED,
        beyond_issuer=policy.choice("beyond_issuer", BeyondIssuer) or BeyondIssuer.SHORTEN,
        eab=policy.choice("eab", Binding),
        tos_url=policy.url("tos_url"),
        limits=LimitPolicy.of(policy),
        renewal=RenewalPolicy.of(policy),
        advertises=_profile_ids(policy),
    )


@lru_cache(maxsize=READ)
def _read_account(text: str) -> AccountPolicy:
    policy = Members.of(json.loads(text), "policy", ("names", "limits"))
    limits = LimitPolicy.of(policy, without="profile_orders_per_hour")
    return AccountPolicy(names=NamePolicy.of(policy), limits=limits)


def _key_algorithms(policy: Members) -> tuple[KeyAlgorithm, ...] | None:
    texts = policy.texts("key_algorithms")
    if texts is None:
        return None
    if not texts:
        raise PolicyError(policy.at("key_algorithms"), "is empty: leave it out to allow every good key")
    known = {each.value: each for each in KeyAlgorithm}
    for position, each in enumerate(texts):
        if each not in known:
            where = f"{policy.at('key_algorithms')}[{position}]"
            raise PolicyError(where, f"{each!r} is none of {', '.join(known)}")
    return tuple(known[each] for each in texts)


def _usages(policy: Members) -> tuple[str, ...]:
    texts = policy.texts("extended_key_usages")
    if texts is None:
        return ("serverAuth",)
    found: set[str] = set()
    for position, each in enumerate(texts):
        where = f"{policy.at('extended_key_usages')}[{position}]"
        try:
            dotted = usage(each)
        except ValueError:
            known = ", ".join(EXTENDED_KEY_USAGES)
            raise PolicyError(where, f"{each!r} is neither one of {known} nor a dotted OID") from None
        if dotted in found:
            raise PolicyError(where, f"{each!r} stands there twice: leave one out")
        found.add(dotted)
    return tuple(texts)


def usage(name: str) -> str:
    """The dotted OID of an extended key usage; raises ValueError."""
    return (EXTENDED_KEY_USAGES.get(name) or x509.ObjectIdentifier(name)).dotted_string


def _no_rev_avail(policy: Members, must_staple: MustStaple) -> bool:
    """Whether revocation is not told; what nobody can ask for cannot be stapled."""
    found = policy.switch("no_rev_avail", False)
    if found and must_staple is not MustStaple.NEVER:
        raise PolicyError(
            policy.at("no_rev_avail"), "contradicts must_staple: there is nothing to staple then"
        )
    return found


def _profile_ids(policy: Members) -> tuple[str, ...]:
    texts = policy.texts("advertises") or []
    if len(texts) > MOST_ADVERTISED:
        raise PolicyError(policy.at("advertises"), f"has more than {MOST_ADVERTISED} entries")
    for position, each in enumerate(texts):
        if not _PROFILE_ID.match(each):
            raise PolicyError(f"{policy.at('advertises')}[{position}]", f"{each!r} is no profile's id")
    return tuple(texts)


def key_algorithm(key: object) -> str:
    """The name of a key's algorithm and size; one that KeyAlgorithm does not have is in no profile's list."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa-{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ecdsa-{(curve_name(key) or key.curve.name).replace('-', '').lower()}"
    return "ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else type(key).__name__


def lacks_name_policy(profile: Profile) -> bool:
    """Whether a profile trusts accounts and says of no name that it is allowed; raises PolicyError."""
    trusting = profile.acme_auth_mode is AuthMode.TRUST_AUTHENTICATED
    return trusting and Policy.of(profile.policy).names.is_open


def warnings(profile: Profile) -> list[str]:
    """What an operator should know of a profile, a sentence each."""
    whose = f"profile {profile.id}"
    try:
        policy = Policy.of(profile.policy)
    except PolicyError as error:
        return [f"{whose} gives nothing to anybody, as its policy cannot be read: {error}"]
    told = []
    if lacks_name_policy(profile):
        names = "every name that it does not deny" if policy.names.deny.texts else "every name"
        told.append(f"{whose} lets every account have {names}: it trusts accounts and has no name policy")
    usages = policy.usages()
    if not usages or _ANY_USAGE in usages:
        told.append(f"{whose} gives certificates that are good for every use: it has no extended key usage")
    if EXTENDED_KEY_USAGES["OCSPSigning"].dotted_string in usages:
        told.append(f"{whose} gives certificates that may sign OCSP answers in the name of the CA")
    if policy.no_rev_avail and profile.max_ttl_seconds > SHORT_LIVED.total_seconds():
        told.append(
            f"{whose} has no_rev_avail, so that nobody learns of a revocation, and gives certificates for more than"
            f" {SHORT_LIVED.days} days"
        )
    if policy.default_ttl is not None and policy.default_ttl.total_seconds() > profile.max_ttl_seconds:
        told.append(f"{whose} has a default_ttl_seconds beyond its max_ttl_seconds, which counts")
    return told


def explain(profile: Profile, requested: Any) -> tuple[bool, str]:
    """Whether a profile allows an identifier (as in a newOrder payload, or read already), and the rule that says so.

    Raises PolicyError if the profile's policy cannot be read.
    """
    names = Policy.of(profile.policy).names
    try:
        found = identifier(requested.document() if isinstance(requested, Identifier) else requested)
    except IdentifierError as error:
        return False, str(error)
    verdict: Verdict = names.judge(found, f"profile {profile.id}")
    return verdict.allowed, verdict.rule
