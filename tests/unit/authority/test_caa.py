"""When CAA is asked, with what, and for how long an answer holds: at the validation, and again before issuing."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from certctl import assembly
from certctl.acme.identifiers import Identifier, dns_name, ip_address
from certctl.acme.objects import Account, AuthMode, ChallengeType, Status
from certctl.acme.problems import Problem, ProblemType
from certctl.authority import caa
from certctl.authority.caa import FRESH, Permission
from certctl.authority.challenge_rules import ChallengeRules
from certctl.authority.challenges import PAUSES
from certctl.validation.addresses import EgressPolicy, Network, Resolvers
from certctl.validation.attempt import Transient
from tests.acme_client import make_csr
from tests.unit.web.bench import NOW, ORIGIN, Bench, BenchCase, Client
from tests.unit.web.wire import Response

IDENTITIES = ("ca.example",)
FORBIDDEN = Problem(ProblemType.CAA, "CAA at example.org forbids www.example.org")
NETWORK = Network(EgressPolicy(), Resolvers.of(["192.0.2.53"]))
OBEYING = ChallengeRules(NETWORK, caa=True)
NAME = dns_name("www.example.org")
HTTP01, DNS01 = ChallengeType.HTTP01, ChallengeType.DNS01


class Records:
    """CAA records, as the network would have them: they forbid what they are told to forbid."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool, ChallengeType | None]] = []
        self.with_: list[tuple[Collection[str], str, Resolvers]] = []
        self.forbid: Problem | None = None

    async def check(
        self,
        name: str,
        wildcard: bool,
        identities: Collection[str],
        account_url: str,
        method: ChallengeType | None,
        resolvers: Resolvers,
    ) -> None:
        self.asked.append((name, wildcard, method))
        self.with_.append((identities, account_url, resolvers))
        if self.forbid is not None:
            raise self.forbid


def account(id: str) -> Account:
    """An account."""
    return Account(
        id=id,
        profile_id="prof-a",
        thumbprint="t",
        jwk="{}",
        contact=(),
        status=Status.VALID,
        terms_agreed=True,
        created_at=NOW,
    )


class PermissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.records = Records()
        self.permission = Permission(self.records, IDENTITIES, lambda each: f"https://ca.example/{each.id}")

    def ask(
        self,
        identifier: Identifier = NAME,
        method: ChallengeType | None = HTTP01,
        *,
        rules: ChallengeRules = OBEYING,
        by: str = "acme-acc-1",
        later: timedelta = timedelta(),
    ) -> None:
        asking = self.permission.ask(rules, account(by), identifier, method, NOW + later)
        self.successResultOf(Deferred.fromCoroutine(asking))

    def test_not_obeyed(self) -> None:
        """A profile that does not obey CAA asks nothing."""
        self.records.forbid = FORBIDDEN
        self.ask(rules=ChallengeRules(NETWORK))
        self.assertEqual(self.records.asked, [])

    def test_address(self) -> None:
        """CAA is about names: an address has none (RFC 8738 section 7)."""
        self.records.forbid = FORBIDDEN
        self.ask(ip_address("192.0.2.7"))
        self.assertEqual(self.records.asked, [])

    def test_question(self) -> None:
        """Asked are the name without its asterisk, this CA's names, the account's URL and the profile's resolvers."""
        self.ask(dns_name("*.example.org"), DNS01)
        self.assertEqual(self.records.asked, [("example.org", True, DNS01)])
        url = "https://ca.example/acme-acc-1"
        self.assertEqual(self.records.with_, [(IDENTITIES, url, NETWORK.resolvers)])

    def test_remembered_for_an_hour(self) -> None:
        """A permission holds for less than an hour, and the hour does not begin anew while it is used."""
        for minutes in (0, 30, 59):
            self.ask(later=timedelta(minutes=minutes))
        self.assertEqual(len(self.records.asked), 1)
        self.ask(later=FRESH)
        self.assertEqual(len(self.records.asked), 2)

    def test_each_by_itself(self) -> None:
        """What was permitted to one account, name or method says nothing of another."""
        self.ask()
        self.ask(by="acme-acc-2")
        self.ask(dns_name("*.www.example.org"))
        self.ask(dns_name("www.example.net"))
        self.ask(method=DNS01)
        self.ask(method=None)
        self.assertEqual(len(self.records.asked), 6)

    def test_refusal_is_not_remembered(self) -> None:
        """Who mends the records need not wait."""
        self.records.forbid = FORBIDDEN
        refused = Deferred.fromCoroutine(
            self.permission.ask(OBEYING, account("acme-acc-1"), NAME, HTTP01, NOW)
        )
        self.assertIs(self.failureResultOf(refused, Problem).value, FORBIDDEN)
        self.records.forbid = None
        self.ask()

    def test_memory_is_bounded(self) -> None:
        """The oldest permissions are forgotten where there are too many."""
        self.patch(caa, "MAX_KEPT", 3)
        names = [dns_name(f"{number}.example.org") for number in range(4)]
        for each in names:
            self.ask(each)
        self.ask(names[3])
        self.assertEqual(len(self.records.asked), 4)
        self.ask(names[0])
        self.assertEqual(len(self.records.asked), 5)


class ObeyingCase(BenchCase):
    """A server with a profile that obeys CAA."""

    mode = AuthMode.CHALLENGE

    def setUp(self) -> None:
        self.records = Records()
        self.patch(assembly, "caa", lambda reactor: self.records)
        self.bench = self.obeying(server_external_url=ORIGIN)
        self.client = self.bench.account("prof-caa")

    def obeying(self, **settings: str) -> Bench:
        """A server with one."""
        bench = self.served(acme_server_caa_identities=",".join(IDENTITIES), **settings)
        policy = {"challenge": {"caa": True, "resolvers": ["198.51.100.1"]}}
        bench.add_profile("prof-caa", acme_auth_mode=self.mode, policy=policy)
        return bench

    def finalize(self, order: Response, *names: str, client: Client | None = None) -> Response:
        """Ask for the certificate."""
        _, csr = make_csr(names)
        return (client or self.client).finalize(order, csr)


class ValidationTests(ObeyingCase):
    def respond(self) -> tuple[Response, Any]:
        """Answer a challenge and have control found; return the order and the challenge."""
        order = self.client.order("www.example.org")
        challenge = self.client.challenges(order.json["authorizations"][0])["http-01"]
        self.client.respond(challenge)
        self.assertEqual(self.records.asked, [], "only who has shown control is worth a question")
        self.bench.validators.http01.succeed()
        return order, self.client.see(challenge["url"])

    def test_asked_once_control_was_shown(self) -> None:
        """With the method, the account's URL below the external URL, and the profile's own resolvers."""
        order, challenge = self.respond()
        self.assertEqual(challenge["status"], "valid")
        self.assertEqual(self.records.asked, [("www.example.org", False, HTTP01)])
        ((identities, url, resolvers),) = self.records.with_
        self.assertEqual((tuple(identities), url), (IDENTITIES, self.client.kid))
        self.assertEqual(resolvers, Resolvers.of(["198.51.100.1"]))
        self.assertEqual(self.client.see(order.location)["status"], "ready")

    def test_forbidden(self) -> None:
        """Control is not enough: challenge and order are invalid, and say why."""
        self.records.forbid = FORBIDDEN
        order, challenge = self.respond()
        self.assertEqual(challenge["status"], "invalid")
        self.assertEqual(challenge["error"]["type"], "urn:ietf:params:acme:error:caa")
        self.assertEqual(challenge["error"]["detail"], FORBIDDEN.detail)
        self.assertEqual(self.client.see(order.location)["status"], "invalid")

    def test_no_telling_for_the_moment(self) -> None:
        """A lookup that fails for now is made again like the validation itself, and does not refuse."""
        self.records.forbid = Transient(ProblemType.DNS, "SERVFAIL")
        order, challenge = self.respond()
        self.assertEqual((challenge["status"], challenge["error"]["detail"]), ("processing", "SERVFAIL"))
        self.records.forbid = None
        self.bench.pass_by(seconds=PAUSES[0])
        self.bench.validators.http01.succeed()
        self.assertEqual(self.client.see(order.location)["status"], "ready")

    def test_no_external_url(self) -> None:
        """With no URL to be known by, no accounturi fits: a record that has one forbids, and others do not."""
        self.bench = self.obeying()
        self.client = self.bench.account("prof-caa")
        self.respond()
        ((_, url, _),) = self.records.with_
        self.assertTrue(url.startswith("/acme/profile/"), url)

    def test_other_profiles(self) -> None:
        """A profile that does not obey CAA is not touched by it."""
        self.bench.execute("UPDATE certificate_profiles SET acme_auth_mode = 'challenge', policy = '{}'")
        self.records.forbid = FORBIDDEN
        _, challenge = self.respond()
        self.assertEqual(challenge["status"], "valid")
        self.assertEqual(self.records.asked, [])


class FinalizeTests(ObeyingCase):
    def test_within_the_hour(self) -> None:
        """Who was asked at the validation is not asked again."""
        order = self.client.prove("www.example.org")
        self.bench.pass_by(minutes=59)
        self.assertEqual(self.finalize(order, "www.example.org").json["status"], "valid")
        self.assertEqual(len(self.records.asked), 1)

    def test_after_an_hour(self) -> None:
        """Asked again, name by name, each with the method that proved it."""
        names = ("www.example.org", "*.example.org")
        order = self.client.prove(*names)
        self.assertEqual(len(self.records.asked), 2)
        self.bench.pass_by(hours=1)
        self.assertEqual(self.finalize(order, *names).json["status"], "valid")
        again = [("www.example.org", False, DNS01), ("example.org", True, DNS01)]
        self.assertEqual(self.records.asked[2:], again)

    def test_forbidden(self) -> None:
        """The certificate is refused and the order stays ready, for who mends the records."""
        order = self.client.prove("www.example.org")
        self.bench.pass_by(hours=2)
        self.records.forbid = FORBIDDEN
        self.assertProblem(self.finalize(order, "www.example.org"), "caa", 403)
        self.assertEqual(self.client.see(order.location)["status"], "ready")
        self.assertEqual(self.bench.rows("SELECT 1 FROM certificate_versions"), [])
        self.records.forbid = None
        self.assertEqual(self.finalize(order, "www.example.org").json["status"], "valid")

    def test_authorization_of_an_earlier_order(self) -> None:
        """A reused authorization brings the method that proved it, not the permission of its day."""
        self.client.prove("www.example.org")
        self.bench.pass_by(hours=3)
        order = self.client.order("www.example.org")
        self.assertEqual(order.json["status"], "ready")
        self.assertEqual(self.finalize(order, "www.example.org").json["status"], "valid")
        self.assertEqual(self.records.asked[1:], [("www.example.org", False, DNS01)])

    def test_after_a_restart(self) -> None:
        """What was permitted is kept in memory alone: a new process asks again."""
        order = self.client.prove("www.example.org")
        self.bench.parts.challenges._permission._given.clear()
        self.finalize(order, "www.example.org")
        self.assertEqual(len(self.records.asked), 2)

    def test_bad_csr(self) -> None:
        """A request that is refused anyway costs no lookup."""
        order = self.client.prove("www.example.org")
        self.bench.pass_by(hours=2)
        self.assertProblem(self.finalize(order, "other.example.org"), "badCSR", 400)
        self.assertEqual(len(self.records.asked), 1)

    def test_repeated(self) -> None:
        """A finalize that comes again finds the certificate that is there, whatever CAA says by now."""
        order = self.client.prove("www.example.org")
        _, csr = make_csr(["www.example.org"])
        self.client.finalize(order, csr)
        self.bench.pass_by(hours=2)
        self.records.forbid = FORBIDDEN
        self.assertEqual(self.client.finalize(order, csr).json["status"], "valid")


class TrustTests(ObeyingCase):
    mode = AuthMode.TRUST_AUTHENTICATED

    def test_no_method(self) -> None:
        """CAA is asked before issuing; by no method, so that a record with validationmethods forbids."""
        self.client.issue("www.example.org")
        self.assertEqual(self.records.asked, [("www.example.org", False, None)])

    def test_forbidden(self) -> None:
        """Trust in an account is not the domain owner's leave."""
        order = self.client.order("www.example.org")
        self.records.forbid = FORBIDDEN
        self.assertProblem(self.finalize(order, "www.example.org"), "caa", 403)
