"""What is so of every operation."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from twisted.logger import capturedLogs

from certctl.authority.operators import Role
from certctl.web.api.call import Nothing
from certctl.web.api.table import OPERATIONS, Operation
from tests.unit.web.api.cases import ApiCase
from tests.unit.web.bench import DEFAULT

HOSTILE = (
    "' OR 1=1 --",
    "%",
    "_",
    "\u202e",
    "\ud7ff",
    "a" * 4000,
    "\r\nX: y",
    "{{7*7}}",
    "\x7f",
    "../..",
    "",
)


def path(operation: Operation, id: str = "x") -> str:
    return operation.path.replace("<id>", id)


class EveryOperationTests(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.keys = {
            role: self.ok("POST", "keys", {"name": f"{role}-key", "role": role}, status=201)["key"]
            for role in ("read-only", "operator", "admin")
        }

    def ask(self, operation: Operation, key: str, query: str = "", body: Any = None) -> Any:
        """Send a request to an operation, about something that is not there."""
        sent = body if body is not None else None if operation.body is Nothing else {}
        return self.call(operation.method, path(operation) + query, sent, key=key)

    def test_roles(self) -> None:
        """Each operation is for its role and those above it, and for nobody without a key."""
        for operation in OPERATIONS:
            self.assertRefused(self.ask(operation, "wrong"), 401, "unauthorized")
            self.bench.pass_by(seconds=10)  # or the address would have to wait
            for role, key in self.keys.items():
                refused = self.ask(operation, key).status == 403
                allowed = Role(role).includes(operation.role)
                self.assertEqual(refused, not allowed, f"{operation.name} as {role}")

    def test_reading_is_for_readers(self) -> None:
        """Who may only read changes nothing; API keys are for admins alone."""
        for operation in OPERATIONS:
            if operation.path.startswith("keys"):
                self.assertIs(operation.role, Role.ADMIN)
            elif operation.method != "GET" and operation.name != "check_names":
                self.assertIsNot(operation.role, Role.READ_ONLY, operation.name)

    def test_unknown_members(self) -> None:
        """A member that there is not is refused by its name, in the query and in the body."""
        for operation in OPERATIONS:
            response = self.ask(operation, "boss-key", "?colour=red")
            self.assertRefused(response, 400, "invalid_request", "colour")
            if operation.body is not Nothing:
                response = self.ask(operation, "boss-key", body={"colour": "red"})
                self.assertRefused(response, 400, "invalid_request")

    def test_other_types(self) -> None:
        """A body of another type is refused, and one of another media type."""
        for operation in OPERATIONS:
            if operation.body is Nothing:
                self.assertRefused(self.ask(operation, "boss-key", body={"a": 1}), 400, "invalid_request")
                continue
            bodies: list[Any] = [[], 1, "x", [None], True]
            for body in bodies:
                response = self.call(operation.method, path(operation), body)
                self.assertRefused(response, 400, "invalid_request")
            form = self.call(
                operation.method, path(operation), {}, Content_Type="application/x-www-form-urlencoded"
            )
            self.assertRefused(form, 415, "unsupported_media_type", "-H 'Content-Type: application/json'")

    def test_hostile_texts(self) -> None:
        """No text in a query, a path or a body is more than text."""
        for operation in OPERATIONS:
            for text in HOSTILE:
                members = getattr(operation.query, "__struct_fields__", ())
                for member in members:
                    asked = f"?{member}={quote(text)}"
                    status = self.ask(operation, "boss-key", asked).status
                    self.assertIn(status, (200, 204, 400, 404), f"{operation.name}{asked}")
                for member in getattr(operation.body, "__struct_fields__", ()):
                    status = self.ask(operation, "boss-key", body={member: text}).status
                    self.assertIn(status, (200, 201, 204, 400, 404, 409), f"{operation.name} {member}")
                if operation.variables and "/" not in text and text:
                    url = path(operation, quote(text))
                    self.assertEqual(self.call("GET", url).status in (200, 404, 405), True, url)

    def test_documented(self) -> None:
        """Each operation has words for people, a role, and its place in the document."""
        document = self.ok("GET", "openapi.json", key="")
        for operation in OPERATIONS:
            described = document["paths"]["/" + operation.path.replace("<", "{").replace(">", "}")]
            self.assertTrue(described[operation.method.lower()]["summary"], operation.name)

    def test_versions(self) -> None:
        """If-Match is documented where it is obeyed, and there an ETag comes with the answer."""
        paths = self.ok("GET", "openapi.json", key="")["paths"]
        told = {
            path
            for path, methods in paths.items()
            for described in methods.values()
            if any(each["name"] == "If-Match" for each in described["parameters"])
        }
        self.assertEqual(told, {"/profiles/{id}", "/accounts/{id}"})
        account = self.bench.account()
        for each in ("profiles/prof-default", f"accounts/{account.id}"):
            self.assertTrue(self.call("GET", each).has("ETag"))
            if each.startswith("profiles"):
                changes: dict[str, Any] = {"name": "x"}
            else:
                changes = {"paused": True}
            response = self.call("PATCH", each, changes, If_Match='"other"')
            self.assertRefused(response, 412, "precondition_failed")


class SecretTests(ApiCase):
    def test_nowhere(self) -> None:
        """After keys were made no answer, no metric, no line of the log and no row of the trail has their secrets."""
        with capturedLogs() as logged:
            secrets, seen = self._make_and_look()
        for secret in (*secrets, "boss-key", "worker-key"):
            self.assertEqual([each[:200] for each in (*seen, str(logged)) if secret in each], [], "a secret")

    def _make_and_look(self) -> tuple[list[str], list[str]]:
        """Make keys; return their secrets, and all that can be seen afterwards."""
        api_key = self.ok("POST", "keys", {"name": "ci", "role": "admin"}, status=201)["key"]
        asked = {"profile_id": DEFAULT, "name": "team"}
        mac_key = self.ok("POST", "eab-keys", asked, status=201)["mac_key"]
        client = self.bench.account()
        client.issue("a.example")
        seen = [str(self.bench.get("/metrics").body), str(self.bench.rows("SELECT * FROM audit_events"))]
        for operation in OPERATIONS:
            if operation.method != "GET":
                continue
            listed = self.call("GET", operation.path.partition("/<id>")[0])
            seen.append(listed.body.decode())
            if operation.variables and isinstance(listed.json.get("data"), list):
                for each in listed.json["data"]:
                    seen.append(self.call("GET", path(operation, str(each["id"]))).body.decode("latin-1"))
        self.assertGreater(len(seen), 25)
        return [api_key, mac_key], seen
