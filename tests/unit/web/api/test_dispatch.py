from __future__ import annotations

from certctl.web.api.table import OPERATIONS
from tests.unit.web.api.cases import ApiCase


class AdmissionTests(ApiCase):
    def test_no_key(self) -> None:
        """Who sends no good key is told how to (RFC 6750 section 3)."""
        for key in ("", "wrong", "boss-ke", "boss-key2"):
            response = self.call("GET", "profiles", key=key)
            self.assertRefused(response, 401, "unauthorized")
            self.assertEqual(response.one("WWW-Authenticate"), 'Bearer realm="certctl"')
        basic = self.call("GET", "profiles", Authorization="Basic Ym9zczpib3NzLWtleQ==")
        self.assertRefused(basic, 401, "unauthorized")

    def test_guessing(self) -> None:
        """An address that sends wrong keys has to wait, with good ones too; after a while it may ask again."""
        for _ in range(30):
            self.assertEqual(self.call("GET", "profiles", key="wrong").status, 401)
        response = self.call("GET", "profiles")
        self.assertRefused(response, 429, "rate_limited")
        self.assertGreater(int(response.one("Retry-After")), 0)
        self.bench.pass_by(seconds=60)
        self.ok("GET", "profiles")

    def test_too_many(self) -> None:
        """A key has its number of requests a minute."""
        self.bench = self.served(api_requests_per_minute="3")
        for _ in range(3):
            self.ok("GET", "profiles")
        self.assertRefused(self.call("GET", "profiles"), 429, "rate_limited", "3 are allowed")
        self.ok("GET", "profiles", key="worker-key")

    def test_off(self) -> None:
        """With CERTCTL_AUTH_TYPE=none there is no API."""
        self.bench = self.served(auth_type="none")
        self.assertEqual(self.call("GET", "profiles").status, 404)

    def test_strangers(self) -> None:
        """What is no operation is refused in the API's own form."""
        self.assertRefused(self.call("GET", "nothing"), 404, "not_found")
        response = self.call("DELETE", "profiles")
        self.assertRefused(response, 405, "method_not_allowed")
        self.assertIn("GET", response.one("Allow"))

    def test_allowed(self) -> None:
        """A method that a path does not know is answered with those that it is described with, and no others."""
        methods: dict[str, set[str]] = {}
        for operation in OPERATIONS:
            methods.setdefault(operation.path, set()).add(operation.method)
        for path, known in methods.items():
            response = self.call("OPTIONS", path.replace("<id>", "x").replace("<sha256>", "x"))
            self.assertRefused(response, 405, "method_not_allowed")
            allowed = set(response.one("Allow").split(", "))
            self.assertEqual(allowed, known | ({"HEAD"} if "GET" in known else set()), path)

    def test_bodies(self) -> None:
        """A body that is not what the operation takes is refused, and never a 500."""
        json = {"Content_Type": "application/json", "Authorization": "Bearer boss-key"}
        for body in (
            b"",
            b"{",
            b"[]",
            b"null",
            b'"x"',
            b"\xff",
            b'{"name":' + b"[" * 20000,
            b'{"name":"\\ud800"}',
        ):
            headers = {name.replace("_", "-"): value for name, value in json.items()}
            response = self.bench.request("POST", "/api/profiles", body, headers)
            self.assertRefused(response, 400, "invalid_request")
        self.assertRefused(
            self.call("POST", "profiles", {}, Content_Type="text/plain"), 415, "unsupported_media_type"
        )
        self.assertRefused(self.call("POST", "profiles", {"name": "x" * 70000}), 413, "too_large")
        self.assertRefused(self.call("GET", "profiles", {"a": 1}), 400, "invalid_request", "no body")

    def test_queries(self) -> None:
        """A query that is not what the operation takes is refused, with the member's name."""
        for query, words in (
            ("colour=red", "colour"),
            ("page=0", "page"),
            ("page=x", "page"),
            ("page=1&page=2", "page"),
        ):
            self.assertRefused(self.call("GET", f"profiles?{query}"), 400, "invalid_request", words)
        for query in ("issuer_id=%00", "issuer_id=%ff", "%ff=1"):
            self.assertRefused(self.call("GET", f"profiles?{query}"), 400, "invalid_request")

    def test_both_prefixes(self) -> None:
        """/api/v1 answers the same."""
        self.assertEqual(self.call("GET", "profiles").body, self.call("GET", "v1/profiles").body)

    def test_description(self) -> None:
        """The OpenAPI document names every operation, and needs no key, as the page for people."""
        document = self.ok("GET", "openapi.json", key="")
        self.assertEqual(document["openapi"], "3.1.0")
        self.assertIn("post", document["paths"]["/profiles"])
        page = self.call("GET", "", key="")
        self.assertIn(b"/api/profiles", page.body)
        self.assertIn("default-src 'none'", page.one("Content-Security-Policy"))
