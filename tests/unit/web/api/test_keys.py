from __future__ import annotations

from tests.unit.web.api.cases import ApiCase


class KeyTests(ApiCase):
    def test_life(self) -> None:
        """A key is shown once, opens what its role allows, and nothing once it is revoked."""
        made = self.ok("POST", "keys", {"name": "ci", "role": "read-only"}, status=201)
        key = made["key"]
        self.ok("GET", "profiles", key=key)
        self.assertRefused(self.call("GET", "keys", key=key), 403, "forbidden")
        listed = self.ok("GET", "keys")
        self.assertNotIn(key, str(listed))
        self.assertNotIn("key", listed["data"][0])
        self.ok("DELETE", f"keys/{made['id']}", status=204)
        self.assertRefused(self.call("GET", "profiles", key=key), 401, "unauthorized")
        self.assertRefused(self.call("DELETE", f"keys/{made['id']}"), 409, "conflict", "before")

    def test_kept_as_digest(self) -> None:
        """Neither the key table nor the trail has the key."""
        key = self.ok("POST", "keys", {"name": "ci", "role": "admin"}, status=201)["key"]
        for table in ("api_keys", "audit_events"):
            self.assertNotIn(key, str(self.bench.rows(f"SELECT * FROM {table}")))

    def test_rotation(self) -> None:
        """Two good keys of one name may stand side by side, and not three."""
        first = self.ok("POST", "keys", {"name": "ci", "role": "admin"}, status=201)
        second = self.ok("POST", "keys", {"name": "ci", "role": "admin"}, status=201)
        for each in (first, second):
            self.ok("GET", "profiles", key=each["key"])
        third = self.call("POST", "keys", {"name": "ci", "role": "admin"})
        self.assertRefused(third, 409, "conflict", "revoke one")
        self.ok("DELETE", f"keys/{first['id']}", status=204)
        self.ok("POST", "keys", {"name": "ci", "role": "admin"}, status=201)

    def test_expiry(self) -> None:
        """A key ends at its time."""
        asked = {"name": "ci", "role": "admin", "expires_at": "2026-05-17T13:00:00Z"}
        key = self.ok("POST", "keys", asked, status=201)["key"]
        self.ok("GET", "profiles", key=key)
        self.bench.pass_by(hours=2)
        self.assertRefused(self.call("GET", "profiles", key=key), 401, "unauthorized")
        self.assertRefused(self.call("POST", "keys", asked), 400, "invalid_request", "expires_at")

    def test_any_offset(self) -> None:
        """A time of whatever offset is kept in UTC: PostgreSQL refuses offsets beyond 15:59."""
        asked = {"name": "ci", "role": "admin", "expires_at": "2035-01-01T00:00:00+23:59"}
        self.assertEqual(self.ok("POST", "keys", asked, status=201)["expires_at"], "2034-12-31T00:01:00Z")

    def test_name_of_the_settings(self) -> None:
        """The trail names one holder by one name."""
        self.assertRefused(self.call("POST", "keys", {"name": "boss", "role": "admin"}), 409, "conflict")
