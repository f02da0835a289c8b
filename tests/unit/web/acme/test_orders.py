"""Orders (RFC 8555 sections 7.1.3 and 7.4)."""

from __future__ import annotations

from typing import Any

from cryptography import x509

from tests.acme_client import make_csr
from tests.unit.web.bench import NOW, Bench, BenchCase

TABLES = ("acme_orders", "acme_authorizations", "acme_challenges", "acme_order_authorizations")


def counts(bench: Bench) -> list[int]:
    """Return how many rows the tables of orders have."""
    return [bench.value(f"SELECT count(*) FROM {table}") for table in TABLES]


class NewOrderTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()

    def test_made(self) -> None:
        """Section 7.4: 201 with the order, its URL in Location; in trust mode it is ready at once."""
        response = self.client.order("www.example.org", "10.1.2.3")
        base = self.client.base
        self.assertRegex(response.location, rf"\A{base}/order/acme-ord-[a-z0-9]{{32,}}\Z")
        order = response.json
        self.assertEqual(order["status"], "ready")
        self.assertEqual(order["expires"], "2026-05-18T12:00:00Z")
        self.assertEqual(
            order["identifiers"],
            [{"type": "dns", "value": "www.example.org"}, {"type": "ip", "value": "10.1.2.3"}],
        )
        self.assertEqual(order["finalize"], f"{response.location}/finalize")
        self.assertEqual(len(order["authorizations"]), 2)
        for url in order["authorizations"]:
            self.assertRegex(url, rf"\A{base}/authz/acme-authz-[a-z0-9]{{32,}}\Z")
        self.assertEqual(
            set(order),
            {"status", "expires", "identifiers", "profile", "authorizations", "finalize"},
            "no more",
        )
        self.assertEqual(self.client.see(response.location), order)

    def test_members_that_are_not_the_clients(self) -> None:
        """What a client may not set, and what nobody knows, is neither taken over nor shown."""
        order = self.client.order("www.example.org", status="valid", certificate="x", error={})
        self.assertEqual(order.json["status"], "ready")
        self.assertNotIn("certificate", order.json)
        self.assertNotIn("error", order.json)

    def test_names_in_canonical_form(self) -> None:
        """Names are folded to lower case, and each is there once."""
        order = self.client.order("WWW.Example.ORG", "www.example.org", "*.example.org", "www.example.org.")
        values = [each["value"] for each in order.json["identifiers"]]
        self.assertEqual(values, ["www.example.org", "*.example.org"])
        self.assertEqual(len(order.json["authorizations"]), 2)

    def test_order_lifetime_is_a_setting(self) -> None:
        """``CERTCTL_ACME_SERVER_ORDER_TTL`` is how long an order lives."""
        order = self.served(acme_server_order_ttl="90s").account().order("a.example")
        self.assertEqual(order.json["expires"], "2026-05-17T12:01:30Z")

    def test_payloads_that_are_no_order(self) -> None:
        """Without a list of identifiers there is no order, and nothing is stored."""
        payloads: tuple[Any, ...] = (
            {},
            {"identifiers": []},
            {"identifiers": {}},
            {"identifiers": "a.example"},
            {"identifiers": [{"type": "dns", "value": f"{i}.example"} for i in range(101)]},
        )
        for payload in payloads:
            self.assertProblem(self.client.post("new-order", payload), "malformed", 400)
        self.assertEqual(counts(self.bench), [0, 0, 0, 0])

    def test_a_hundred_names(self) -> None:
        """A hundred names are not too many."""
        order = self.client.order(*(f"{i}.example" for i in range(100)))
        self.assertEqual(len(order.json["authorizations"]), 100)


class RefusedNamesTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.bench.add_profile(
            "prof-corp", policy={"names": {"allow": ["*.corp.example", "10.0.0.0/8"], "wildcards": False}}
        )
        self.client = self.bench.account("prof-corp")

    def test_one_subproblem_for_each_bad_name(self) -> None:
        """Section 6.7.1: the refusal has a subproblem for each bad name, and none for the good ones."""
        bad = ["www.example.org", "*.a.corp.example", "192.0.2.1"]
        refused = self.client.try_order("good.corp.example", *bad)
        self.assertProblem(refused, "rejectedIdentifier", 400)
        subproblems = refused.json["subproblems"]
        self.assertEqual([each["identifier"]["value"] for each in subproblems], bad)
        for each in subproblems:
            self.assertEqual(each["type"], "urn:ietf:params:acme:error:rejectedIdentifier")
            self.assertIn("prof-corp", each["detail"])
            self.assertEqual(set(each), {"type", "detail", "identifier"})

    def test_nothing_is_stored(self) -> None:
        """A refusal leaves no row behind but one in the audit."""
        self.client.try_order("good.corp.example", "www.example.org")
        self.assertEqual(counts(self.bench), [0, 0, 0, 0])
        ((action, resource),) = self.bench.rows(
            "SELECT action, resource_id FROM audit_events WHERE actor = ? AND action <> 'acme_account_created'",
            f"acme:{self.client.id}",
        )
        self.assertEqual((action, resource), ("acme_order_refused", self.client.id))

    def test_one_bad_name(self) -> None:
        """A single refused name is the problem itself, with its subproblem."""
        refused = self.client.try_order("www.example.org")
        self.assertProblem(refused, "rejectedIdentifier", 400)
        self.assertEqual(len(refused.json["subproblems"]), 1)

    def test_names_that_are_none(self) -> None:
        """What is no name, no address or of no known type is refused, one subproblem each."""
        identifiers = [
            {"type": "dns", "value": "under_score.corp.example"},
            {"type": "dns", "value": "a..corp.example"},
            {"type": "dns", "value": "10.1.2.3"},
            {"type": "ip", "value": "10.01.2.3"},
            {"type": "dns", "value": "\N{KELVIN SIGN}.corp.example"},
            {"type": "dns", "value": "a.corp.example\nb"},
            {"type": "dns"},
            {"value": 1, "type": "dns"},
            "a.corp.example",
        ]
        refused = self.client.post("new-order", {"identifiers": identifiers})
        self.assertProblem(refused, "rejectedIdentifier", 400)
        self.assertEqual(len(refused.json["subproblems"]), len(identifiers))

    def test_types_that_are_not_supported(self) -> None:
        """Section 6.7: unsupportedIdentifier; with problems of other kinds the whole is compound."""
        email = {"type": "email", "value": "a@example.org"}
        refused = self.client.post("new-order", {"identifiers": [email]})
        self.assertProblem(refused, "unsupportedIdentifier", 400)
        both = [email, {"type": "dns", "value": "www.example.org"}]
        refused = self.client.post("new-order", {"identifiers": both})
        self.assertProblem(refused, "compound", 400)
        kinds = [each["type"].rpartition(":")[2] for each in refused.json["subproblems"]]
        self.assertEqual(kinds, ["unsupportedIdentifier", "rejectedIdentifier"])


class ValidityTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()

    def test_granted_exactly(self) -> None:
        """Section 7.4: a requested validity is in the order and in the certificate, to the second."""
        asked = {"notBefore": "2026-05-17T13:00:00+00:00", "notAfter": "2026-05-20T01:02:03+02:00"}
        order = self.client.order("www.example.org", **asked)
        shown = {"notBefore": "2026-05-17T13:00:00Z", "notAfter": "2026-05-19T23:02:03Z"}
        self.assertEqual({name: order.json[name] for name in asked}, shown)
        _, csr = make_csr(["www.example.org"])
        done = self.client.finalize(order, csr)
        self.assertEqual(done.status, 200, done.body)
        leaf = x509.load_pem_x509_certificates(self.client.read(done.json["certificate"]).body)[0]
        found = [
            f"{each:%Y-%m-%dT%H:%M:%SZ}" for each in (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
        ]
        self.assertEqual(found, list(shown.values()))

    def test_refused_otherwise(self) -> None:
        """Section 7.4: what cannot be granted as asked is refused before there is an order."""
        cases: tuple[dict[str, Any], ...] = (
            {"notBefore": "2026-05-17T11:00:00Z"},
            {"notAfter": "2026-05-17T12:00:00Z"},
            {"notAfter": "2026-05-17T11:00:00Z"},
            {"notAfter": "2027-05-17T12:00:00Z"},
            {"notAfter": "9999-12-31T23:59:59Z"},
            {"notBefore": "2026-05-19T12:00:00Z", "notAfter": "2026-05-18T12:00:00Z"},
            {"notBefore": "2060-05-19T12:00:00Z"},
            {"notBefore": "tomorrow"},
            {"notBefore": "2026-05-18"},
            {"notBefore": "2026-05-18T12:00:00"},
            {"notAfter": 1_800_000_000},
            {"notAfter": ["2026-05-18T12:00:00Z"]},
            {"notAfter": "0001-01-01T00:00:00+14:00"},
            {"notAfter": ""},
        )
        for members in cases:
            refused = self.client.try_order("www.example.org", **members)
            self.assertEqual((refused.error, refused.status), ("malformed", 400), members)
        self.assertEqual(counts(self.bench), [0, 0, 0, 0])

    def test_profiles_lifetime(self) -> None:
        """Without a request a certificate lives as long as its profile says."""
        leaf = self.client.issue("www.example.org").chain[0]
        lived = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        self.assertEqual((lived.days, lived.seconds), (89, 86399))
        self.assertLess(leaf.not_valid_before_utc, NOW)


class ExpiryTests(BenchCase):
    def setUp(self) -> None:
        self.bench = self.served(acme_server_order_ttl="1h", acme_server_authz_ttl="2h")
        self.client = self.bench.account()

    def _see_invalid(self, url: str) -> None:
        order = self.client.see(url)
        self.assertEqual(order["status"], "invalid")
        self.assertIn("expired", order["error"]["detail"])
        refused = self.client.post(f"{url}/finalize", {"csr": "x"})
        self.assertProblem(refused, "orderNotReady", 403)

    def test_before_and_after_the_sweeper(self) -> None:
        """Section 7.1.6: an order whose time is over is invalid, whether it was swept or not."""
        url = self.client.order("www.example.org").location
        self.bench.pass_by(hours=1)
        self.assertEqual(self.client.see(url)["status"], "ready")
        self.bench.pass_by(seconds=1)
        self.assertEqual(self.bench.value("SELECT status FROM acme_orders"), "ready")
        self._see_invalid(url)
        self.bench.sweep()
        self.assertEqual(self.bench.value("SELECT status FROM acme_orders"), "invalid")
        self._see_invalid(url)

    def test_valid_orders_do_not_expire(self) -> None:
        """An order that has its certificate keeps it."""
        issued = self.client.issue("www.example.org")
        self.bench.pass_by(days=3)
        self.bench.sweep()
        order = self.client.see(issued.order.location)
        self.assertEqual((order["status"], order["certificate"]), ("valid", issued.url))

    def test_expired_authorization_takes_the_order_along(self) -> None:
        """Section 7.1.6: a ready order with an authorization that has expired is invalid, and stays so."""
        bench = self.served(acme_server_order_ttl="2h", acme_server_authz_ttl="1h")
        client = bench.account()
        url = client.order("www.example.org").location
        bench.pass_by(hours=1, seconds=1)
        for _ in range(2):
            order = client.see(url)
            self.assertEqual(order["status"], "invalid")
            self.assertIn("authorization", order["error"]["detail"])
            self.assertProblem(client.post(f"{url}/finalize", {"csr": "x"}), "orderNotReady", 403)
            bench.sweep()
