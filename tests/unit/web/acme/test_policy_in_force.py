"""What a profile's policy, an account's and the server's settings do to requests, from one to the next."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from cryptography import x509

from certctl.acme.objects import AuthMode
from certctl.acme.renewal import CertID
from certctl.storage.database import Json
from tests.acme_client import make_csr
from tests.unit.web.acme.policy_cases import STAPLE, key
from tests.unit.web.bench import Bench, BenchCase, Client
from tests.unit.web.wire import Response

CORP = {"names": {"allow": ["*.corp.example"]}}
WEB = {"names": {"allow": ["*.web.corp.example"]}}


class PolicyCase(BenchCase):
    """A server with a profile ``prof-x``, and an account under it."""

    def setUp(self) -> None:
        super().setUp()
        self.bench.add_profile("prof-x", policy=CORP)
        self.client = self.bench.account("prof-x")

    def change(self, table: str, id: str, **columns: Any) -> None:
        """Change a row by hand, as another replica or an operator would."""
        for name, value in columns.items():
            value = Json(value) if isinstance(value, dict) else value
            self.bench.execute(f"UPDATE {table} SET {name} = ? WHERE id = ?", value, id)

    def profile(self, **columns: Any) -> None:
        """Change the profile."""
        self.change("certificate_profiles", "prof-x", **columns)

    def account(self, **columns: Any) -> None:
        """Change the account."""
        self.change("acme_accounts", self.client.id, **columns)

    def refused(self, response: Response, type: str, words: str) -> None:
        """Check that a refusal says why."""
        self.assertEqual(response.error, type, response.body)
        self.assertIn(words, response.json["detail"])

    def events(self, action: str) -> list[tuple[str, str, Any]]:
        """Return the events of an action: resource type and id, and details."""
        rows = self.bench.rows(
            "SELECT resource_type, resource_id, details FROM audit_events WHERE action = ? ORDER BY id",
            action,
        )
        return [(type, id, json.loads(told) if isinstance(told, str) else told) for type, id, told in rows]


class ProfileTests(PolicyCase):
    def test_changes_hold_for_the_next_request(self) -> None:
        """A change by SQL holds for the next order, CSR and certificate, and is remembered nowhere."""
        self.client.issue("a.corp.example")
        self.profile(policy={"names": {"allow": ["*.other.example"]}})
        words = "name policy of profile prof-x allows *.other.example"
        self.refused(self.client.try_order("a.corp.example"), "rejectedIdentifier", words)
        self.client.issue("a.other.example")
        self.profile(policy={}, max_ttl_seconds=3600)
        certificate = self.client.issue("a.example").chain[0]
        lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        self.assertEqual(lifetime.total_seconds(), 3599)

    def test_on_every_replica(self) -> None:
        """Two servers on one database see the same policy, whichever of them was asked before."""
        other = Bench(self, {}, database=self.bench.database)
        there = Client(other, "prof-x", self.client.signer)
        there.kid = self.client.kid
        there.order("a.corp.example")
        self.profile(policy=WEB)
        self.refused(there.try_order("b.corp.example"), "rejectedIdentifier", "*.web.corp.example")
        self.refused(self.client.try_order("b.corp.example"), "rejectedIdentifier", "*.web.corp.example")

    def test_unreadable(self) -> None:
        """A policy that cannot be read refuses what is new, and what was issued can still be read and revoked."""
        issued = self.client.issue("a.corp.example")
        order = self.client.order("b.corp.example")
        self.profile(policy={"names": {"allow": ["*.corp.example"], "deyn": ["x"]}})
        for refused in (
            self.client.try_order("a.corp.example"),
            self.client.finalize(order, make_csr(["b.corp.example"])[1]),
            self.client.post("new-authz", {"identifier": {"type": "dns", "value": "a.corp.example"}}),
            self.bench.get(self.client.url("directory")),
        ):
            self.assertEqual(refused.status, 500)
            self.refused(refused, "serverInternal", "the policy of profile prof-x cannot be read")
        self.assertEqual(self.client.read(issued.url).status, 200)
        self.assertEqual(self.client.revoke(issued.der).status, 200)
        self.profile(policy=CORP)
        self.assertEqual(self.client.finalize(order, make_csr(["b.corp.example"])[1]).status, 200)

    def test_archived(self) -> None:
        """An archived profile has no new accounts, orders and certificates; the old ones are read and revoked."""
        issued, order = self.client.issue("a.corp.example"), self.client.order("b.corp.example")
        self.profile(archived_at=self.bench.now)
        words = "profile prof-x was archived"
        self.refused(self.bench.client("prof-x").register(), "unauthorized", words)
        self.refused(self.client.try_order("a.corp.example"), "unauthorized", words)
        authorization = {"identifier": {"type": "dns", "value": "a.corp.example"}}
        self.refused(self.client.post("new-authz", authorization), "unauthorized", words)
        self.refused(self.client.finalize(order, make_csr(["b.corp.example"])[1]), "invalidProfile", words)
        self.assertEqual(self.client.read(issued.url).status, 200)
        self.assertEqual(self.client.revoke(issued.der).status, 200)

    def test_name_policy_required(self) -> None:
        """The setting refuses profiles that trust accounts without a name policy, and no others."""
        self.bench = self.served(acme_server_require_name_policy="true")
        self.bench.add_profile("prof-open")
        self.bench.add_profile("prof-deny", policy={"names": {"deny": ["a.example"]}})
        self.bench.add_profile("prof-corp", policy=CORP)
        self.bench.add_profile("prof-shown", acme_auth_mode=AuthMode.CHALLENGE)
        for profile in ("prof-open", "prof-deny"):
            client = self.bench.account(profile)
            refused = client.try_order("a.corp.example")
            self.refused(refused, "rejectedIdentifier", "CERTCTL_ACME_SERVER_REQUIRE_NAME_POLICY")
            self.assertEqual(refused.json["subproblems"][0]["identifier"]["value"], "a.corp.example")
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_orders"), 0)
        self.bench.account("prof-corp").issue("a.corp.example")
        self.bench.account("prof-shown").order("a.corp.example")

    def test_limits_of_the_profile(self) -> None:
        """Limits of the profile take the place of the server's, and those of the account of the profile's."""
        self.bench = self.served(acme_server_rate_limit_orders_per_hour="1")
        self.bench.add_profile("prof-x", policy={"limits": {"orders_per_hour": 2}})
        self.client = self.bench.account("prof-x")
        usual = self.bench.account()
        usual.order("a.example")
        self.refused(usual.try_order("b.example"), "rateLimited", "the limit is 1 orders")
        self.client.order("a.example")
        self.client.order("b.example")
        self.refused(self.client.try_order("c.example"), "rateLimited", "the limit is 2 orders")
        self.account(policy={"limits": {"orders_per_hour": 0, "concurrent_orders": 3}})
        self.client.order("c.example")
        self.refused(self.client.try_order("d.example"), "rateLimited", "the limit is 3 unfinished orders")

    def test_max_identifiers_is_never_more_than_the_servers(self) -> None:
        """The server's number bounds what a request costs."""
        self.bench = self.served(acme_server_max_identifiers="2")
        self.bench.add_profile("prof-x", policy={"max_identifiers": 50})
        client = self.bench.account("prof-x")
        self.refused(
            client.try_order("a.example", "b.example", "c.example"), "malformed", "2 identifiers at most"
        )


class AccountTests(PolicyCase):
    def test_names(self) -> None:
        """An account's names are judged beside the profile's, and the account's rule is named."""
        self.account(policy=WEB)
        self.client.issue("a.web.corp.example")
        words = f"name policy of account {self.client.id} allows *.web.corp.example"
        self.refused(self.client.try_order("a.corp.example"), "rejectedIdentifier", words)
        authorization = {"identifier": {"type": "dns", "value": "a.corp.example"}}
        self.refused(self.client.post("new-authz", authorization), "rejectedIdentifier", words)
        self.account(policy={"names": {"allow": ["*.example"]}})
        words = "name policy of profile prof-x allows *.corp.example"
        self.refused(self.client.try_order("a.example"), "rejectedIdentifier", words)

    def test_unreadable(self) -> None:
        """An account whose policy cannot be read gets nothing."""
        self.account(policy={"name": {}})
        refused = self.client.try_order("a.corp.example")
        self.refused(refused, "serverInternal", f"the policy of account {self.client.id} cannot be read")

    def test_paused(self) -> None:
        """An account that an operator has paused gets nothing new until the pause ends."""
        issued, order = self.client.issue("a.corp.example"), self.client.order("b.corp.example")
        self.account(paused_at=self.bench.now)
        authorization = {"identifier": {"type": "dns", "value": "a.corp.example"}}
        for refused in (
            self.client.try_order("a.corp.example"),
            self.client.post("new-authz", authorization),
            self.client.finalize(order, make_csr(["b.corp.example"])[1]),
        ):
            self.refused(refused, "unauthorized", "an operator of this CA has paused the account")
            self.assertEqual(refused.status, 403)
        self.assertEqual(self.client.revoke(issued.der).status, 200)
        self.account(paused_at=None)
        self.assertEqual(self.client.finalize(order, make_csr(["b.corp.example"])[1]).status, 200)


class LastJudgementTests(PolicyCase):
    """The certificate is judged once more before it is signed, by the profile as it is then."""

    def refuse_finalize(self, order: Response, csr: bytes, type: str, words: str) -> None:
        """Check that a finalize is refused, that nothing is signed, and that the order waits."""
        self.refused(self.client.finalize(order, csr), type, words)
        self.assertEqual(self.bench.value("SELECT count(*) FROM certificate_versions"), 0)
        self.assertEqual(self.client.see(order.location)["status"], "ready")

    def test_names_since_the_order(self) -> None:
        """An order that was allowed when it was made is not fulfilled under rules that it breaks now."""
        order = self.client.order("a.corp.example")
        csr = make_csr(["a.corp.example"])[1]
        self.profile(policy=WEB)
        self.refuse_finalize(order, csr, "rejectedIdentifier", "allows *.web.corp.example")
        self.profile(policy=CORP)
        self.account(policy=WEB)
        self.refuse_finalize(order, csr, "rejectedIdentifier", f"account {self.client.id} allows")

    def test_an_order_that_nobody_judged(self) -> None:
        """Names that came into an order past the first judgement are not signed, though order and CSR agree."""
        order = self.client.order("a.corp.example")
        evil = Json([{"type": "dns", "value": "evil.example"}])
        self.bench.execute("UPDATE acme_orders SET identifiers = ?", evil)
        words = "name policy of profile prof-x allows *.corp.example"
        self.refuse_finalize(order, make_csr(["evil.example"])[1], "rejectedIdentifier", words)

    def test_lifetime_since_the_order(self) -> None:
        """A lifetime that is not granted any more is refused."""
        order = self.client.order("a.corp.example", notAfter="2026-05-27T12:00:00Z")
        self.profile(max_ttl_seconds=3600)
        self.refuse_finalize(order, make_csr(["a.corp.example"])[1], "malformed", "3600 seconds at most")

    def test_csr_refused_leaves_the_order_ready(self) -> None:
        """A better CSR may follow."""
        self.profile(policy={**CORP, "key_algorithms": ["ecdsa-p384"]})
        order = self.client.order("a.corp.example")
        self.refuse_finalize(order, make_csr(["a.corp.example"])[1], "badCSR", "its key is ecdsa-p256")
        csr = make_csr(["a.corp.example"], key=key("P-384"), extensions=[STAPLE])[1]
        self.refuse_finalize(order, csr, "badCSR", "must-staple")
        csr = make_csr(["a.corp.example"], key=key("P-384"))[1]
        self.assertEqual(self.client.finalize(order, csr).status, 200)


class TrailTests(PolicyCase):
    def test_rule_of_an_order(self) -> None:
        """The row of an order names the rule that let it pass."""
        self.client.order("a.corp.example", "b.corp.example")
        self.profile(policy={"names": {"allow": ["*.corp.example", "10.0.0.0/8"]}})
        self.client.order("a.corp.example", "10.1.2.3")
        self.profile(policy={})
        self.client.order("a.corp.example", "10.1.2.3")
        self.account(policy=WEB)
        self.client.order("a.web.corp.example")
        self.assertEqual(
            [details["rule"] for _, _, details in self.events("acme_order_created")],
            [
                "*.corp.example",
                {"a.corp.example": "*.corp.example", "10.1.2.3": "10.0.0.0/8"},
                "no name policy",
                "*.web.corp.example",
            ],
        )

    def test_refused_order(self) -> None:
        """A refused order is an event that names the rule, and nothing but an event."""
        self.client.try_order("a.corp.example", "a.example")
        ((type, id, details),) = self.events("acme_order_refused")
        self.assertEqual((type, id), ("acme_account", self.client.id))
        self.assertEqual(details["profile"], "prof-x")
        self.assertEqual(details["identifiers"], ["a.corp.example", "a.example"])
        rule = {"a.example": "name policy of profile prof-x allows *.corp.example"}
        self.assertEqual((details["type"], details["rule"]), ("rejectedIdentifier", rule))
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_orders"), 0)

    def test_refused_csr(self) -> None:
        """A CSR that the profile refuses is an event about the order."""
        order = self.client.order("a.corp.example")
        self.client.finalize(order, make_csr(["a.corp.example"], extensions=[STAPLE])[1])
        ((type, id, details),) = self.events("acme_order_refused")
        self.assertEqual((type, id), ("acme_order", order.location.rpartition("/")[2]))
        self.assertEqual((details["type"], details["identifiers"]), ("badCSR", ["a.corp.example"]))
        self.assertIn("must_staple never", details["rule"])

    def test_what_is_no_policy(self) -> None:
        """Requests that are not well made are no event; what is sent for identifiers is bounded and harmless."""
        sent: tuple[Any, ...] = (None, [], "x", {})
        for identifiers in sent:
            self.client.post("new-order", {"identifiers": identifiers})
        self.assertEqual(self.events("acme_order_refused"), [])
        self.client.post(
            "new-order", {"identifiers": [7, {"value": None}, {"type": "dns", "value": "x" * 9999}]}
        )
        ((_, _, details),) = self.events("acme_order_refused")
        self.assertEqual(details["identifiers"], ["None", "x" * 253])


class ProfilesExtensionTests(PolicyCase):
    """draft-ietf-acme-profiles: a directory offers profiles, and an order names one."""

    def setUp(self) -> None:
        super().setUp()
        self.bench.add_profile("prof-y", policy={"names": {"allow": ["*.y.example"]}}, description="For Y")
        self.profile(policy={**CORP, "advertises": ["prof-y", "prof-absent"]})

    def test_directory(self) -> None:
        """Section 3: what is offered is what can be had."""
        meta = self.bench.get(self.client.url("directory")).json["meta"]
        self.assertEqual(meta["profiles"], {"prof-x": "prof-x", "prof-y": "For Y"})
        self.change("certificate_profiles", "prof-y", enabled=False)
        meta = self.bench.get(self.client.url("directory")).json["meta"]
        self.assertEqual(meta["profiles"], {"prof-x": "prof-x"})

    def test_chosen(self) -> None:
        """Section 4: the order says its profile, whose rules hold for it to the certificate and beyond."""
        self.assertEqual(self.client.order("a.corp.example").json["profile"], "prof-x")
        self.assertEqual(self.client.order("a.corp.example", profile="prof-x").json["profile"], "prof-x")
        self.change("certificate_profiles", "prof-y", max_ttl_seconds=3600)
        order = self.client.order("a.y.example", profile="prof-y")
        self.assertEqual(order.json["profile"], "prof-y")
        self.assertEqual(self.client.see(order.location)["profile"], "prof-y")
        finalized = self.client.finalize(order, make_csr(["a.y.example"])[1])
        self.assertEqual(finalized.status, 200, finalized.body)
        row = self.bench.rows(
            "SELECT profile_id, not_before, not_after, certificate FROM certificate_versions"
        )
        ((profile, starts, ends, der),) = row
        self.assertEqual((profile, (ends - starts).total_seconds()), ("prof-y", 3599))
        self.assertEqual(self.client.read(finalized.json["certificate"]).status, 200)
        renewed = str(CertID.of(x509.load_der_x509_certificate(der)))
        info = f"{self.client.url('renewal-info')}/{renewed}"
        self.assertEqual(self.bench.get(info).status, 200)
        again = self.client.order("a.y.example", profile="prof-y", replaces=renewed)
        self.assertEqual(again.json["replaces"], renewed)
        self.assertEqual(self.client.revoke(der).status, 200)

    def test_refused(self) -> None:
        """Section 4: what is not offered is invalidProfile, with the names that are."""
        self.bench.add_profile("prof-z", policy=CORP)
        for name in ("prof-z", "prof-absent", "", 7, ["prof-y"], {"prof-y": 1}):
            refused = self.client.try_order("a.corp.example", profile=name)
            self.assertProblem(refused, "invalidProfile", 400)
            self.assertIn("prof-x, prof-y", refused.json["detail"])
        words = "name policy of profile prof-y allows *.y.example"
        self.refused(self.client.try_order("a.corp.example", profile="prof-y"), "rejectedIdentifier", words)

    def test_account_must_be_allowed_there(self) -> None:
        """A profile for bound accounts is not had through another that asks for no binding."""
        self.change("certificate_profiles", "prof-y", policy={"eab": "required"})
        refused = self.client.try_order("a.y.example", profile="prof-y")
        self.refused(refused, "invalidProfile", "external account binding")
        self.change("certificate_profiles", "prof-y", policy={"tos_url": "https://pki.example/terms"})
        refused = self.client.try_order("a.y.example", profile="prof-y")
        self.refused(refused, "invalidProfile", "https://pki.example/terms")
        agreed = self.bench.account("prof-x", termsOfServiceAgreed=True)
        self.assertEqual(agreed.try_order("a.y.example", profile="prof-y").status, 201)

    def test_gone_since_the_order(self) -> None:
        """Section 4: a profile that is not issued under any more is invalidProfile at finalize."""
        order = self.client.order("a.y.example", profile="prof-y")
        self.change("certificate_profiles", "prof-y", enabled=False)
        refused = self.client.finalize(order, make_csr(["a.y.example"])[1])
        self.refused(refused, "invalidProfile", "prof-y")

    def test_challenges_by_the_rules_of_the_chosen(self) -> None:
        """In challenge mode the chosen profile's rules hold, after a restart too."""
        self.change("certificate_profiles", "prof-y", acme_auth_mode="challenge")
        order = self.client.order("a.y.example", profile="prof-y")
        self.assertEqual(order.json["status"], "pending")
        (url,) = order.json["authorizations"]
        self.client.respond(self.client.challenges(url)["dns-01"])
        restarted = Bench(self, {}, database=self.bench.database)
        self.assertEqual(restarted.result(restarted.parts.challenges.resume(timedelta(0))), 1)
        restarted.validators.dns01.succeed()
        self.assertEqual(self.client.see(order.location)["status"], "ready")
        self.assertEqual(self.client.finalize(order, make_csr(["a.y.example"])[1]).status, 200)
