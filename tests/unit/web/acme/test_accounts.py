"""Accounts (RFC 8555 sections 7.1.2 and 7.3)."""

from __future__ import annotations

from tests.unit.web.bench import BenchCase

TERMS = "https://pki.example/terms"


class NewAccountTests(BenchCase):
    def test_made(self) -> None:
        """Section 7.3: 201 with the account, its URL in Location."""
        client = self.bench.client()
        response = client.register(contact=["mailto:a@example.org"], termsOfServiceAgreed=True)
        self.assertEqual(response.status, 201)
        self.assertRegex(response.location, rf"\A{client.base}/account/acme-acc-[a-z0-9]{{32,}}\Z")
        expected = {
            "status": "valid",
            "contact": ["mailto:a@example.org"],
            "termsOfServiceAgreed": True,
            "orders": f"{response.location}/orders",
        }
        self.assertEqual(response.json, expected)
        self.assertEqual(client.see(response.location), expected)

    def test_members_of_no_value_are_left_out(self) -> None:
        """Without contacts and agreement there are no such members."""
        self.assertEqual(set(self.bench.client().register().json), {"status", "orders"})

    def test_what_the_server_decides_is_ignored(self) -> None:
        """Section 7.3: orders, status and members that nobody knows are neither taken over nor shown."""
        response = self.bench.client().register(
            status="revoked", orders="https://evil.example/", id="x", initialIp="x"
        )
        self.assertEqual(response.status, 201)
        self.assertEqual(response.json["status"], "valid")
        self.assertEqual(set(response.json), {"status", "orders"})
        self.assertNotIn("evil", response.json["orders"])

    def test_key_that_has_an_account(self) -> None:
        """Section 7.3.1: a known key gets 200, the account's URL, and the account as it is."""
        client = self.bench.client()
        first = client.register(contact=["mailto:a@example.org"])
        second = client.register(contact=["mailto:b@example.org"])
        self.assertEqual((second.status, second.location), (200, first.location))
        self.assertEqual(second.json, first.json)
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_accounts"), 1)

    def test_only_return_existing(self) -> None:
        """Section 7.3.1: an account is found by its key and never made."""
        client = self.bench.client()
        self.assertProblem(client.register(onlyReturnExisting=True), "accountDoesNotExist", 400)
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_accounts"), 0)
        made = client.register()
        found = client.register(onlyReturnExisting=True)
        self.assertEqual((found.status, found.location, found.json), (200, made.location, made.json))

    def test_contacts_that_are_refused(self) -> None:
        """Section 7.3: other schemes are unsupportedContact; header fields and several addresses invalidContact."""
        cases = {
            "unsupportedContact": ["tel:+15551212", "https://example.org/", "admin@example.org"],
            "invalidContact": [
                "mailto:",
                "mailto:admin",
                "mailto:a@example.org,b@example.org",
                "mailto:a@example.org?subject=x",
                "mailto:a b@example.org",
                "mailto:\u00fc@example.org",
                "mailto:a\n@example.org",
            ],
        }
        for problem, contacts in cases.items():
            for contact in contacts:
                self.assertProblem(self.bench.client().register(contact=[contact]), problem, 400)
        others: tuple[object, ...] = ("mailto:a@example.org", [1], {}, None, [["mailto:a@example.org"]])
        for other in others:
            self.assertProblem(self.bench.client().register(contact=other), "malformed", 400)
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_accounts"), 0)

    def test_terms_of_service(self) -> None:
        """Section 7.3: where there are terms, an account is made only for who agrees to them."""
        bench = self.served(acme_server_tos_url=TERMS)
        client = bench.client()
        for payload in ({}, {"termsOfServiceAgreed": False}, {"termsOfServiceAgreed": "true"}):
            refused = client.register(**payload)
            self.assertProblem(refused, "userActionRequired", 403)
            self.assertEqual(refused.links("terms-of-service"), [TERMS])
        self.assertEqual(client.register(termsOfServiceAgreed=True).status, 201)

    def test_external_account_binding(self) -> None:
        """Section 7.3.4: where one is required, a request without it is externalAccountRequired.

        Who only asks whether there is an account, as cert-manager does, is not asked for one.
        """
        client = self.served(acme_server_eab_required="true").client()
        self.assertProblem(client.register(), "externalAccountRequired", 403)
        self.assertProblem(client.register(onlyReturnExisting=True), "accountDoesNotExist", 400)


class UpdateTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account(contact=["mailto:a@example.org"])
        assert self.client.kid is not None
        self.account = self.client.kid

    def test_contacts(self) -> None:
        """Section 7.3.2: contacts are replaced as a whole, or taken away."""
        for contact in (["mailto:b@example.org", "mailto:c@example.org"], []):
            response = self.client.post(self.account, {"contact": contact})
            self.assertEqual((response.status, response.json.get("contact", [])), (200, contact))
            self.assertEqual(self.client.see(self.account), response.json)

    def test_bad_contact_changes_nothing(self) -> None:
        """An update is judged like a new account."""
        refused = self.client.post(self.account, {"contact": ["mailto:b@example.org", "tel:1"]})
        self.assertProblem(refused, "unsupportedContact", 400)
        self.assertEqual(self.client.see(self.account)["contact"], ["mailto:a@example.org"])

    def test_other_members(self) -> None:
        """Section 7.3.2: "the server MUST ignore any updates to the orders field [..] or any other fields"."""
        before = self.client.see(self.account)
        update = {"orders": "https://evil.example/", "status": "revoked", "jwk": {}, "x": [{}]}
        self.assertEqual(self.client.post(self.account, update).json, before)
        self.assertEqual(self.client.post(self.account, {}).json, before)
        self.assertEqual(self.client.see(self.account), before)

    def test_another_account(self) -> None:
        """An account is read and changed by itself alone."""
        stranger = self.bench.account()
        payloads: tuple[object, ...] = (None, {}, {"contact": []}, {"status": "deactivated"})
        for payload in payloads:
            self.assertProblem(stranger.post(self.account, payload), "unauthorized", 403)
        self.assertProblem(stranger.read(f"{self.account}/orders"), "unauthorized", 403)
        self.assertEqual(self.client.see(self.account)["contact"], ["mailto:a@example.org"])


class DeactivationTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()
        assert self.client.kid is not None
        self.account = self.client.kid

    def test_every_request_is_refused(self) -> None:
        """Section 7.3.6: "the server MUST reject [..] requests authorized by that account's key" with 401."""
        issued = self.client.issue("www.example.org")
        response = self.client.post(self.account, {"status": "deactivated"})
        self.assertEqual((response.status, response.json["status"]), (200, "deactivated"))
        requests: tuple[tuple[str, object], ...] = (
            (self.account, None),
            (self.account, {"status": "valid"}),
            (f"{self.account}/orders", None),
            ("new-order", {"identifiers": [{"type": "dns", "value": "a.example"}]}),
            ("new-authz", {"identifier": {"type": "dns", "value": "a.example"}}),
            (issued.order.location, None),
            (issued.url, None),
            ("revoke-cert", {"certificate": "x"}),
            ("key-change", {}),
        )
        for url, payload in requests:
            self.assertProblem(self.client.post(url, payload), "unauthorized", 401)
        self.assertProblem(self.client.post("new-account", {}, kid=None), "unauthorized", 401)
        existing = self.client.post("new-account", {"onlyReturnExisting": True}, kid=None)
        self.assertProblem(existing, "unauthorized", 401)

    def test_open_orders_end(self) -> None:
        """Section 7.3.6: open orders become invalid and authorizations deactivated; what was issued stays."""
        self.client.issue("www.example.org")
        self.bench.pass_by(seconds=1)
        self.client.order("a.example")
        self.bench.execute("UPDATE certificate_profiles SET acme_auth_mode = 'challenge'")
        self.client.order("b.example")
        self.client.post(self.account, {"status": "deactivated"})
        states = self.bench.rows("SELECT status FROM acme_orders ORDER BY id")
        self.assertEqual(states, [("valid",), ("invalid",), ("invalid",)])
        states = self.bench.rows("SELECT DISTINCT status FROM acme_authorizations")
        self.assertEqual(states, [("deactivated",)])
        self.assertEqual(self.bench.rows("SELECT revoked_at FROM certificate_versions"), [(None,)])


class OrdersListTests(BenchCase):
    def test_no_orders(self) -> None:
        """Section 7.1.2.1: the list of an account without orders is empty, and has no next page."""
        client = self.bench.account()
        response = client.read(f"{client.kid}/orders")
        self.assertEqual((response.json, response.links("next")), ({"orders": []}, []))

    def test_pages(self) -> None:
        """Section 7.1.2.1: a long list comes in pages with Link rel="next"; each order is there once."""
        client, stranger = self.bench.account(), self.bench.account()
        made = [client.order("www.example.org").location for _ in range(201)]
        stranger.order("www.example.org")
        found, pages, url = [], 0, f"{client.kid}/orders"
        while url:
            page = client.read(url)
            found += page.json["orders"]
            pages += 1
            url = next(iter(page.links("next")), "")
        self.assertEqual(sorted(found), sorted(made))
        self.assertEqual(pages, 3)

    def test_last_page_is_full(self) -> None:
        """A list of exactly one page names no other."""
        client = self.bench.account()
        for _ in range(100):
            client.order("www.example.org")
        page = client.read(f"{client.kid}/orders")
        self.assertEqual((len(page.json["orders"]), page.links("next")), (100, []))

    def test_invalid_orders_are_left_out(self) -> None:
        """Section 7.1.2.1: invalid orders need not be listed, expired ones among them."""
        client = self.bench.account()
        client.order("www.example.org")
        self.bench.pass_by(hours=25)
        self.bench.sweep()
        kept = client.order("www.example.org").location
        self.assertEqual(client.see(f"{client.kid}/orders"), {"orders": [kept]})

    def test_page_after_nothing(self) -> None:
        """A place that was never handed out is no error and no way round: only own orders follow it."""
        client = self.bench.account()
        order = client.order("www.example.org").location
        self.assertEqual(client.see(f"{client.kid}/orders?after=x%27--"), {"orders": []})
        self.assertEqual(client.see(f"{client.kid}/orders?after="), {"orders": [order]})
