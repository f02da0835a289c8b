"""The last judgement: a certificate that breaks its profile is not signed, whatever let it come so far."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import dns_name
from certctl.acme.objects import Account, Order, Profile, Status
from certctl.acme.problems import Problem, ProblemType
from certctl.authority import signing
from certctl.authority.profile_rules import ProfileRules
from certctl.issuance.issuer import Issued, Template
from tests.unit.test_house import modules
from tests.unit.web.acme.policy_cases import key
from tests.unit.web.bench import ISSUER, NOW, authority

POLICY = {
    "names": {"allow": ["*.corp.example"]},
    "key_algorithms": ["ecdsa-p256"],
    "extended_key_usages": ["serverAuth"],
}
NAMES = (dns_name("a.corp.example"), dns_name("b.corp.example"))
HOUR = timedelta(hours=1)
GOOD = Template(
    names=NAMES,
    common_name="a.corp.example",
    public_key=ec.generate_private_key(ec.SECP256R1()).public_key(),
    not_before=NOW,
    not_after=NOW + HOUR - timedelta(seconds=1),
)


class Witness:
    """A CA that says what it signed."""

    at_once = True
    id, chain, root = ISSUER, authority().chain, authority().root
    expires_at = authority().expires_at

    def __init__(self) -> None:
        self.signed: list[Template] = []

    async def sign(self, template: Template, request_id: str) -> Issued:
        """Sign with the CA of the bench."""
        self.signed.append(template)
        return authority().issue(template)

    async def withdraw(self, request_id: str) -> None:
        """Nothing is kept."""


class SigningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ca = Witness()

    def sign(
        self, template: Template, policy: Mapping[str, Any] = POLICY, own: Mapping[str, Any] | None = None
    ) -> None:
        """Hand a template to the one door, past newOrder and CSR."""
        profile = Profile(id="prof-x", name="X", issuer_id=ISSUER, max_ttl_seconds=3600, policy=policy)
        account = Account(
            id="acme-acc-a", profile_id="prof-x", thumbprint="t", jwk="{}", created_at=NOW, policy=own or {}
        )
        order = Order(
            id="acme-ord-o",
            profile_id="prof-x",
            account_id="acme-acc-a",
            status=Status.READY,
            identifiers=NAMES,
            authorizations=(),
            expires_at=NOW + HOUR,
            created_at=NOW,
        )
        terms = ProfileRules().terms(profile, account)
        self.successResultOf(Deferred.fromCoroutine(signing.sign(self.ca, terms, order, template, "r")))

    def refused(self, type: ProblemType, words: str, **changes: Any) -> None:
        """Check that the good template with these changes is not signed."""
        policy, own = changes.pop("policy", POLICY), changes.pop("own", None)
        try:
            self.sign(attrs.evolve(GOOD, **changes), policy, own)
        except self.failureException as error:
            self.assertIn(words, str(error))
            self.assertIn(Problem.__name__, str(error))
        else:
            self.fail(f"signed: {changes}")
        self.assertEqual(self.ca.signed, [])

    def test_good(self) -> None:
        """What the profile gives is signed."""
        self.sign(GOOD)
        self.assertEqual(self.ca.signed, [GOOD])

    def test_names(self) -> None:
        """Names that profile or account do not allow, and names that are not those of the order."""
        evil = (*NAMES, dns_name("evil.example"))
        rejected = ProblemType.REJECTED_IDENTIFIER
        self.refused(rejected, "name policy of profile prof-x allows *.corp.example", names=evil)
        own = {"names": {"deny": ["b.corp.example"]}}
        self.refused(rejected, "name policy of account acme-acc-a denies b.corp.example", own=own)
        more, less = (*NAMES, dns_name("c.corp.example")), NAMES[:1]
        for names in (more, less, (*NAMES, NAMES[0])):
            self.refused(ProblemType.SERVER_INTERNAL, "its names are not those of the order", names=names)

    def test_key(self) -> None:
        """A key that the profile does not allow."""
        words = "its key is ecdsa-p384, and profile prof-x allows ecdsa-p256"
        self.refused(ProblemType.BAD_CSR, words, public_key=key("P-384").public_key())

    def test_lifetime(self) -> None:
        """A second more than the profile allows."""
        longer = GOOD.not_after + timedelta(seconds=1)
        self.refused(ProblemType.SERVER_INTERNAL, "max_ttl_seconds is 3600", not_after=longer)

    def test_usages(self) -> None:
        """Usages that the profile does not have, or lacks."""
        for usages in ((), ("serverAuth", "clientAuth"), ("clientAuth",), ("2.5.29.37.0",)):
            self.refused(ProblemType.SERVER_INTERNAL, "extended_key_usages", extended_key_usages=usages)

    def test_must_staple(self) -> None:
        """A TLS feature that the profile never has, or always."""
        self.refused(ProblemType.SERVER_INTERNAL, "must_staple is never", must_staple=True)
        always = {**POLICY, "must_staple": "always"}
        self.refused(ProblemType.SERVER_INTERNAL, "must_staple is always", policy=always)

    def test_common_name(self) -> None:
        """A common name where there is to be none, or that is none of the names."""
        never = {**POLICY, "common_name": "never"}
        self.refused(ProblemType.SERVER_INTERNAL, "common_name is never", policy=never)
        words = "its common name is not one of its names"
        self.refused(ProblemType.SERVER_INTERNAL, words, common_name="evil.example")

    def test_one_door(self) -> None:
        """No other module of the registration authority or the web has an issuer sign."""
        doors = {
            name
            for name, tree in modules().items()
            if name.startswith(("certctl.authority", "certctl.web", "certctl.cli"))
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr in ("sign", "issue") and _is_issuer(node.value)
        }
        self.assertEqual(doors, {"certctl.authority.signing"})


def _is_issuer(node: ast.expr) -> bool:
    return "issuer" in ast.unparse(node) or ast.unparse(node) in ("ca", "self._ca")
