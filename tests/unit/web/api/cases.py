"""The REST API on the bench."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.web.bench import Bench, BenchCase
from tests.unit.web.wire import Response

KEYS = "boss:boss-key:admin,worker:worker-key"


class ApiCase(BenchCase):
    """A server with two API keys of its settings, an admin's and an operator's."""

    def served(self, **settings: str) -> Bench:
        return super().served(**{"api_keys_named": KEYS, "api_requests_per_minute": "0", **settings})

    def call(
        self, method: str, path: str, body: Any = None, *, key: str = "boss-key", **headers: str
    ) -> Response:
        """Send a request to the API."""
        sent = {"Authorization": f"Bearer {key}"} if key else {}
        content = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.bench.request(method, f"/api/{path}", content, sent)

    def ok(self, method: str, path: str, body: Any = None, *, status: int = 200, **rest: Any) -> Any:
        """Send a request that must succeed, and return its document."""
        response = self.call(method, path, body, **rest)
        self.assertEqual(response.status, status, response.body)
        return response.json if response.body else None

    def assertRefused(self, response: Response, status: int, error: str, words: str = "") -> None:
        """Check the envelope of a refusal."""
        self.assertEqual(response.status, status, response.body)
        self.assertEqual(set(response.json), {"error", "message", "request_id"})
        self.assertEqual(response.json["error"], error)
        self.assertIn(words, response.json["message"])

    def actions(self) -> list[tuple[str, str]]:
        """Who did what, by the trail."""
        return [
            (row[0], row[1]) for row in self.bench.rows("SELECT actor, action FROM audit_events ORDER BY id")
        ]
