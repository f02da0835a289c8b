"""Answering challenges, from the response to the order that becomes ready (RFC 8555 sections 7.5.1 and 8.2)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from twisted.internet.defer import Deferred

from certctl.acme.problems import Problem, ProblemType
from certctl.authority.challenges import PAUSES, SILENCE
from certctl.validation.attempt import Transient
from tests.acme_client import make_csr
from tests.unit.web.bench import JOSE, Bench, BenchCase, Client
from tests.unit.web.wire import Exchange

WRONG = Problem(ProblemType.INCORRECT_RESPONSE, "the body is another")
REFUSED = Transient(ProblemType.CONNECTION, "connection refused")


class ProvingCase(BenchCase):
    """An order of one name in challenge mode."""

    def setUp(self) -> None:
        self.bench = self.served(acme_server_default_auth_mode="challenge")
        self.http01, self.dns01 = self.bench.validators.http01, self.bench.validators.dns01
        self.client: Client = self.bench.account()
        self.order = self.client.order("www.example.org")
        self.authorization = self.order.json["authorizations"][0]
        self.challenge = self.client.challenges(self.authorization)["http-01"]

    def states(self) -> tuple[str, str, str]:
        """Return the states of order, authorization and challenge."""
        urls = (self.order.location, self.authorization, self.challenge["url"])
        order, authorization, challenge = (self.client.see(url)["status"] for url in urls)
        return order, authorization, challenge


class ResponseTests(ProvingCase):
    def test_answered_before_the_validation_ends(self) -> None:
        """The answer shows the challenge processing, with Retry-After and the way up; the validation goes on."""
        response = self.client.respond(self.challenge)
        self.assertEqual(response.status, 200)
        self.assertEqual(response.json, {**self.challenge, "status": "processing"})
        self.assertTrue(response.one("Retry-After").isdigit())
        self.assertEqual(response.links("up"), [self.authorization])
        self.assertEqual(len(self.http01.waiting), 1)
        self.assertEqual(self.states(), ("pending", "pending", "processing"))
        self.assertTrue(self.client.read(self.authorization).has("Retry-After"))
        self.assertTrue(self.client.read(self.challenge["url"]).has("Retry-After"))

    def test_what_is_validated(self) -> None:
        """Section 8.1: the validator looks for the token with the thumbprint of the account's key."""
        self.client.respond(self.challenge)
        (attempt,) = self.http01.attempts
        token = self.challenge["token"]
        self.assertEqual(attempt.identifier.value, "www.example.org")
        self.assertEqual((attempt.token, attempt.wildcard), (token, False))
        self.assertEqual(attempt.key_authorization, f"{token}.{self.client.signer.thumbprint}")

    def test_valid(self) -> None:
        """Section 7.1.6: success makes challenge and authorization valid and the order ready, and it is issued."""
        self.client.respond(self.challenge)
        self.bench.pass_by(seconds=5)
        self.http01.succeed()
        self.assertEqual(self.states(), ("ready", "valid", "valid"))
        challenge = self.client.see(self.challenge["url"])
        self.assertEqual(challenge["validated"], "2026-05-17T12:00:05Z")
        self.assertEqual(len(self.bench.parts.background), 0)
        _, csr = make_csr(["www.example.org"])
        self.assertEqual(self.client.finalize(self.order, csr).json["status"], "valid")

    def test_valid_authorization_shows_the_challenge_that_was_validated(self) -> None:
        """Section 7.1.4: "For valid authorizations, the challenge that was validated"."""
        self.client.respond(self.challenge)
        self.http01.succeed()
        self.assertEqual(list(self.client.challenges(self.authorization)), ["http-01"])

    def test_authorization_lives_anew_once_it_is_valid(self) -> None:
        """The lifetime of a valid authorization begins when it was proved."""
        self.bench.pass_by(hours=23)
        self.client.respond(self.challenge)
        self.http01.succeed()
        self.assertEqual(self.client.see(self.authorization)["expires"], "2026-05-19T11:00:00Z")

    def test_invalid(self) -> None:
        """Section 7.1.6: failure makes challenge, authorization and order invalid, each saying why."""
        self.client.respond(self.challenge)
        self.http01.fail(WRONG)
        self.assertEqual(self.states(), ("invalid", "invalid", "invalid"))
        error = {
            "type": "urn:ietf:params:acme:error:incorrectResponse",
            "detail": "the body is another",
            "status": 403,
        }
        self.assertEqual(self.client.see(self.challenge["url"])["error"], error)
        self.assertEqual(self.client.see(self.order.location)["error"], error)
        self.assertFalse(self.client.read(self.authorization).has("Retry-After"))
        self.assertEqual(len(self.http01.attempts), 1)

    def test_invalid_authorization_shows_the_challenge_that_failed(self) -> None:
        """Section 7.1.4: "For invalid authorizations, the challenge that was attempted and failed"."""
        self.client.respond(self.challenge)
        self.http01.fail(WRONG)
        self.assertEqual(list(self.client.challenges(self.authorization)), ["http-01"])

    def test_all_authorizations_must_be_valid(self) -> None:
        """An order is ready when the last of its authorizations is valid, and not before."""
        order = self.client.order("a.example", "*.b.example", "10.1.2.3")
        told = (self.http01, self.dns01, self.http01)
        for url, validator in zip(order.json["authorizations"], told, strict=True):
            self.assertEqual(self.client.see(order.location)["status"], "pending")
            challenges = self.client.challenges(url)
            self.client.respond(challenges.get("http-01") or challenges["dns-01"])
            validator.succeed()
        self.assertEqual(self.client.see(order.location)["status"], "ready")

    def test_same_response_twice(self) -> None:
        """A response that comes again changes nothing and begins nothing."""
        for _ in range(3):
            self.assertEqual(self.client.respond(self.challenge).json["status"], "processing")
        self.assertEqual(len(self.http01.attempts), 1)
        self.http01.succeed()
        again = self.client.respond(self.challenge)
        self.assertEqual((again.status, again.json["status"]), (200, "valid"))
        self.assertEqual(len(self.http01.attempts), 1)

    def test_response_after_failure(self) -> None:
        """Section 7.1.6: an invalid challenge stays invalid; the next try needs a new order."""
        self.client.respond(self.challenge)
        self.http01.fail(WRONG)
        self.assertEqual(self.client.respond(self.challenge).json["status"], "invalid")
        self.assertEqual(len(self.http01.attempts), 1)

    def test_members_of_a_response_mean_nothing(self) -> None:
        """Section 7.5.1: unknown members are ignored, a key authorization of old drafts among them."""
        payload = {"keyAuthorization": "x.y", "status": "valid", "type": "dns-01"}
        self.assertEqual(self.client.post(self.challenge["url"], payload).json["status"], "processing")
        self.assertEqual(self.dns01.attempts, [])


class FailureTests(ProvingCase):
    def test_tried_again_after_pauses(self) -> None:
        """Section 8.2: what may pass is tried again a little later, and the challenge is processing meanwhile."""
        self.client.respond(self.challenge)
        for tries, pause in enumerate(PAUSES, start=1):
            self.http01.fail(REFUSED)
            self.bench.pass_by(seconds=pause - 0.1)
            self.assertEqual(len(self.http01.attempts), tries)
            self.assertEqual(self.states(), ("pending", "pending", "processing"))
            self.bench.pass_by(seconds=0.1)
            self.assertEqual(len(self.http01.attempts), tries + 1)
        self.http01.succeed()
        self.assertEqual(self.states(), ("ready", "valid", "valid"))

    def test_tries_end(self) -> None:
        """After the last try the challenge is invalid, with the last failure."""
        self.client.respond(self.challenge)
        for pause in PAUSES:
            self.http01.fail(REFUSED)
            self.bench.pass_by(seconds=pause)
        self.http01.fail(REFUSED)
        self.assertEqual(self.states(), ("invalid", "invalid", "invalid"))
        error = self.client.see(self.challenge["url"])["error"]
        self.assertEqual(error["type"], "urn:ietf:params:acme:error:connection")
        self.assertEqual(len(self.http01.attempts), len(PAUSES) + 1)

    def test_validator_that_breaks(self) -> None:
        """What nobody foresaw settles the challenge as invalid; the log has the cause and the client has not."""
        self.client.respond(self.challenge)
        self.http01.fail(ZeroDivisionError("of /etc/shadow"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.states(), ("invalid", "invalid", "invalid"))
        error = self.client.see(self.challenge["url"])["error"]
        self.assertEqual(error["type"], "urn:ietf:params:acme:error:serverInternal")
        self.assertNotIn("shadow", str(self.bench.rows("SELECT details FROM audit_events")) + str(error))

    def test_profile_whose_rules_cannot_be_read(self) -> None:
        """A mistake in a profile's policy does not leave challenges processing for ever."""
        policy = '{"challenge":{"resolvers":["nobody knows"]}}'
        order = self.client.order("a.example")
        self.bench.execute("UPDATE certificate_profiles SET policy = ?", policy)
        challenge = self.client.challenges(order.json["authorizations"][0])["http-01"]
        self.client.respond(challenge)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.client.see(challenge["url"])["status"], "invalid")

    def test_turn_is_given_back(self) -> None:
        """A validator that broke takes no turn from others."""
        for number in range(25):
            order = self.client.order(f"{number}.example")
            challenge = self.client.challenges(order.json["authorizations"][0])["http-01"]
            self.client.respond(challenge)
            self.http01.fail(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 25)


class MeanwhileTests(ProvingCase):
    def test_authorization_given_up(self) -> None:
        """What was deactivated during the validation stays deactivated, and its challenge ends as invalid."""
        self.client.respond(self.challenge)
        self.client.post(self.authorization, {"status": "deactivated"})
        self.http01.succeed()
        self.assertEqual(self.states(), ("invalid", "deactivated", "invalid"))

    def test_authorization_expired(self) -> None:
        """What expired during the validation is not revived by its success."""
        self.bench.pass_by(hours=24)
        self.client.respond(self.challenge)
        self.bench.pass_by(seconds=1)
        self.http01.succeed()
        self.assertEqual(self.states(), ("invalid", "invalid", "invalid"))

    def test_account_deactivated(self) -> None:
        """The validation of an account that is no more proves nothing."""
        self.client.respond(self.challenge)
        assert self.client.kid is not None
        self.client.post(self.client.kid, {"status": "deactivated"})
        self.http01.succeed()
        self.assertEqual(self.bench.value("SELECT status FROM acme_authorizations"), "deactivated")
        self.assertEqual(
            self.bench.value("SELECT count(*) FROM acme_challenges WHERE status = 'processing'"), 0
        )

    def test_two_challenges_of_one_authorization(self) -> None:
        """Section 7.1.6: the first that ends decides about the authorization; the other cannot turn it round."""
        other = self.client.challenges(self.authorization)["dns-01"]
        self.client.respond(self.challenge)
        self.client.respond(other)
        self.http01.succeed()
        self.dns01.fail(Problem(ProblemType.DNS, "NXDOMAIN"))
        self.assertEqual(self.states(), ("ready", "valid", "valid"))
        self.assertEqual(self.client.see(other["url"])["status"], "invalid")

    def test_two_challenges_of_which_the_first_fails(self) -> None:
        """A failure decides as well: the other challenge's success comes too late."""
        other = self.client.challenges(self.authorization)["dns-01"]
        self.client.respond(self.challenge)
        self.client.respond(other)
        self.http01.fail(WRONG)
        self.dns01.succeed()
        self.assertEqual(self.states(), ("invalid", "invalid", "invalid"))
        self.assertEqual(self.client.see(other["url"])["status"], "invalid")

    def test_response_to_the_other_challenge_of_a_settled_authorization(self) -> None:
        """Once the authorization is settled, its other challenges are validated no more."""
        other = self.client.challenges(self.authorization)["dns-01"]
        self.client.respond(self.challenge)
        self.http01.succeed()
        self.assertEqual(self.client.respond(other).json["status"], "pending")
        self.assertEqual(self.dns01.attempts, [])

    def test_two_authorizations_of_one_order_fail(self) -> None:
        """The second failure finds the order invalid, and still says what it found."""
        order = self.client.order("a.example", "b.example")
        for url in order.json["authorizations"]:
            self.client.respond(self.client.challenges(url)["http-01"])
        self.http01.fail(WRONG)
        self.http01.fail(WRONG)
        for url in order.json["authorizations"]:
            self.assertEqual(self.client.see(url)["status"], "invalid")
            (challenge,) = self.client.see(url)["challenges"]
            self.assertEqual(challenge["error"]["detail"], "the body is another")

    def test_client_gone(self) -> None:
        """The validation goes on when the client that asked for it has gone."""
        url = self.challenge["url"]
        headers = {"Content-Type": "application/jose+json"}
        self.bench.begin("POST", url, self.client.signed(url, {}), headers).disconnect()
        self.http01.succeed()
        self.assertEqual(self.states(), ("ready", "valid", "valid"))


class LimitTests(BenchCase):
    def test_so_many_at_once(self) -> None:
        """``CERTCTL_ACME_SERVER_HTTP01_CONCURRENCY`` validations run, the others wait; other types are not kept."""
        bench = self.served(acme_server_default_auth_mode="challenge", acme_server_http01_concurrency="2")
        client, http01 = bench.account(), bench.validators.http01
        for _ in range(5):
            url = client.order("www.example.org").json["authorizations"][0]
            client.respond(client.challenges(url)["http-01"])
            client.respond(client.challenges(url)["dns-01"])
        self.assertEqual(len(http01.waiting), 2)
        self.assertEqual(len(bench.validators.dns01.waiting), 5)
        seen = 2
        while http01.waiting:
            http01.succeed()
            seen = max(seen, len(http01.waiting))
        self.assertEqual((len(http01.attempts), seen), (5, 2))
        states = bench.rows("SELECT DISTINCT status FROM acme_authorizations")
        self.assertEqual(states, [("valid",)])

    def test_pauses_take_no_turn(self) -> None:
        """A validation that waits to be tried again lets others go first."""
        bench = self.served(acme_server_default_auth_mode="challenge", acme_server_http01_concurrency="1")
        client, http01 = bench.account(), bench.validators.http01
        for _ in range(2):
            url = client.order("www.example.org").json["authorizations"][0]
            client.respond(client.challenges(url)["http-01"])
        self.assertEqual(len(http01.attempts), 1)
        http01.fail(REFUSED)
        self.assertEqual(len(http01.attempts), 2)
        http01.succeed()
        bench.pass_by(seconds=PAUSES[0])
        http01.succeed()
        self.assertEqual(bench.rows("SELECT DISTINCT status FROM acme_orders"), [("ready",)])


class HoldTests(BenchCase):
    """Who asks for an authorization while it is validated is told the end at once, or after a while what is so."""

    def setUp(self) -> None:
        self.bench = self.served(acme_server_default_auth_mode="challenge", acme_server_poll_hold="2s")
        self.client: Client = self.bench.account()
        self.authorization = self.client.order("www.example.org").json["authorizations"][0]
        self.challenge = self.client.challenges(self.authorization)["http-01"]
        self.client.respond(self.challenge)

    def ask(self, url: str) -> Exchange:
        """Send a POST-as-GET, and do not wait for its answer."""
        return self.bench.begin("POST", url, self.client.signed(url, None), JOSE)

    def test_told_at_the_end(self) -> None:
        """The answers to who asked, by authorization or challenge, come when the validation has ended."""
        asked = [self.ask(url) for url in (self.authorization, self.authorization, self.challenge["url"])]
        self.assertEqual([each.answered for each in asked], [False] * 3)
        self.bench.validators.http01.succeed()
        self.assertEqual([each.response.json["status"] for each in asked], ["valid"] * 3)
        self.bench.pass_by(seconds=3)  # nothing is told twice
        self.assertEqual([each.response.json["status"] for each in asked], ["valid"] * 3)

    def test_told_after_a_while(self) -> None:
        """A validation that takes long is shown as it is: processing, with Retry-After."""
        asked = self.ask(self.challenge["url"])
        self.bench.pass_by(seconds=2)
        self.assertEqual(asked.response.json["status"], "processing")
        self.assertTrue(asked.response.one("Retry-After").isdigit())
        self.bench.validators.http01.succeed()
        self.assertEqual(self.client.see(self.authorization)["status"], "valid")

    def test_nothing_to_wait_for(self) -> None:
        """What is pending, and what is settled, is told at once."""
        other = self.client.order("other.example.org").json["authorizations"][0]
        self.assertEqual(self.client.see(other)["status"], "pending")
        self.bench.validators.http01.fail(WRONG)
        self.assertEqual(self.client.see(self.authorization)["status"], "invalid")


class ResumeTests(BenchCase):
    def test_after_a_stop(self) -> None:
        """What was being validated when the server stopped is validated again after the next start."""
        bench = self.served(acme_server_default_auth_mode="challenge")
        client = bench.account()
        orders = [client.order("a.example"), client.order("b.example"), client.order("c.example")]
        for order in orders[:2]:
            client.respond(client.challenges(order.json["authorizations"][0])["http-01"])
        started = Bench(self, {"acme_server_default_auth_mode": "challenge"}, database=bench.database)
        self.assertEqual(started.result(started.parts.challenges.resume(timedelta(0))), 2)
        http01 = started.validators.http01
        self.assertEqual([each.identifier.value for each in http01.attempts], ["a.example", "b.example"])
        self.assertEqual(
            [each.key_authorization for each in http01.attempts],
            [each.key_authorization for each in bench.validators.http01.attempts],
        )
        http01.succeed()
        http01.fail(WRONG)
        client.bench = started
        states = [client.see(order.location)["status"] for order in orders]
        self.assertEqual(states, ["ready", "invalid", "pending"])

    def test_left_behind(self) -> None:
        """What a fault left processing is validated again after a silence, and what is under way is left alone."""
        bench = self.served(acme_server_default_auth_mode="challenge")
        client = bench.account()
        orders = [client.order(name) for name in ("a.example", "b.example")]
        client.respond(client.challenges(orders[0].json["authorizations"][0])["http-01"])
        bench.execute(
            "UPDATE acme_challenges SET status = 'processing' WHERE type = 'http-01' AND status = 'pending'"
        )
        self.assertEqual(bench.result(bench.parts.challenges.resume(SILENCE)), 0)
        bench.pass_by(minutes=3)
        self.assertEqual(bench.result(bench.parts.challenges.resume(SILENCE)), 1)
        self.assertEqual(bench.validators.http01.attempts[-1].identifier.value, "b.example")
        bench.validators.http01.succeed()
        bench.validators.http01.succeed()
        self.assertEqual([client.see(each.location)["status"] for each in orders], ["ready", "ready"])

    def test_nothing_to_resume(self) -> None:
        """After a quiet stop there is nothing to do."""
        bench = self.served(acme_server_default_auth_mode="challenge")
        self.assertEqual(bench.result(bench.parts.challenges.resume(timedelta(0))), 0)

    def test_drained(self) -> None:
        """A server that stops waits for the validations that run."""
        bench = self.served(acme_server_default_auth_mode="challenge")
        client = bench.account()
        url = client.order("a.example").json["authorizations"][0]
        client.respond(client.challenges(url)["http-01"])
        drained: Deferred[Any] = bench.parts.background.drained(bench.clock, 20)
        self.assertNoResult(drained)
        bench.validators.http01.succeed()
        self.successResultOf(drained)
