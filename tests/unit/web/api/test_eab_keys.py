from __future__ import annotations

from tests.unit.web.api.cases import ApiCase
from tests.unit.web.bench import DEFAULT, ISSUER


class EabKeyTests(ApiCase):
    def make(self, **members: object) -> dict[str, str]:
        """Make a key as an operator."""
        asked = {"profile_id": DEFAULT, "name": "team one", **members}
        return dict(self.ok("POST", "eab-keys", asked, status=201, key="worker-key"))

    def test_life(self) -> None:
        """A key shows its MAC key once, is listed, and revoked."""
        made = self.make(single_use=True, expires_at="2026-06-01T00:00:00Z")
        self.assertRegex(made["mac_key"], r"\A[A-Za-z0-9_-]{86}\Z")
        shown = self.ok("GET", f"eab-keys/{made['id']}")
        self.assertEqual({**shown, "mac_key": made["mac_key"]}, made)
        self.assertEqual((shown["status"], shown["created_by"]), ("active", "api-key:worker"))
        self.ok("DELETE", f"eab-keys/{made['id']}", status=204, key="worker-key")
        self.assertEqual(self.ok("GET", f"eab-keys?profile_id={DEFAULT}&status=revoked")["total"], 1)
        self.assertEqual(self.ok("GET", "eab-keys?status=active")["data"], [])
        self.assertIn(("api-key:worker", "eab_key_revoked"), self.actions())
        self.ok("DELETE", f"eab-keys/{made['id']}", status=204)

    def test_refused(self) -> None:
        """What no key may be is refused."""
        for members, status, words in (
            ({"profile_id": "prof-none"}, 404, "prof-none"),
            ({"name": ""}, 400, "name"),
            ({"expires_at": "2020-01-01T00:00:00Z"}, 400, "expires_at"),
            ({"expires_at": "9999-12-31T23:59:59-14:00"}, 400, "range"),
            ({"policy": {"colour": "red"}}, 400, "policy"),
            ({"colour": "red"}, 400, "colour"),
        ):
            body = {"profile_id": DEFAULT, "name": "x", **members}
            response = self.call("POST", "eab-keys", body)
            error = {404: "not_found", 400: "invalid_request"}[status]
            self.assertRefused(response, status, error, words)
        self.assertRefused(self.call("DELETE", "eab-keys/x"), 404, "not_found")
        self.assertRefused(self.call("GET", "eab-keys/x"), 404, "not_found")


class IssuerTests(ApiCase):
    def test_issuers(self) -> None:
        """An issuer is shown with its certificates, and without its key."""
        (listed,) = self.ok("GET", "issuers")["data"]
        shown = self.ok("GET", f"issuers/{ISSUER}")
        self.assertEqual(listed, shown)
        self.assertEqual(shown["subject"], "CN=bench issuing CA")
        self.assertTrue(shown["certificate"].startswith("-----BEGIN CERTIFICATE-----"))
        self.assertTrue(shown["root"].startswith("-----BEGIN CERTIFICATE-----"))
        self.assertNotIn("PRIVATE", str(shown))
        self.assertRefused(self.call("GET", "issuers/x"), 404, "not_found")
