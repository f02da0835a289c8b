"""Name constraints, judged as RFC 5280 section 4.2.1.10 has them, and as openssl does."""

from __future__ import annotations

import ipaddress
import subprocess
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import Identifier, dns_name, ip_address
from certctl.acme.name_constraints import NameConstraints, Subtrees, extension, of_chain
from certctl.issuance import hierarchy
from tests.unit.issuance.cases import NOW

PERMITTED = ("corp.example", "10.0.0.0/8")
EXCLUDED = ("secret.corp.example", "10.9.0.0/16")


def constraints(permitted: tuple[str, ...], excluded: tuple[str, ...] = ()) -> NameConstraints:
    return NameConstraints("CN=X", Subtrees.parse(permitted), Subtrees.parse(excluded))


class JudgedTests(SynchronousTestCase):
    def allowed(self, rules: NameConstraints, *names: Identifier) -> list[str]:
        return [each.value for each in names if rules.refusal(each) is None]

    def test_names(self) -> None:
        """A name and all below it, at any depth; what is excluded is not, whatever is permitted."""
        good = [
            dns_name(each)
            for each in ("corp.example", "a.corp.example", "a.b.corp.example", "*.corp.example")
        ]
        bad = [
            dns_name(each)
            for each in (
                "example",
                "evilcorp.example",
                "corp.example.org",
                "*.example.org",
                "secret.corp.example",
            )
        ]
        bad.append(dns_name("x.secret.corp.example"))
        rules = constraints(PERMITTED, EXCLUDED[1:])
        self.assertEqual(self.allowed(rules, *good), [each.value for each in good])
        self.assertEqual(self.allowed(constraints(PERMITTED, EXCLUDED), *bad), [])

    def test_wildcard_over_excluded(self) -> None:
        """A wildcard stands for what is excluded, and is refused with it."""
        self.assertIn("must not", constraints((), EXCLUDED).refusal(dns_name("*.corp.example")) or "")

    def test_addresses(self) -> None:
        rules = constraints(PERMITTED, EXCLUDED)
        found = self.allowed(rules, *map(ip_address, ("10.1.2.3", "10.9.1.1", "192.0.2.1", "2001:db8::1")))
        self.assertEqual(found, ["10.1.2.3"])

    def test_each_kind_by_its_own(self) -> None:
        """By the standard, permitted names say nothing of addresses; our own certificates say it."""
        bare = constraints(("corp.example",))
        self.assertIsNone(bare.refusal(ip_address("192.0.2.1")))
        for texts, outside in (
            (("corp.example",), ip_address("192.0.2.1")),
            (("10.0.0.0/8",), dns_name("a.example")),
        ):
            made = extension(Subtrees.parse(texts), Subtrees())
            assert made is not None
            rules = NameConstraints(
                "CN=X", Subtrees.of(made.permitted_subtrees), Subtrees.of(made.excluded_subtrees)
            )
            self.assertIsNotNone(rules.refusal(outside))
        self.assertIsNone(extension(Subtrees(), Subtrees()))

    def test_misread(self) -> None:
        for text in ("10.0.0.1/8", "corp_.example", "", "a b"):
            self.assertRaises(ValueError, Subtrees.parse, (text,))

    def test_dot_in_front(self) -> None:
        """What others write: only what is below."""
        rules = NameConstraints("CN=X", Subtrees((".corp.example",)))
        self.assertIsNone(rules.refusal(dns_name("a.corp.example")))
        self.assertIsNotNone(rules.refusal(dns_name("corp.example")))


class OpensslTests(SynchronousTestCase):
    """The same verdicts as openssl's, on real chains."""

    def test_as_openssl(self) -> None:
        key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        made = extension(Subtrees.parse(PERMITTED), Subtrees.parse(EXCLUDED))
        root = hierarchy.root_certificate(key, "Root", NOW, constraints=made)
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
        rules = of_chain((root.public_bytes(Encoding.DER),))
        names = ("corp.example", "a.b.corp.example", "evilcorp.example", "secret.corp.example", "other.org")
        addresses = ("10.1.2.3", "10.9.9.9", "192.0.2.1", "2001:db8::1")
        seen = set()
        for identifier in (*map(dns_name, names), *map(ip_address, addresses)):
            general: x509.GeneralName = (
                x509.DNSName(identifier.value)
                if identifier.value in names
                else x509.IPAddress(ipaddress.ip_address(identifier.value))
            )
            leaf = (
                x509.CertificateBuilder(
                    root.subject, x509.Name([]), leaf_key.public_key(), 7, NOW, NOW + timedelta(days=9)
                )
                .add_extension(x509.SubjectAlternativeName([general]), critical=True)
                .sign(key, hierarchy.signature_hash(key))
            )
            (directory / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
            ran = subprocess.run(
                [
                    "openssl",
                    "verify",
                    "-attime",
                    str(int(NOW.timestamp()) + 60),
                    "-CAfile",
                    "root.pem",
                    "leaf.pem",
                ],
                cwd=directory,
                capture_output=True,
                text=True,
                check=False,
            )
            refused = any(each.refusal(identifier) for each in rules)
            self.assertEqual(ran.returncode != 0, refused, (identifier.value, ran.stdout, ran.stderr))
            seen.add(refused)
        self.assertEqual(seen, {True, False})
