from __future__ import annotations

import re

from cryptography import x509

from tests.unit.cli.cases import CommandCase
from tests.unit.web.bench import ISSUER


class ProfileTests(CommandCase):
    def test_from_making_to_deleting(self) -> None:
        """What is made is listed, shown, changed and deleted."""
        made = self.told(
            "profile", "create", "--id", "prof-web", "--name", "Web", "--max-ttl", "30d", "--allow", "*.corp.example",
            "--set", "policy.max_identifiers=5",
        )  # fmt: skip
        self.assertEqual(made["max_ttl_seconds"], 30 * 86400)
        self.assertEqual(made["policy"], {"names": {"allow": ["*.corp.example"]}, "max_identifiers": 5})
        self.assertRegex(
            self.certctl("profile", "list"), r"(?m)^prof-web +Web +trust_authenticated +on +30 d +\*\.corp"
        )
        changed = self.told(
            "profile", "edit", "prof-web", "--set", "name=New", "--unset", "policy.max_identifiers"
        )
        self.assertEqual(
            (changed["name"], changed["policy"]), ("New", {"names": {"allow": ["*.corp.example"]}})
        )
        self.assertFalse(self.told("profile", "disable", "prof-web")["enabled"])
        self.assertTrue(self.told("profile", "enable", "prof-web")["enabled"])
        self.certctl("profile", "delete", "prof-web", "--yes")
        self.assertFails(5, "Not found: there is no profile 'prof-web'", "profile", "show", "prof-web")

    def test_warnings(self) -> None:
        """That a profile lets everything pass is said to who makes it, apart from the answer."""
        result = self.run_command("profile", "create", "--name", "Open")
        self.assertIn("no name policy", result.stderr)
        self.assertNotIn("no name policy", result.stdout)

    def test_deleting_asks(self) -> None:
        """Without --yes it is asked, and no means no."""
        self.assertFails(1, "Aborted", "profile", "delete", "prof-default", input="n\n")
        self.assertIn("prof-default", self.certctl("profile", "list"))

    def test_deleting_what_is_used(self) -> None:
        """A profile with accounts is not deleted, and the exit status says why; it can be archived."""
        self.bench.account()
        self.assertFails(6, "archive", "profile", "delete", "prof-default", "--yes")
        self.assertTrue(self.told("profile", "archive", "prof-default")["archived_at"])

    def test_editor(self) -> None:
        """In the editor is what can be written; what is saved takes the place of what was."""
        result = self.certctl(
            "profile", "edit", "prof-default", "--json", env={"EDITOR": "sed -i s/Default/Edited/"}
        )
        self.assertIn('"name": "Edited"', result)
        method, _, headers, body = self.http.sent[-1]
        self.assertEqual((method, headers["If-Match"]), ("PUT", '"1"'))
        self.assertNotIn(b"directory_url", body)

    def test_editor_changes_nothing(self) -> None:
        """Who leaves the editor without a change changes nothing."""
        self.assertIn(
            "stays as it is", self.certctl("profile", "edit", "prof-default", env={"EDITOR": "true"})
        )
        self.assertEqual({each[0] for each in self.http.sent}, {"GET"})

    def test_lost_update(self) -> None:
        """Who changes what somebody else changed meanwhile is told so."""
        sent = BehindTheBack(self.http, self)
        self.http = sent  # type: ignore[assignment]
        self.assertFails(
            6, "Somebody else changed it meanwhile", "profile", "edit", "prof-default", "--set", "name=x"
        )

    def test_check(self) -> None:
        """A refused name is exit status 1; the rule is named."""
        self.certctl("profile", "create", "--id", "prof-web", "--name", "Web", "--allow", "*.corp.example")
        self.assertRegex(
            self.certctl("profile", "check", "prof-web", "a.corp.example"), r"yes +a\.corp\.example"
        )
        result = self.run_command("profile", "check", "prof-web", "a.corp.example", "10.0.0.1")
        self.assertEqual(result.exit_code, 1)
        self.assertRegex(result.stdout, r"no +10\.0\.0\.1")
        self.assertIn("refuses 10.0.0.1", result.stderr)


class BehindTheBack:
    """A way to the server on which another operator is faster."""

    def __init__(self, http: object, case: CommandCase) -> None:
        self._http, self._case = http, case

    async def __call__(self, method: str, *rest: object) -> object:
        if method == "PATCH":
            self._case.ok("PATCH", "profiles/prof-default", {"name": "first"})
        return await self._http(method, *rest)  # type: ignore[operator]


class AccountTests(CommandCase):
    def test_paused(self) -> None:
        """A paused account's orders are refused until it is unpaused."""
        client = self.bench.account()
        self.certctl("account", "pause", client.id)
        self.assertRegex(self.certctl("account", "list"), rf"{client.id} +prof-default +paused")
        self.assertEqual(client.try_order("a.example").status, 403)
        self.certctl("account", "unpause", client.id)
        self.assertEqual(client.try_order("a.example").status, 201)

    def test_limits(self) -> None:
        """An account's own limits are set and taken back."""
        client = self.bench.account()
        self.assertEqual(
            self.told("account", "limits", client.id, "--orders-per-hour", "1"), {"orders_per_hour": 1}
        )
        client.order("a.example")
        self.assertProblem(client.try_order("b.example"), "rateLimited", 429)
        self.assertEqual(self.told("account", "limits", client.id, "--reset"), {})
        client.order("b.example")

    def test_deactivated(self) -> None:
        client = self.bench.account()
        self.certctl("account", "deactivate", client.id, "--yes")
        self.assertEqual(self.told("account", "show", client.id)["status"], "deactivated")
        self.assertEqual(client.try_order("a.example").status, 401)

    def test_names_unpaused(self) -> None:
        """Names are unpaused apart from the account."""
        client = self.bench.account()
        self.certctl("account", "unpause", client.id, "--name", "a.example")
        self.certctl("account", "unpause", client.id, "--all-names")


class CertificateTests(CommandCase):
    def test_found_and_shown(self) -> None:
        """Orders and certificates are found by name, and downloaded as what they are."""
        issued = self.bench.account().issue("www.corp.example")
        self.bench.account().issue("other.example")
        (order,) = self.told("order", "list", "--name", "www.corp.example")
        self.assertEqual(self.told("order", "show", order["id"])["status"], "valid")
        (found,) = self.told("cert", "list", "--name", "*.corp.example")
        self.assertEqual(found["serial"], f"{issued.chain[0].serial_number:x}")
        self.assertEqual(len(self.told("cert", "search", "--limit", "1")), 1)
        self.assertEqual(self.told("cert", "search", "*.corp.example"), [found])
        self.assertFails(2, "give one of them", "cert", "search", "a.example", "--name", "b.example")
        result = self.run_command("cert", "download", found["id"], "--format", "der")
        self.assertEqual(x509.load_der_x509_certificate(result.stdout_bytes), issued.chain[0])
        chain = x509.load_pem_x509_certificates(self.certctl("cert", "download", found["id"]).encode())
        self.assertEqual(chain, issued.chain)

    def test_revoked(self) -> None:
        """The names are in the question; what is not there is said before it is asked."""
        self.bench.account().issue("www.corp.example")
        (found,) = self.told("cert", "list")
        self.assertFails(1, "for www.corp.example (unsp", "cert", "revoke", found["id"], input="\n")
        self.assertFails(5, "there is no certificate", "cert", "revoke", "www.corp.example", input="y\n")
        self.certctl("cert", "revoke", found["id"], "--reason", "keyCompromise", "--yes")
        (revoked,) = self.told("cert", "list", "--status", "revoked")
        self.assertEqual(revoked["revocation_reason"], "keyCompromise")

    def test_many_revoked(self) -> None:
        """Which they are is shown first, and their number is to be typed."""
        client = self.bench.account()
        for number in range(3):
            client.issue(f"n{number}.corp.example")
        many = ("cert", "revoke-many", "--account", client.id)
        self.assertEqual(self.told(*many, "--dry-run")["total"], 3)
        self.assertFails(1, "Nothing was revoked", *many, input="yes\n")
        self.assertEqual(len(self.told("cert", "list", "--status", "valid")), 3)
        self.assertIn("3 certificates are revoked", self.certctl(*many, input="3\n"))
        self.assertEqual(self.told("cert", "list", "--status", "valid"), [])

    def test_all_revoked_by_no_slip(self) -> None:
        """No filter is no command to revoke everything."""
        self.assertFails(2, "choose certificates", "cert", "revoke-many", "--yes")


class KeyTests(CommandCase):
    def test_eab(self) -> None:
        """A key is shown once, with what four clients need; the lists do not have it."""
        result = self.run_command(
            "eab", "create", "prof-default", "team", "--single-use", "--expires", "300d"
        )
        self.assertEqual(result.exit_code, 0, result.output)
        mac_key = re.search(r"mac_key +(\S{86})", result.stdout)
        assert mac_key is not None
        for client in ("certbot", "lego", "Caddy", "cert-manager"):
            self.assertIn(f"# {client}", result.stdout)
        self.assertEqual(result.stdout.count(mac_key[1]), 5)
        self.assertIn("shown this once", result.stderr)
        (listed,) = self.told("eab", "list", "--status", "active")
        self.assertNotIn(mac_key[1], self.certctl("eab", "show", listed["id"], "--json"))
        self.certctl("eab", "revoke", listed["id"], "--yes")
        self.assertEqual(self.told("eab", "list", "--status", "active"), [])

    def test_api_key(self) -> None:
        """A key does what its role lets it, until it is revoked."""
        made = self.told("apikey", "create", "monitoring", "--role", "read-only")
        self.environ["CERTCTL_API_KEY"] = made["key"]
        self.certctl("profile", "list")
        self.assertFails(4, "read-only", "profile", "create", "--name", "x")
        self.environ["CERTCTL_API_KEY"] = "boss-key"
        self.certctl("apikey", "revoke", made["id"], "--yes")
        self.environ["CERTCTL_API_KEY"] = made["key"]
        self.assertFails(4, "does not know this API key", "profile", "list")


class OtherTests(CommandCase):
    def test_issuers(self) -> None:
        """Issuers are listed, and what clients must trust is the root."""
        (found,) = self.told("issuer", "list")
        self.assertEqual(found["id"], ISSUER)
        chain = x509.load_pem_x509_certificates(self.certctl("issuer", "show", ISSUER, "--pem").encode())
        root = x509.load_pem_x509_certificate(self.certctl("ca", "bundle").encode())
        chain[-1].verify_directly_issued_by(root)
        self.assertEqual(root.subject, root.issuer)

    def test_trail(self) -> None:
        """The trail is listed, the newest first, and filtered."""
        client = self.bench.account()
        self.certctl("account", "pause", client.id)
        (found,) = self.told("audit", "list", "--actor", "api-key:boss")
        self.assertEqual(found["resource_id"], client.id)
        self.assertIn(client.id, self.certctl("audit", "list", "--limit", "1"))

    def test_pages(self) -> None:
        """More than a page is fetched page by page, and no more than is asked for."""
        for number in range(7):
            self.bench.add_profile(f"prof-{number}")
        self.patch_pages(3)
        self.assertEqual(len(self.told("profile", "list")), 8)
        self.assertEqual(len(self.told("profile", "list", "--limit", "4")), 4)
        client = self.bench.account()
        for number in range(7):
            client.order(f"n{number}.example")
        self.assertEqual(len(self.told("order", "list")), 7)
        self.assertEqual(len(self.told("order", "list", "--limit", "5")), 5)

    def patch_pages(self, size: int) -> None:
        """Let a page be so short."""
        self.patch(__import__("certctl.cli.client", fromlist=["PER_PAGE"]), "PER_PAGE", size)

    def test_rate_limited(self) -> None:
        """A server that asks to wait is not asked again at once; how long to wait is said."""
        self.bench = self.served(api_requests_per_minute="1")
        self.http.bench = self.bench
        self.certctl("profile", "list")
        self.assertFails(7, "Try again in", "profile", "list")
        self.assertEqual(len(self.http.sent), 2)
