"""Cases of profile policy: what a client asks for, and what a profile makes of it (``docs/profiles.md``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from certctl.issuance.leaf import NO_REV_AVAIL
from tests.acme_client import make_csr
from tests.unit.web.bench import Bench, Client

PROFILE = "prof-x"
STAPLE = x509.TLSFeature([x509.TLSFeatureType.status_request])
CORP: Mapping[str, Any] = {
    "names": {"allow": ["*.corp.example", "10.0.0.0/8", "exact.example"], "deny": ["secret.corp.example"]}
}
RULES = "name policy of profile prof-x"
ALLOWED = f"rejectedIdentifier: {RULES} allows exact.example, *.corp.example, 10.0.0.0/8"


@cache
def key(kind: str) -> Any:
    """Return a key of that kind, the same each time."""
    makers: Mapping[str, Callable[[], Any]] = {
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "RSA 2048": lambda: rsa.generate_private_key(65537, 2048),
        "RSA 2064": lambda: rsa.generate_private_key(65537, 2064),
        "RSA 3072": lambda: rsa.generate_private_key(65537, 3072),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
    }
    return makers[kind]()


@attrs.frozen(kw_only=True)
class Case:
    """A policy, a request, and what is to come of it."""

    policy: Mapping[str, Any]
    names: tuple[str, ...] = ("a.corp.example",)
    expected: str = "issued"
    key: str = "P-256"
    cn: str | None = None
    staple: bool = False
    members: Mapping[str, Any] = attrs.field(factory=dict)  # of the order
    csr_names: tuple[str, ...] | None = None
    max_ttl: int = 7_776_000

    @property
    def asked(self) -> str:
        """The request in words."""
        more = [", ".join(self.names)]
        more += [self.key] if self.key != "P-256" else []
        more += [f"CN {self.cn}"] if self.cn else []
        more += ["must-staple"] if self.staple else []
        more += [f"{name} {value}" for name, value in self.members.items()]
        more += [f"CSR for {', '.join(self.csr_names)}"] if self.csr_names else []
        more += [f"max_ttl_seconds {self.max_ttl}"] if self.max_ttl != 7_776_000 else []
        return "; ".join(more)


def _names(*names: str, wildcards: bool = True, expected: str = "issued", allow: bool = True) -> Case:
    policy: Mapping[str, Any] = CORP if allow else {}
    if not wildcards:
        policy = {"names": {**CORP["names"], "wildcards": False}}
    return Case(policy=policy, names=names, expected=expected)


def _keys(algorithm: str, kind: str, expected: str = "issued") -> Case:
    return Case(policy={"key_algorithms": [algorithm]}, key=kind, expected=expected)


def _bad_key(found: str, allowed: str) -> str:
    return f"badCSR: the CSR is refused: its key is {found}, and profile prof-x allows {allowed}"


NAMES = (
    _names("any.thing.example", "192.0.2.1", allow=False),
    _names("a.corp.example"),
    _names("deep.below.corp.example"),
    _names("A.CORP.Example."),
    _names("exact.example"),
    _names("corp.example", expected=ALLOWED),
    _names("b.exact.example", expected=ALLOWED),
    _names("evilcorp.example", expected=ALLOWED),
    _names("a.corp.example.evil.example", expected=ALLOWED),
    _names("secret.corp.example", expected=f"rejectedIdentifier: {RULES} denies secret.corp.example"),
    _names("SECRET.corp.example", expected=f"rejectedIdentifier: {RULES} denies secret.corp.example"),
    _names("*.a.corp.example"),
    _names("*.corp.example", expected=f"rejectedIdentifier: {RULES} denies secret.corp.example"),
    _names("*.a.corp.example", wildcards=False, expected=f"rejectedIdentifier: {RULES} allows no wildcards"),
    _names("*.exact.example", expected=ALLOWED),
    _names("10.1.2.3"),
    _names("192.0.2.1", expected=ALLOWED),
    _names("2001:db8::1", expected=ALLOWED),
    _names(
        "a_b.corp.example",
        expected="rejectedIdentifier: a DNS name has letters, digits, hyphens and dots alone"
        " (IDNs as A-labels)",
    ),
    _names(
        "xn--80ak6aa92e.corp.example",
        expected="rejectedIdentifier: a label has no letters but such as look like Latin ones",
    ),
    _names(
        "xn--tst-rdd.corp.example",
        expected="rejectedIdentifier: a label mixes letters of several scripts, which look alike",
    ),
    _names(
        "\N{KELVIN SIGN}.corp.example",
        expected="rejectedIdentifier: a DNS name has letters, digits, hyphens and"
        " dots alone (IDNs as A-labels)",
    ),
    _names(
        "a.corp.example",
        "b.example",
        "c.example",
        expected="rejectedIdentifier: 2 of the identifiers were refused: b.example, c.example",
    ),
    Case(
        policy={"max_identifiers": 1},
        names=("a.example", "b.example"),
        expected="malformed: an order names 1 identifiers at most; this one names 2",
    ),
)
KEYS = (
    _keys("ecdsa-p256", "P-256"),
    _keys("ecdsa-p384", "P-384"),
    _keys("ecdsa-p521", "P-521"),
    _keys("rsa-2048", "RSA 2048"),
    _keys("ed25519", "Ed25519"),
    _keys("ecdsa-p256", "P-384", _bad_key("ecdsa-p384", "ecdsa-p256")),
    _keys("rsa-3072", "RSA 2048", _bad_key("rsa-2048", "rsa-3072")),
    _keys("rsa-2048", "RSA 3072", _bad_key("rsa-3072", "rsa-2048")),
    _keys("rsa-2048", "RSA 2064", _bad_key("rsa-2064", "rsa-2048")),
    _keys("ecdsa-p256", "Ed25519", _bad_key("ed25519", "ecdsa-p256")),
    Case(policy={}, key="RSA 2064"),
)
CERTIFICATES = (
    Case(policy={}, cn="a.corp.example", expected="issued, CN a.corp.example"),
    Case(policy={"common_name": "never"}, cn="a.corp.example"),
    Case(
        policy={},
        cn="b.corp.example",
        expected="badCSR: the CSR is refused: it has names that are not in the order: b.corp.example",
    ),
    Case(
        policy={},
        csr_names=("a.corp.example", "b.example"),
        expected="badCSR: the CSR is refused: it has names that are not in the order: b.example",
    ),
    Case(
        policy={},
        staple=True,
        expected="badCSR: the CSR is refused: it asks for must-staple, and profile prof-x has"
        " must_staple never",
    ),
    Case(policy={"must_staple": "allowed"}, staple=True, expected="issued, must-staple"),
    Case(policy={"must_staple": "allowed"}),
    Case(policy={"must_staple": "always"}, expected="issued, must-staple"),
    Case(policy={"no_rev_avail": True}, expected="issued, noRevAvail"),
    Case(
        policy={"no_rev_avail": True},
        staple=True,
        expected="badCSR: the CSR is refused: it asks for must-staple, and profile prof-x has must_staple never",
    ),
    Case(
        policy={"extended_key_usages": ["clientAuth", "1.3.6.1.5.5.7.3.17"]},
        expected="issued, EKU 1.3.6.1.5.5.7.3.2 1.3.6.1.5.5.7.3.17",
    ),
    Case(policy={"extended_key_usages": []}, expected="issued, EKU none"),
    Case(policy={"default_ttl_seconds": 86_400}, expected="issued, 86400 s"),
    Case(policy={"default_ttl_seconds": 86_400}, max_ttl=3600, expected="issued, 3600 s"),
    Case(
        policy={"default_ttl_seconds": 3600},
        members={"notAfter": "2026-05-18T12:00:00Z"},
        expected="issued, 86461 s",
    ),
    Case(
        policy={"default_ttl_seconds": 3600},
        max_ttl=7200,
        members={"notAfter": "2026-05-18T12:00:00Z"},
        expected="malformed: the lifetime of a certificate may be 7200 seconds at most",
    ),
    Case(
        policy={"mustStaple": "always"},
        expected="serverInternal: the policy of profile prof-x cannot be read: the server's log says where",
    ),
)
CASES = NAMES + KEYS + CERTIFICATES


def seen(bench: Bench, case: Case) -> str:
    """Ask for a certificate as a case has it, and return what came of it."""
    bench.add_profile(PROFILE, policy={}, max_ttl_seconds=case.max_ttl)
    client = bench.account(PROFILE)
    bench.execute("UPDATE certificate_profiles SET policy = ? WHERE id = ?", _json(case.policy), PROFILE)
    order = client.try_order(*case.names, **case.members)
    if order.status != 201:
        return _refusal(order)
    asked = case.csr_names or [each["value"] for each in order.json["identifiers"]]
    extensions = [STAPLE] if case.staple else []
    _, csr = make_csr(asked, key=key(case.key), cn=case.cn, extensions=extensions)
    issued = client.finalize(order, csr)
    return _refusal(issued) if issued.status != 200 else ", ".join(_certificate(client, case, issued.json))


def _json(policy: Mapping[str, Any]) -> Any:
    from certctl.storage.database import Json

    return Json(dict(policy))


def _refusal(answer: Any) -> str:
    return f"{answer.error}: {answer.json['detail']}"


def _certificate(client: Client, case: Case, order: Mapping[str, Any]) -> Iterator[str]:
    """What is worth telling of a certificate."""
    certificate = x509.load_pem_x509_certificate(client.read(order["certificate"]).body)
    found = {type(each.value): each.value for each in certificate.extensions}
    assert not found[x509.BasicConstraints].ca
    yield "issued"
    if names := certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        yield f"CN {names[0].value!s}"
    if x509.TLSFeature in found:
        yield "must-staple"
    if any(each.oid.dotted_string == NO_REV_AVAIL for each in certificate.extensions):
        yield "noRevAvail"
    if "extended_key_usages" in case.policy:
        usages = [each.dotted_string for each in found.get(x509.ExtendedKeyUsage, ())]
        yield f"EKU {' '.join(usages) or 'none'}"
    if "default_ttl_seconds" in case.policy:
        lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        yield f"{lifetime.total_seconds() + 1:.0f} s"
