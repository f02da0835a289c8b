"""Tests for certctl.acme.problems."""

from __future__ import annotations

from datetime import timedelta

from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import dns_name
from certctl.acme.problems import (
    MAX_NAMED,
    Problem,
    ProblemType,
    Subproblem,
    malformed,
    refusing_identifiers,
)

A, B = dns_name("a.org"), dns_name("b.org")


class ProblemTypeTests(SynchronousTestCase):
    """The table of RFC 8555 section 6.7."""

    def test_urns(self) -> None:
        """Each type has a URN of its own in ACME's namespace."""
        urns = {each.urn for each in ProblemType}
        self.assertEqual(len(urns), len(list(ProblemType)))
        self.assertEqual(ProblemType.BAD_NONCE.urn, "urn:ietf:params:acme:error:badNonce")
        for urn in urns:
            self.assertRegex(urn, r"\Aurn:ietf:params:acme:error:[a-z][A-Za-z]+\Z")

    def test_statuses(self) -> None:
        """The statuses that the RFCs ask for are those; all are errors."""
        for type, status in (
            (ProblemType.BAD_NONCE, 400),  # RFC 8555 section 6.5
            (ProblemType.BAD_SIGNATURE_ALGORITHM, 400),  # section 6.2
            (ProblemType.BAD_PUBLIC_KEY, 400),
            (ProblemType.ACCOUNT_DOES_NOT_EXIST, 400),  # section 7.3.1
            (ProblemType.USER_ACTION_REQUIRED, 403),  # section 7.3.3
            (ProblemType.ORDER_NOT_READY, 403),  # section 7.4
            (ProblemType.ALREADY_REPLACED, 409),  # RFC 9773 section 5
            (ProblemType.RATE_LIMITED, 429),
            (ProblemType.SERVER_INTERNAL, 500),
        ):
            self.assertEqual(type.status, status)
        self.assertTrue(all(400 <= each.status <= 500 for each in ProblemType))


class ProblemTests(SynchronousTestCase):
    """What is raised, and the document that it becomes."""

    def test_plain(self) -> None:
        """A problem has type, detail and status in its document, and no empty members."""
        problem = malformed("no such thing")
        expected = {"type": "urn:ietf:params:acme:error:malformed", "detail": "no such thing", "status": 400}
        self.assertEqual(problem.document(), expected)
        self.assertEqual(str(problem), "no such thing")
        self.assertEqual((problem.headers, problem.retry_after, problem.subproblems), ({}, None, ()))

    def test_everything(self) -> None:
        """Status, members, headers and the time to wait can be given."""
        problem = Problem(
            ProblemType.MALFORMED,
            "taken",
            status=409,
            retry_after=timedelta(seconds=5),
            headers={"Location": "https://example.org/1"},
            members={"algorithms": ["ES256"]},
        )
        self.assertEqual(problem.document()["status"], 409)
        self.assertEqual(problem.document()["algorithms"], ["ES256"])
        self.assertNotIn("headers", problem.document())
        self.assertEqual(problem.headers, {"Location": "https://example.org/1"})
        self.assertEqual(problem.retry_after, timedelta(seconds=5))

    def test_subproblems(self) -> None:
        """Subproblems name their identifiers and have no status (RFC 8555 section 6.7.1)."""
        problem = Problem(
            ProblemType.COMPOUND, "two", subproblems=[Subproblem(ProblemType.CAA, "forbidden", A)]
        )
        expected = {
            "type": "urn:ietf:params:acme:error:caa",
            "detail": "forbidden",
            "identifier": {"type": "dns", "value": "a.org"},
        }
        self.assertEqual(problem.document()["subproblems"], [expected])


class RefusingIdentifiersTests(SynchronousTestCase):
    """Several identifiers, one answer (RFC 8555 section 6.7.1)."""

    def test_one(self) -> None:
        """The refusal of one identifier is told in its own words, and as a subproblem."""
        only = Subproblem(ProblemType.REJECTED_IDENTIFIER, "not allowed", A)
        problem = refusing_identifiers([only])
        self.assertEqual((problem.type, problem.detail), (ProblemType.REJECTED_IDENTIFIER, "not allowed"))
        self.assertEqual(problem.subproblems, (only,))

    def test_one_of_several(self) -> None:
        """Which one it is stands in the detail: there are clients that show a subproblem without its identifier."""
        only = Subproblem(ProblemType.REJECTED_IDENTIFIER, "not allowed", A)
        self.assertEqual(refusing_identifiers([only], 2).detail, "a.org: not allowed")

    def test_many(self) -> None:
        """Of many the first are named, and the number of the others."""
        many = [
            Subproblem(ProblemType.REJECTED_IDENTIFIER, "no", dns_name(f"{n}.org"))
            for n in range(MAX_NAMED + 2)
        ]
        detail = refusing_identifiers(many).detail
        self.assertIn("0.org, 1.org", detail)
        self.assertTrue(detail.endswith(f"{MAX_NAMED - 1}.org and 2 more"), detail)

    def test_alike(self) -> None:
        """Refusals of one type have that type together."""
        both = [Subproblem(ProblemType.REJECTED_IDENTIFIER, "no", each) for each in (A, B)]
        problem = refusing_identifiers(both)
        self.assertIs(problem.type, ProblemType.REJECTED_IDENTIFIER)
        self.assertEqual(problem.detail, "2 of the identifiers were refused: a.org, b.org")
        self.assertEqual(problem.subproblems, tuple(both))

    def test_different(self) -> None:
        """Refusals of several types are a compound problem."""
        both = [
            Subproblem(ProblemType.REJECTED_IDENTIFIER, "no", A),
            Subproblem(ProblemType.UNSUPPORTED_IDENTIFIER, "what?", B),
        ]
        problem = refusing_identifiers(both)
        self.assertIs(problem.type, ProblemType.COMPOUND)
        self.assertEqual(len(problem.document()["subproblems"]), 2)
