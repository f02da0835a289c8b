"""Tests for certctl.acme.csr.judge."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from certctl.acme import csr, keys
from certctl.acme.identifiers import Identifier
from certctl.acme.problems import Problem, ProblemType
from tests.acme_client import make_csr
from tests.unit.acme.jws_builder import signer
from tests.unit.acme.test_csr import names, parse


class JudgeTests(SynchronousTestCase):
    """Whether a CSR is for the order."""

    def refused(
        self, der: bytes, ordered: frozenset[Identifier], words: str, account: keys.Key | None = None
    ) -> None:
        """Show that a good CSR is refused for this order in these words."""
        problem = self.assertRaises(Problem, csr.judge, parse(der), ordered, account)
        self.assertIs(problem.type, ProblemType.BAD_CSR)
        self.assertIn(words, problem.detail)

    def test_good(self) -> None:
        """A CSR for the order's names, in whatever order and case, is good."""
        for cn in (None, "a.example.org", "B.example.org", "192.0.2.1"):
            der = make_csr(["B.example.org", "192.0.2.1", "a.example.org"], cn=cn)[1]
            ordered = names("a.example.org", "b.example.org", "192.0.2.1")
            csr.judge(parse(der), ordered, signer("ES256").key.public_key())
            csr.judge(parse(der), tuple(ordered), None)

    def test_address_in_common_name_alone(self) -> None:
        """An address may stand in the common name alone."""
        csr.judge(parse(make_csr([], cn="2001:db8::1")[1]), names("2001:db8::1"), None)

    def test_missing(self) -> None:
        """A CSR that lacks a name of the order is refused, a CSR without names too."""
        ordered = names("a.example.org", "b.example.org")
        self.refused(make_csr(["a.example.org"])[1], ordered, "lacks names of the order: b.example.org")
        self.refused(make_csr([])[1], ordered, "lacks names of the order: a.example.org, b.example.org")

    def test_added(self) -> None:
        """A CSR with a name that is not in the order is refused, be it in the SAN or in the common name."""
        for der in (make_csr(["a.org", "b.org"])[1], make_csr(["a.org"], cn="b.org")[1]):
            self.refused(der, names("a.org"), "names that are not in the order: b.org")

    def test_wildcard_is_not_the_name(self) -> None:
        """A wildcard does not stand for the names under it, nor they for it."""
        self.refused(make_csr(["*.example.org"])[1], names("a.example.org"), "lacks")
        self.refused(make_csr(["a.example.org"])[1], names("*.example.org"), "lacks")

    def test_told_in_short(self) -> None:
        """Of many names five are told."""
        many = names(*(f"{letter}.example.org" for letter in "abcdefg"))
        self.refused(make_csr([])[1], many, "d.example.org, e.example.org and 2 more")

    def test_common_name(self) -> None:
        """A common name that is no identifier is refused."""
        self.refused(make_csr(["a.org"], cn="My Server")[1], names("a.org"), "its common name")

    def test_account_key(self) -> None:
        """The account's key gets no certificate (section 11.1)."""
        for algorithm in ("ES256", "RS256", "EdDSA"):
            account = keys.public_key(signer(algorithm).jwk)
            der = make_csr(["a.org"], signer(algorithm).key)[1]
            self.refused(der, names("a.org"), "the account's key", account.key)
