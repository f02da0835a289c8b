"""Authorizations (RFC 8555 sections 7.1.4, 7.4.1 and 7.5)."""

from __future__ import annotations

from typing import Any

from tests.acme_client import make_csr
from tests.unit.web.bench import BenchCase


class TrustTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()

    def test_valid_by_trust(self) -> None:
        """In trust mode an authorization is valid from its birth, with one challenge that stands for it."""
        url = self.client.order("www.example.org").json["authorizations"][0]
        shown = self.client.see(url)
        (challenge,) = shown.pop("challenges")
        self.assertEqual(
            shown,
            {
                "identifier": {"type": "dns", "value": "www.example.org"},
                "status": "valid",
                "expires": "2026-05-18T12:00:00Z",
            },
        )
        self.assertEqual(challenge["status"], "valid")
        self.assertEqual(challenge["validated"], "2026-05-17T12:00:00Z")
        self.assertEqual(set(challenge), {"type", "url", "status", "token", "validated"})

    def test_wildcard(self) -> None:
        """Section 7.1.4: a wildcard's authorization has the base as identifier, and says wildcard."""
        order = self.client.order("*.example.org", "example.org")
        shown = [self.client.see(url) for url in order.json["authorizations"]]
        self.assertEqual([each["identifier"]["value"] for each in shown], ["example.org"] * 2)
        self.assertEqual([each.get("wildcard") for each in shown], [True, None])

    def test_answer_to_a_valid_challenge(self) -> None:
        """Who answers a challenge that is valid already gets it, with the way up, and contacts nobody."""
        url = self.client.order("www.example.org").json["authorizations"][0]
        challenge = self.client.see(url)["challenges"][0]
        response = self.client.respond(challenge)
        self.assertEqual((response.status, response.json), (200, challenge))
        self.assertEqual(response.links("up"), [url])
        self.assertEqual(len(self.bench.parts.background), 0)

    def test_authorization_lifetime_is_a_setting(self) -> None:
        """``CERTCTL_ACME_SERVER_AUTHZ_TTL`` is how long an authorization lives."""
        client = self.served(acme_server_authz_ttl="10m").account()
        url = client.order("www.example.org").json["authorizations"][0]
        self.assertEqual(client.see(url)["expires"], "2026-05-17T12:10:00Z")


class ChallengeTests(BenchCase):
    def setUp(self) -> None:
        self.bench = self.served(acme_server_default_auth_mode="challenge")
        self.client = self.bench.account()

    def test_challenges_of_identifiers(self) -> None:
        """A name has three challenges, a wildcard dns-01 alone, an address all but dns-01 (RFC 8738 section 7)."""
        order = self.client.order("www.example.org", "*.example.org", "10.1.2.3")
        self.assertEqual(order.json["status"], "pending")
        found = [sorted(self.client.challenges(url)) for url in order.json["authorizations"]]
        self.assertEqual(
            found,
            [["dns-01", "http-01", "tls-alpn-01"], ["dns-01"], ["http-01", "tls-alpn-01"]],
        )

    def test_pending(self) -> None:
        """Section 8: a pending challenge has type, url, status and token, and nothing else."""
        url = self.client.order("www.example.org").json["authorizations"][0]
        self.assertEqual(self.client.see(url)["status"], "pending")
        for challenge in self.client.see(url)["challenges"]:
            self.assertEqual(set(challenge), {"type", "url", "status", "token"})
            self.assertEqual(challenge["status"], "pending")
            self.assertEqual(self.client.see(challenge["url"]), challenge)

    def test_tokens(self) -> None:
        """Section 8.1: a token has 128 random bits at least, in base64url, and is never the same."""
        tokens = set()
        for _ in range(20):
            for url in self.client.order("www.example.org").json["authorizations"]:
                tokens |= {each["token"] for each in self.client.see(url)["challenges"]}
        self.assertEqual(len(tokens), 60)
        for token in tokens:
            self.assertRegex(token, r"\A[A-Za-z0-9_-]{22,}\Z")

    def test_another_account(self) -> None:
        """Authorizations and challenges are their account's alone: to others they are not there."""
        url = self.client.order("www.example.org").json["authorizations"][0]
        challenge = self.client.see(url)["challenges"][0]["url"]
        stranger = self.bench.account()
        payloads: tuple[Any, ...] = (None, {}, {"status": "deactivated"})
        for payload in payloads:
            self.assertProblem(stranger.post(url, payload), "malformed", 404)
            self.assertProblem(stranger.post(challenge, payload), "malformed", 404)
        self.assertEqual(self.client.see(url)["status"], "pending")
        self.assertEqual(len(self.bench.parts.background), 0)


class PreauthorizationTests(BenchCase):
    def test_made(self) -> None:
        """Section 7.4.1: 201 with the authorization, its URL in Location, pending as the profile has it."""
        client = self.served(acme_server_default_auth_mode="challenge").account()
        made = client.post("new-authz", {"identifier": {"type": "dns", "value": "WWW.example.org"}, "x": 1})
        self.assertEqual((made.status, made.json["status"]), (201, "pending"))
        self.assertEqual(made.json["identifier"], {"type": "dns", "value": "www.example.org"})
        first, again = made.json, client.see(made.location)
        for shown in (first, again):
            shown["challenges"].sort(key=lambda each: str(each["type"]))
        self.assertEqual(again, first)
        self.assertEqual(len(made.json["challenges"]), 3)

    def test_trust(self) -> None:
        """In trust mode it is valid at once."""
        client = self.bench.account()
        made = client.post("new-authz", {"identifier": {"type": "ip", "value": "2001:db8::1"}})
        self.assertEqual((made.status, made.json["status"]), (201, "valid"))

    def test_refused(self) -> None:
        """Section 7.4.1: "Pre-authorization cannot be used to authorize [..] wildcard domain names"."""
        client = self.bench.account()
        wildcard = client.post("new-authz", {"identifier": {"type": "dns", "value": "*.example.org"}})
        self.assertProblem(wildcard, "malformed", 400)
        bad = client.post("new-authz", {"identifier": {"type": "dns", "value": "a_b"}})
        self.assertProblem(bad, "rejectedIdentifier", 400)
        self.assertProblem(
            client.post("new-authz", {"identifier": {"type": "tn", "value": "1"}}),
            "unsupportedIdentifier",
            400,
        )
        others: tuple[Any, ...] = ({}, {"identifier": None}, {"identifier": []}, {"identifier": "a.example"})
        for payload in others:
            self.assertEqual(client.post("new-authz", payload).status, 400)
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_authorizations"), 0)


class DeactivationTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()
        self.order = self.client.order("www.example.org", "example.org")
        self.url = self.order.json["authorizations"][0]

    def test_deactivated(self) -> None:
        """Section 7.5.2: 200 with the authorization deactivated; its open orders cannot be finalized any more."""
        response = self.client.post(self.url, {"status": "deactivated"})
        self.assertEqual((response.status, response.json["status"]), (200, "deactivated"))
        self.assertEqual(self.client.see(self.url), response.json)
        order = self.client.see(self.order.location)
        self.assertEqual((order["status"], order["error"]["status"]), ("invalid", 403))
        _, csr = make_csr(["www.example.org", "example.org"])
        self.assertProblem(self.client.finalize(self.order, csr), "orderNotReady", 403)
        other = self.client.see(self.order.json["authorizations"][1])
        self.assertEqual(other["status"], "valid")

    def test_order_that_is_valid(self) -> None:
        """An order that has its certificate keeps it."""
        issued = self.client.issue("www.example.org")
        self.client.post(issued.order.json["authorizations"][0], {"status": "deactivated"})
        self.assertEqual(self.client.see(issued.order.location)["status"], "valid")

    def test_twice(self) -> None:
        """What was let go of stays so."""
        self.client.post(self.url, {"status": "deactivated"})
        self.assertProblem(self.client.post(self.url, {"status": "deactivated"}), "malformed", 400)

    def test_other_changes(self) -> None:
        """An authorization is changed in no other way."""
        payloads: tuple[Any, ...] = (
            {},
            {"status": "valid"},
            {"status": "pending"},
            {"status": None},
            {"x": 1},
        )
        for payload in payloads:
            self.assertProblem(self.client.post(self.url, payload), "malformed", 400)
        self.assertEqual(self.client.see(self.url)["status"], "valid")

    def test_pending(self) -> None:
        """A pending authorization can be let go of too; its challenges are answered no more."""
        self.bench.execute("UPDATE certificate_profiles SET acme_auth_mode = 'challenge'")
        url = self.client.order("a.example").json["authorizations"][0]
        challenge = self.client.challenges(url)["http-01"]
        self.client.post(url, {"status": "deactivated"})
        self.assertEqual(self.client.respond(challenge).json["status"], "pending")
        self.assertEqual(self.bench.validators.http01.attempts, [])


class ExpiryTests(BenchCase):
    def test_before_and_after_the_sweeper(self) -> None:
        """Section 7.1.6: past its time a valid authorization is expired and a pending one invalid."""
        client = self.bench.account()
        valid = client.order("a.example").json["authorizations"][0]
        self.bench.execute("UPDATE certificate_profiles SET acme_auth_mode = 'challenge'")
        pending = client.order("a.example").json["authorizations"][0]
        challenge = client.challenges(pending)["http-01"]
        self.bench.pass_by(hours=24)
        self.assertEqual([client.see(url)["status"] for url in (valid, pending)], ["valid", "pending"])
        self.bench.pass_by(seconds=1)
        for _ in range(2):
            self.assertEqual([client.see(url)["status"] for url in (valid, pending)], ["expired", "invalid"])
            self.assertProblem(client.post(valid, {"status": "deactivated"}), "malformed", 400)
            client.respond(challenge)
            self.assertEqual(self.bench.validators.http01.attempts, [])
            self.bench.sweep()
        stored = self.bench.rows("SELECT status FROM acme_authorizations ORDER BY status")
        self.assertEqual(stored, [("expired",), ("invalid",)])
