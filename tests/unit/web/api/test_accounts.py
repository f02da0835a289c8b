from __future__ import annotations

from tests.unit.web.api.cases import ApiCase
from tests.unit.web.bench import DEFAULT


class AccountTests(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account(contact=["mailto:one@corp.example"])
        self.path = f"accounts/{self.client.id}"

    def test_list(self) -> None:
        """Accounts are found by all that they may be asked for, in pages."""
        self.bench.pass_by(seconds=1)
        other = self.bench.account(contact=["mailto:two@corp.example"])
        both = self.ok("GET", "accounts")
        self.assertEqual([each["id"] for each in both["data"]], [other.id, self.client.id])
        self.assertEqual((both["total"], both["page"], both["per_page"]), (2, 1, 50))
        (found,) = self.ok("GET", "accounts?contact=ONE@corp.example")["data"]
        self.assertEqual(found["id"], self.client.id)
        thumbprint = found["thumbprint"]
        self.assertEqual(self.ok("GET", f"accounts?thumbprint={thumbprint}&status=valid")["total"], 1)
        self.assertEqual(self.ok("GET", f"accounts?profile_id={DEFAULT}&per_page=1&page=2")["total"], 2)
        for query in ("status=deactivated", "profile_id=prof-none", "eab_key_id=eab-none", "contact=%25"):
            self.assertEqual(self.ok("GET", f"accounts?{query}")["data"], [], query)

    def test_pause(self) -> None:
        """A paused account gets no order until it goes on; the trail names the key."""
        self.assertIsNotNone(self.ok("PATCH", self.path, {"paused": True}, key="worker-key")["paused_at"])
        self.assertEqual(self.client.try_order("a.example").status, 403)
        self.assertIsNone(self.ok("PATCH", self.path, {"paused": False})["paused_at"])
        self.client.order("a.example")
        self.assertIn(("api-key:worker", "acme_account_paused"), self.actions())
        self.assertIn(("api-key:boss", "acme_account_resumed"), self.actions())

    def test_nothing_changed(self) -> None:
        """A patch that changes nothing leaves no trail."""
        before = self.actions()
        self.ok("PATCH", self.path, {"paused": False, "policy": {}})
        self.assertEqual(self.actions(), before)

    def test_policy(self) -> None:
        """An account's policy holds for its next order; it is merged, and read strictly."""
        self.ok("PATCH", self.path, {"policy": {"names": {"allow": ["*.corp.example"]}}})
        self.assertProblem(self.client.try_order("a.example"), "rejectedIdentifier", 400)
        self.client.order("a.corp.example")
        changed = self.ok("PATCH", self.path, {"policy": {"limits": {"orders_per_hour": 5}}})
        self.assertEqual(set(changed["policy"]), {"names", "limits"})
        changed = self.ok("PATCH", self.path, {"policy": {"names": None}})
        self.assertEqual(changed["policy"], {"limits": {"orders_per_hour": 5}})
        for policy, words in (
            ({"colour": "red"}, "policy.colour"),
            ({"limits": {"orders_per_hour": "many"}}, "orders_per_hour"),
            ({"names": {"allow": ["a b"]}}, "policy.names.allow"),
        ):
            response = self.call("PATCH", self.path, {"policy": policy})
            self.assertRefused(response, 400, "invalid_request", words)

    def test_lost_update(self) -> None:
        """Who changes what somebody else has changed meanwhile is told so: the account's owner, too."""
        etag = self.call("GET", self.path).one("ETag")
        self.bench.pass_by(seconds=1)
        self.assertEqual(self.client.post(self.client.kid or "", {"contact": []}).status, 200)
        late = self.call("PATCH", self.path, {"paused": True}, If_Match=etag)
        self.assertRefused(late, 412, "precondition_failed", "read it again")
        etag = self.call("GET", self.path).one("ETag")
        self.ok("PATCH", self.path, {"paused": True}, If_Match=etag)

    def test_deactivate(self) -> None:
        """An operator deactivates an account once, for good."""
        order = self.client.order("a.example")
        self.assertEqual(
            self.ok("POST", f"{self.path}/deactivate", key="worker-key")["status"], "deactivated"
        )
        self.assertProblem(self.client.read(order.location), "unauthorized", 401)
        self.assertIn(("api-key:worker", "acme_account_deactivated"), self.actions())
        self.assertRefused(self.call("POST", f"{self.path}/deactivate"), 409, "conflict", "before")

    def test_absent(self) -> None:
        """What is not there is 404, whatever is asked of it."""
        for method, path, body in (
            ("GET", "accounts/x", None),
            ("PATCH", "accounts/x", {"paused": True}),
            ("POST", "accounts/x/deactivate", None),
            ("GET", "accounts/x/pauses", None),
            ("POST", "accounts/x/unpause", {}),
        ):
            self.assertRefused(self.call(method, path, body), 404, "not_found", "'x'")


class PauseTests(ApiCase):
    def setUp(self) -> None:
        self.bench = self.served(
            acme_server_pause_after_failures="2", acme_server_default_auth_mode="challenge"
        )
        self.client = self.bench.account()
        self.path = f"accounts/{self.client.id}"
        self.bench.execute(
            "INSERT INTO acme_validation_failures VALUES (?, 'a.example', 2, ?), (?, 'b.example', 1, ?)",
            *(self.client.id, self.bench.now) * 2,
        )

    def test_list(self) -> None:
        """Names are shown with their failures, and whether those are enough for a pause."""
        found = self.ok("GET", f"{self.path}/pauses")
        shown = {each["identifier"]: (each["failures"], each["paused"]) for each in found["data"]}
        self.assertEqual(shown, {"a.example": (2, True), "b.example": (1, False)})

    def test_unpause(self) -> None:
        """A name is ordered again once an operator says so."""
        self.assertProblem(self.client.try_order("a.example"), "rateLimited", 429)
        self.ok("POST", f"{self.path}/unpause", {"identifier": "a.example"}, status=204, key="worker-key")
        self.client.order("a.example")
        self.assertIn(("api-key:worker", "acme_names_unpaused"), self.actions())
        self.ok("POST", f"{self.path}/unpause", {}, status=204)
        self.assertEqual(self.ok("GET", f"{self.path}/pauses")["data"], [])
        refused = self.call("POST", f"{self.path}/unpause", {"identifier": "no name"})
        self.assertRefused(refused, 400, "invalid_request", "identifier")
