from __future__ import annotations

from tests.unit.web.api.cases import ApiCase
from tests.unit.web.bench import ISSUER

WALKTHROUGH = {
    "id": "prof-test",
    "name": "ACME test",
    "issuer_id": ISSUER,
    "max_ttl_seconds": 7776000,
    "acme_auth_mode": "trust_authenticated",
}


class ProfileTests(ApiCase):
    def test_walkthrough(self) -> None:
        """The five members of the walkthrough's call are stored as they were sent."""
        response = self.call("POST", "profiles", WALKTHROUGH)
        self.assertEqual(response.status, 201, response.body)
        self.assertEqual(response.one("Location"), "/api/profiles/prof-test")
        row = self.bench.rows(
            "SELECT id, name, issuer_id, max_ttl_seconds, acme_auth_mode FROM certificate_profiles"
            " WHERE id = 'prof-test'"
        )
        self.assertEqual(row, [tuple(WALKTHROUGH.values())])
        self.assertEqual(
            response.json["directory_url"], "https://acme.example/acme/profile/prof-test/directory"
        )
        self.assertIn(("api-key:boss", "profile_created"), self.actions())

    def test_holds_for_the_next_request(self) -> None:
        """An account orders under a profile that was just made, and not after it was switched off."""
        self.ok("POST", "profiles", WALKTHROUGH, status=201)
        client = self.bench.account("prof-test")
        client.order("a.example")
        self.ok("PATCH", "profiles/prof-test", {"enabled": False})
        self.assertProblem(client.try_order("b.example"), "unauthorized", 403)

    def test_mode_by_default(self) -> None:
        """A profile that names no mode has the one of the settings."""
        asked = {name: value for name, value in WALKTHROUGH.items() if name != "acme_auth_mode"}
        self.assertEqual(
            self.ok("POST", "profiles", asked, status=201)["acme_auth_mode"], "trust_authenticated"
        )

    def test_id_made(self) -> None:
        """A profile that names no id is given one."""
        asked = {name: value for name, value in WALKTHROUGH.items() if name != "id"}
        self.assertRegex(self.ok("POST", "profiles", asked, status=201)["id"], r"\Aprof-[0-9a-f]{44}\Z")

    def test_refused(self) -> None:
        """What no profile may be is refused with the member's name."""
        for changes, words in (
            ({"colour": "red"}, "colour"),
            ({"max_ttl_seconds": "long"}, "max_ttl_seconds"),
            ({"max_ttl_seconds": 0}, "max_ttl_seconds"),
            ({"id": "nameless"}, "id"),
            ({"acme_auth_mode": "maybe"}, "acme_auth_mode"),
            ({"issuer_id": "iss-none"}, "iss-none"),
            ({"policy": {"challenge": {"caa": "yes"}}}, "caa"),
            ({"name": "a\0b"}, "NUL"),
        ):
            response = self.call("POST", "profiles", {**WALKTHROUGH, **changes})
            self.assertRefused(response, 400, "invalid_request", words)
        self.assertEqual(self.bench.value("SELECT count(*) FROM certificate_profiles"), 1)

    def test_taken(self) -> None:
        """An id is given once."""
        self.ok("POST", "profiles", WALKTHROUGH, status=201)
        self.assertRefused(self.call("POST", "profiles", WALKTHROUGH), 409, "conflict", "prof-test")

    def test_merge_patch(self) -> None:
        """A patch changes what it names, in the policy too, and null removes a member (RFC 7396)."""
        policy = {"names": {"allow": ["*.corp.example"], "deny": ["x.corp.example"]}}
        self.ok("POST", "profiles", {**WALKTHROUGH, "policy": policy}, status=201)
        changed = self.ok("PATCH", "profiles/prof-test", {"policy": {"names": {"deny": None}}})
        self.assertEqual(changed["policy"], {"names": {"allow": ["*.corp.example"]}})
        self.assertEqual((changed["name"], changed["version"]), ("ACME test", 2))

    def test_lost_update(self) -> None:
        """Who changes what somebody else has changed meanwhile is told so."""
        self.ok("POST", "profiles", WALKTHROUGH, status=201)
        etag = self.call("GET", "profiles/prof-test").one("ETag")
        self.ok("PATCH", "profiles/prof-test", {"name": "first"}, If_Match=etag)
        late = self.call("PATCH", "profiles/prof-test", {"name": "second"}, If_Match=etag)
        self.assertRefused(late, 412, "precondition_failed", "read it again")
        self.assertEqual(self.ok("GET", "profiles/prof-test")["name"], "first")

    def test_replace(self) -> None:
        """PUT puts back to their defaults what it does not name; the id stays."""
        self.ok("POST", "profiles", {**WALKTHROUGH, "description": "long"}, status=201)
        asked = {"name": "new", "issuer_id": ISSUER, "max_ttl_seconds": 3600}
        replaced = self.ok("PUT", "profiles/prof-test", asked)
        self.assertEqual((replaced["id"], replaced["description"]), ("prof-test", ""))

    def test_delete(self) -> None:
        """A profile on which nothing hangs goes; one with accounts stays, unless it is archived."""
        self.ok("POST", "profiles", WALKTHROUGH, status=201)
        self.ok("DELETE", "profiles/prof-test", status=204)
        self.assertRefused(self.call("GET", "profiles/prof-test"), 404, "not_found", "prof-test")
        self.ok("POST", "profiles", WALKTHROUGH, status=201)
        self.bench.account("prof-test")
        self.assertRefused(self.call("DELETE", "profiles/prof-test"), 409, "conflict", "archive")
        archived = self.ok("DELETE", "profiles/prof-test?archive=true")
        self.assertTrue(archived["enabled"])  # certificates of before can be read and revoked
        self.assertTrue(archived["archived_at"])
        self.assertEqual(self.ok("GET", "profiles?archived=true")["total"], 1)

    def test_list(self) -> None:
        """A list is filtered and comes in pages."""
        for number in range(5):
            mode = "challenge" if number % 2 else "trust_authenticated"
            self.ok(
                "POST",
                "profiles",
                {**WALKTHROUGH, "id": f"prof-{number}", "acme_auth_mode": mode},
                status=201,
            )
        found = self.ok("GET", "profiles?acme_auth_mode=challenge&per_page=1&page=2")
        self.assertEqual([each["id"] for each in found["data"]], ["prof-3"])
        self.assertEqual((found["total"], found["page"], found["per_page"]), (2, 2, 1))

    def test_roles(self) -> None:
        """An operator looks at profiles and does not change them."""
        self.ok("GET", "profiles", key="worker-key")
        self.assertRefused(
            self.call("POST", "profiles", WALKTHROUGH, key="worker-key"), 403, "forbidden", "admin"
        )

    def test_dated(self) -> None:
        """A profile says when it was made and changed last."""
        made = self.ok("POST", "profiles", WALKTHROUGH, status=201)
        self.bench.pass_by(hours=1)
        changed = self.ok("PATCH", "profiles/prof-test", {"name": "new"})
        self.assertEqual(changed["created_at"], made["updated_at"])
        self.assertGreater(changed["updated_at"], changed["created_at"])

    def test_warnings(self) -> None:
        """A profile that lets everybody have every name is made, and never silently."""
        (warning,) = self.ok("POST", "profiles", WALKTHROUGH, status=201)["warnings"]
        self.assertIn("prof-test lets every account have every name", warning)
        narrowed = self.ok(
            "PATCH", "profiles/prof-test", {"policy": {"names": {"allow": ["*.corp.example"]}}}
        )
        self.assertEqual(narrowed["warnings"], [])
        listed = {each["id"]: len(each["warnings"]) for each in self.ok("GET", "profiles")["data"]}
        self.assertEqual(listed, {"prof-default": 1, "prof-test": 0})

    def test_policy_refused(self) -> None:
        """A policy that cannot be read is written by nobody, whichever way it comes."""
        self.ok("POST", "profiles", WALKTHROUGH, status=201)
        for policy, words in (
            ({"colour": "red"}, "policy.colour"),
            ({"key_algorithms": ["rsa-1024"]}, "policy.key_algorithms[0]"),
            ({"default_ttl_seconds": 7776001}, "policy.default_ttl_seconds"),
            ({"challenge": {"caa": "yes"}}, "policy.challenge"),
        ):
            for method, path in (("POST", ""), ("PUT", "/prof-test"), ("PATCH", "/prof-test")):
                body = (
                    {"policy": policy}
                    if method == "PATCH"
                    else {**WALKTHROUGH, "id": "prof-2", "policy": policy}
                )
                response = self.call(method, f"profiles{path}", body)
                self.assertRefused(response, 400, "invalid_request", words)

    def test_name_policy_asked_for(self) -> None:
        """Where the settings ask for a name policy, no profile is written without one."""
        self.bench = self.served(acme_server_require_name_policy="true")
        self.assertRefused(self.call("POST", "profiles", WALKTHROUGH), 400, "invalid_request", "name policy")
        allowed = {**WALKTHROUGH, "policy": {"names": {"allow": ["*.corp.example"]}}}
        self.ok("POST", "profiles", allowed, status=201)
        asked = {"identifiers": [{"type": "dns", "value": "a.example"}]}
        (told,) = self.ok("POST", "profiles/prof-default/check", asked)["data"]
        self.assertFalse(told["allowed"])
        self.assertIn("REQUIRE_NAME_POLICY", told["rule"])
        opened = self.call("PATCH", "profiles/prof-test", {"policy": {"names": None}})
        self.assertRefused(opened, 400, "invalid_request", "name policy")

    def test_check(self) -> None:
        """A profile says of names whether it allows them, and why."""
        policy = {"names": {"allow": ["*.corp.example", "192.0.2.0/24"]}}
        self.ok("POST", "profiles", {**WALKTHROUGH, "policy": policy}, status=201)
        names = [("dns", "a.corp.example"), ("dns", "a.example"), ("ip", "192.0.2.1"), ("dns", "a b")]
        asked = {"identifiers": [{"type": type, "value": value} for type, value in names]}
        found = self.ok("POST", "profiles/prof-test/check", asked)["data"]
        self.assertEqual([each["allowed"] for each in found], [True, False, True, False])
        self.assertEqual([each["identifier"] for each in found], asked["identifiers"])
        self.assertIn("*.corp.example", found[0]["rule"])
        self.assertRefused(self.call("POST", "profiles/prof-none/check", asked), 404, "not_found")
        self.assertRefused(
            self.call("POST", "profiles/prof-test/check", {"identifiers": []}), 400, "invalid_request"
        )
