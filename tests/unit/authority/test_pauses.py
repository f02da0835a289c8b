"""Names that an account fails to prove again and again are paused for it, until an operator or a success lifts that."""

from __future__ import annotations

from datetime import timedelta

from certctl.acme.objects import AuthMode
from certctl.acme.problems import Problem, ProblemType
from certctl.authority.authorizations import PAUSE_LASTS
from tests.unit.web.bench import BenchCase, Client

WRONG = Problem(ProblemType.INCORRECT_RESPONSE, "the body is another")
NAME, OTHER = "www.example.org", "other.example.org"
LIMIT = 3


class PauseTests(BenchCase):
    def setUp(self) -> None:
        """Start a server that bears few failures."""
        self.bench = self.served(
            acme_server_default_auth_mode="challenge", acme_server_pause_after_failures=str(LIMIT)
        )
        self.http01, self.dns01 = self.bench.validators.http01, self.bench.validators.dns01
        self.client = self.bench.account()

    def fails(self, name: str, times: int = 1, client: Client | None = None) -> None:
        """Have validations of a name fail."""
        client = client or self.client
        for _ in range(times):
            (url,) = client.order(name).json["authorizations"]
            challenges = client.challenges(url)
            told = self.http01 if "http-01" in challenges else self.dns01
            client.respond(challenges.get("http-01") or challenges["dns-01"])
            told.fail(WRONG)

    def test_refused(self) -> None:
        """After so many failures in a row an order is refused, with the name, what lifts it, and Retry-After."""
        self.fails(NAME, LIMIT)
        refused = self.client.try_order(NAME)
        self.assertProblem(refused, "rateLimited", 429)
        self.assertIn("failed 3 times in a row", refused.json["detail"])
        self.assertIn("ask the operator to lift the pause (acme_validation_failures)", refused.json["detail"])
        (told,) = refused.json["subproblems"]
        self.assertEqual(told["identifier"], {"type": "dns", "value": NAME})
        self.assertEqual(timedelta(seconds=int(refused.one("Retry-After"))), PAUSE_LASTS)
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_orders"), LIMIT)

    def test_not_yet(self) -> None:
        """One failure less, and the order is made."""
        self.fails(NAME, LIMIT - 1)
        self.client.order(NAME)

    def test_ahead_of_an_order(self) -> None:
        """An authorization is not to be had without an order either."""
        self.fails(NAME, LIMIT)
        refused = self.client.post("new-authz", {"identifier": {"type": "dns", "value": NAME}})
        self.assertProblem(refused, "rateLimited", 429)

    def test_one_name_of_several(self) -> None:
        """An order that has a paused name among others is refused, and names that one alone."""
        self.fails(NAME, LIMIT)
        refused = self.client.try_order(OTHER, NAME)
        self.assertEqual([each["identifier"]["value"] for each in refused.json["subproblems"]], [NAME])

    def test_others(self) -> None:
        """Another name, the name's wildcard, and another account with the same name are not affected."""
        self.fails(NAME, LIMIT)
        self.client.order(OTHER)
        self.client.order(f"*.{NAME}")
        self.bench.account().order(NAME)

    def test_wildcard(self) -> None:
        """A wildcard is paused by its own failures, and its base is not."""
        self.fails(f"*.{NAME}", LIMIT)
        self.assertProblem(self.client.try_order(f"*.{NAME}"), "rateLimited", 429)
        self.client.order(NAME)

    def test_lifted_by_an_operator(self) -> None:
        """The row in acme_validation_failures is what stands in the way."""
        self.fails(NAME, LIMIT)
        rows = self.bench.rows("SELECT account_id, identifier, failures FROM acme_validation_failures")
        self.assertEqual(rows, [(self.client.id, NAME, LIMIT)])
        self.bench.execute("DELETE FROM acme_validation_failures WHERE identifier = ?", NAME)
        self.fails(NAME, LIMIT)
        self.assertProblem(self.client.try_order(NAME), "rateLimited", 429)

    def test_success_begins_anew(self) -> None:
        """A success forgets the failures before it."""
        self.fails(NAME, LIMIT - 1)
        self.client.prove(NAME)
        self.assertEqual(self.bench.rows("SELECT * FROM acme_validation_failures"), [])
        for url in self.client.order(NAME).json["authorizations"]:  # or the next order would need no proof
            self.client.post(url, {"status": "deactivated"})
        self.fails(NAME, LIMIT - 1)
        self.client.order(NAME)

    def test_lifted_by_time(self) -> None:
        """A week after the last failure the name may be tried again, swept or not."""
        self.fails(NAME, LIMIT)
        self.bench.pass_by(days=7, seconds=-1)
        self.assertProblem(self.client.try_order(NAME), "rateLimited", 429)
        self.bench.pass_by(seconds=2)
        self.client.order(NAME)

    def test_trust(self) -> None:
        """A profile that trusts asks for no proof, so that nothing is paused; the next flip finds the count again."""
        self.fails(NAME, LIMIT)
        self.bench.execute("UPDATE certificate_profiles SET acme_auth_mode = 'trust_authenticated'")
        self.client.issue(NAME)
        self.bench.execute("UPDATE certificate_profiles SET acme_auth_mode = ?", AuthMode.CHALLENGE.value)
        self.assertProblem(self.client.try_order(NAME), "rateLimited", 429)

    def test_fault_of_the_server(self) -> None:
        """What went wrong here is not counted against the account."""
        for _ in range(LIMIT):
            (url,) = self.client.order(NAME).json["authorizations"]
            self.client.respond(self.client.challenges(url)["http-01"])
            self.http01.fail(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), LIMIT)
        self.client.order(NAME)

    def test_switched_off(self) -> None:
        """With 0, nothing is ever paused."""
        self.bench = self.served(
            acme_server_default_auth_mode="challenge", acme_server_pause_after_failures="0"
        )
        self.http01, self.client = self.bench.validators.http01, self.bench.account()
        self.fails(NAME, 25)
        self.client.order(NAME)
