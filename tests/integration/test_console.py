"""The console as a person meets it: in a browser, beside real clients and tools.

With CERTCTL_SCREENSHOTS naming a directory, a picture of each page at three widths, light and dark, is left there, and
those that docs/images/ has.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from selenium.webdriver.common.keys import Keys

from tests.integration.acme import Refused, Session
from tests.integration.browser import Browser
from tests.integration.challenge_bench import Resolver
from tests.integration.server import HOST, PROGRAMS, ServerTestCase, free_port, run

ADMIN = "admin-key-of-the-tests"
SCRIPT = "<script>window.hurt = true</script>"
WIDTHS = (360, 1280, 2560)
SCHEMES = ("light", "dark")
JUDGED = ((360, "light"), (1280, "dark"))  # colours are by scheme, sizes by width: two of the six tell all
PICTURES = os.environ.get("CERTCTL_SCREENSHOTS", "")
SHOWN = (  # in docs/console.md
    ("overview", 1280, "light"),
    ("order", 1280, "dark"),
    ("profile", 1280, "light"),
    ("certificates", 360, "dark"),
    ("renewal", 1280, "light"),
    ("audit", 1280, "light"),
)
HTTP_PORT = "CERTCTL_ACME_SERVER_HTTP01_PORT"
WEB = {
    "id": "prof-web",
    "name": "Web servers",
    "description": "Names inside the company, proved by http-01",
    "issuer_id": "iss-internal-ca",
    "max_ttl_seconds": 7776000,
    "acme_auth_mode": "challenge",
    "policy": {"names": {"allow": ["*.corp.internal"], "deny": ["vault.corp.internal"]}},
}


class ConsoleCase(ServerTestCase):
    """A server, and a browser at its console."""

    def setUp(self) -> None:
        self.pki_port = free_port()
        resolver = Resolver(self.path())
        self.addCleanup(resolver.stop)
        self.server = self.serve(
            {
                "CERTCTL_API_KEYS_NAMED": f"admin:{ADMIN}:admin",
                "CERTCTL_API_REQUESTS_PER_MINUTE": "0",
                "CERTCTL_PKI_URL": f"http://{HOST}:{self.pki_port}",
                "CERTCTL_PKI_HTTP_PORT": str(self.pki_port),
                "CERTCTL_ACME_SERVER_DNS01_RESOLVER": resolver.address,
                "CERTCTL_ACME_SERVER_EGRESS_ALLOW": "127.0.0.0/8",
                "CERTCTL_ACME_SERVER_GC_INTERVAL": "1s",
                "CERTCTL_AUDIT_CHAIN_INTERVAL": "1s",
                HTTP_PORT: str(free_port()),  # where nobody listens
            }
        )
        self.browser = Browser(self.server.url)
        self.addCleanup(self.browser.close)

    def ask(self, method: str, path: str, body: object = None) -> dict[str, object]:
        """Ask the API."""
        connection = self.server.connect()
        headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"}
        connection.request(method, f"/api/{path}", None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        self.assertLess(answer.status, 300, found)
        return dict(json.loads(found)) if found else {}

    def client(self, profile: str = "prof-default", **account: object) -> Session:
        """A client with an account under a profile."""
        session = Session(self.server)
        base = f"{self.server.url}/acme/profile/{profile}/"
        session.url = lambda name: name if name.startswith("https:") else base + name  # type: ignore[method-assign]
        members = {"termsOfServiceAgreed": True, **account}
        session.kid = session.post("new-account", members).location
        return session

    def begin_to_fail(self, name: str) -> Callable[[], None]:
        """Begin an order that will fail, as nobody listens where it is validated; return what waits for that."""
        client = self.client("prof-web", contact=["mailto:web-team@corp.example"])
        order = client.order(name)
        found = client.post(order.json["authorizations"][0], None).json["challenges"]
        client.post(next(each["url"] for each in found if each["type"] == "http-01"), {})

        def failed() -> None:
            deadline = time.monotonic() + 60
            while client.post(order.location, None).json["status"] != "invalid":
                self.assertLess(time.monotonic(), deadline, "the order does not fail")
                time.sleep(0.5)

        return failed

    def calm(self) -> None:
        """Check that the browser had nothing to complain of."""
        self.assertEqual(self.browser.complaints(), [])


class FirstDayTests(ConsoleCase):
    def test_from_sign_in_to_revocation(self) -> None:
        """An operator signs in with the first key and makes the walkthrough's profile by hand; lego, by the command on
        the profile's page, gets a certificate; it is found, revoked, and OCSP says so.
        """
        browser = self.browser
        browser.sign_in((self.server.state / "api-key").read_text().strip())
        browser.wait_for("No certificate was issued in these days")
        browser.go("new-profile")
        browser.fill(id="prof-test", name="ACME test", max_ttl="90d", names_allow="*.corp.example")
        browser.choose("acme_auth_mode", "trust_authenticated")
        browser.press("Make the profile")
        browser.wait_for("The profile is made.")
        row = self.server.rows(
            "SELECT name, issuer_id, max_ttl_seconds, acme_auth_mode FROM certificate_profiles WHERE id = 'prof-test'"
        )
        self.assertEqual(row, [("ACME test", "iss-internal-ca", 7776000, "trust_authenticated")])
        self._issue_by_lego()
        browser.go("certificates?name=host.corp.example")
        browser.press("host.corp.example")
        browser.wait_for("CN=certctl root CA")
        self._revoke()
        self.calm()

    def _issue_by_lego(self) -> None:
        """Run lego as the page says, with the root that the page gives."""
        snippets = self.browser.run(
            "return [...document.querySelectorAll('pre')].map((each) => each.textContent)"
        )
        (command,) = [each for each in snippets if each.startswith("LEGO_CA_CERTIFICATES=")]
        home = self.path()
        href = self.browser.find("a[href$='root-ca.pem']").get_attribute("href")
        script = "const done = arguments[1]; fetch(arguments[0]).then((a) => a.text()).then(done)"
        root = self.browser.driver.execute_async_script(script, href)
        (home / "root-ca.pem").write_text(root)
        ran = run("bash", "-c", command, cwd=home, env={"HOME": str(home)}).must_succeed()
        self.assertIn("Server responded with a certificate", ran.output)

    def _revoke(self) -> None:
        """Revoke the certificate that the page shows; the button waits for the word."""
        browser = self.browser
        serial = browser.find("#serial").text
        button = browser.find("button[data-guarded]")
        self.assertFalse(button.is_enabled())
        browser.choose("reason", "keyCompromise")
        browser.fill(word=serial[-6:])
        self.assertTrue(button.is_enabled())
        browser.press("Revoke this certificate")
        browser.wait_for("The certificate is revoked.")
        pem = browser.run("return document.getElementById('pem').textContent")
        home = self.path()
        (home / "leaf.pem").write_text(pem)
        der = urlopen(f"http://{HOST}:{self.pki_port}/pki/iss-internal-ca/ca", timeout=20).read()
        issuer = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
        (home / "issuer.pem").write_bytes(issuer)
        ran = run(
            *("openssl", "ocsp", "-issuer", home / "issuer.pem", "-cert", home / "leaf.pem"),
            *("-url", f"http://{HOST}:{self.pki_port}/pki/iss-internal-ca/ocsp"),
            *("-CAfile", self.server.root, "-verify_other", home / "issuer.pem"),
        ).must_succeed()
        self.assertIn("leaf.pem: revoked", ran.output)
        self.assertIn("keyCompromise", ran.output)


class FailureTests(ConsoleCase):
    def test_found_and_understood(self) -> None:
        """From the first page to the order that failed: what was dialled, each try, and what to do."""
        self.ask("POST", "profiles", WEB)
        self.begin_to_fail("www.corp.internal")()
        browser = self.browser
        browser.sign_in(ADMIN)
        browser.press("www.corp.internal")
        said = browser.text
        self.assertIn("It failed: could not connect", said)
        self.assertIn("Nothing listens there.", said)
        self.assertEqual(said.count("failed, and is tried again"), 3)
        self.assertIn("127.0.0.1", said)
        self.assertIn("connection refused", said)
        self.calm()


class MassRenewalTests(ConsoleCase):
    def test_watched_to_its_end(self) -> None:
        """An operator plans a mass renewal, starts it by its number, sees clients come, and ends it."""
        client, browser = self.client(), self.browser
        client.certificate("a.corp.example")
        client.certificate("b.corp.example")
        browser.sign_in(ADMIN)
        browser.go("renewals")
        browser.fill(name="key lost", due_in="2h", explanation="The key was lost.")
        browser.choose("profile_id", "prof-default")
        browser.press("Say whom it would ask")
        self.assertIn("2 certificates of 1 account would be renewed", browser.text)
        browser.fill(word="2")
        browser.press("Start it")
        browser.wait_for("0 of 2 done")
        client.certificate("a.corp.example")
        browser.wait_for("1 of 2 done")
        browser.choose("revoke", "waiting")
        browser.press("Finish")
        browser.wait_for("1 certificate would be revoked.")
        browser.fill(word="1")
        browser.press("Finish and revoke")
        browser.wait_for("It is finished.")
        row = "SELECT count(*) FROM certificate_versions WHERE revoked_at IS NOT NULL"
        self.assertEqual(self.server.rows(row), [(1,)])
        self.calm()


class RotationTests(ConsoleCase):
    def test_from_one_to_the_next(self) -> None:
        """An admin has a key made, its request certified by the root, and one issuer takes the other's place."""
        browser, home = self.browser, self.path()
        browser.sign_in(ADMIN)
        browser.go("issuers")
        browser.fill(id="iss-next", common_name="Next issuing CA")
        browser.press("Make the key and the request")
        browser.wait_for("iss-next waits for its certificate")
        (home / "request.pem").write_text(browser.run("return document.getElementById('csr-1').textContent"))
        command = (PROGRAMS / "certctl", "ca", "sign", "request.pem", "--output", "chain.pem")
        run(*command, "--directory", self.server.state, cwd=home).must_succeed()
        browser.fill(certificates=(home / "chain.pem").read_text())
        browser.press("Install it")
        browser.wait_for("The issuer is there.")
        browser.go("issuers/iss-internal-ca")
        browser.press("Switch")
        browser.wait_for("The switch is set.")
        self.assertEqual(self.ask("GET", "profiles/prof-default")["issuer_id"], "iss-next")
        chain = x509.load_pem_x509_certificates(self.client().certificate("a.corp.example"))
        self.assertEqual(chain[0].issuer.rfc4514_string(), "CN=Next issuing CA")
        browser.run("document.querySelector('#rotation details').open = true")
        browser.fill(word="iss-internal-ca")
        browser.press("Retire this issuer")
        browser.wait_for("The issuer is retired")
        self.assertIsNotNone(self.ask("GET", "issuers/iss-internal-ca")["retired_at"])
        self.calm()


class GuardTests(ConsoleCase):
    def test_reader(self) -> None:
        """A read-only key sees no button that it may not press, and what it forges is refused."""
        self.client().certificate("a.corp.example")
        key = self.ask("POST", "keys", {"name": "reader", "role": "read-only"})
        browser = self.browser
        browser.sign_in(str(key["key"]))
        browser.go("certificates")
        browser.press("a.corp.example")
        for path in (browser.path.removeprefix("/console/"), "profiles/prof-default", "accounts", "eab-keys"):
            browser.go(path)
            forms = [each.get_attribute("action") for each in browser.all("form[method=post]")]
            self.assertEqual(forms, [f"{self.server.url}/console/sign-out"], path)
        status = browser.driver.execute_async_script(
            """const [done] = arguments; const csrf = document.querySelector("[name=csrf]").value;
            fetch("/console/profiles/prof-default/remove", {method: "POST", body:
              new URLSearchParams({csrf, version: "1", how: "archive"})}).then((a) => done(a.status));"""
        )
        self.assertEqual(status, 403)
        self.assertIsNone(self.ask("GET", "profiles/prof-default")["archived_at"])

    def test_forged_token(self) -> None:
        """A form whose token is not the session's changes nothing, and says so."""
        browser = self.browser
        browser.sign_in(ADMIN)
        browser.go("profiles/prof-default")
        browser.run("document.querySelector('#remove [name=csrf]').value = '0'.repeat(64)")
        browser.press("Archive")
        self.assertIn("The form does not belong to your session", browser.text)
        self.assertIsNone(self.ask("GET", "profiles/prof-default")["archived_at"])

    def test_ended(self) -> None:
        """A session whose key is revoked ends: a click and a page that refreshes itself lead to the form, and back."""
        key = self.ask("POST", "keys", {"name": "guest", "role": "operator"})
        browser = self.browser
        browser.sign_in(str(key["key"]))
        browser.go("audit?follow=yes")
        self.ask("DELETE", f"keys/{key['id']}")
        browser.wait_for("Your session has ended.")
        browser.fill(key="wrong")
        browser.press("Sign in")
        self.assertIn("This is no good API key", browser.text)
        browser.fill(key=ADMIN)
        browser.press("Sign in")
        self.assertEqual(browser.path, "/console/audit?follow=yes")

    def test_foreign_script(self) -> None:
        """What clients send is text: identifiers, User-Agent, subjects and whatever else the trail repeats."""
        client = self.client()
        agent = {"User-Agent": SCRIPT, "Content-Type": "application/jose+json"}
        for name in (f"{SCRIPT}.corp.example", "<img src=x onerror=window.hurt=true>"):
            self.assertRaises(Refused, client.order, name)
        body = client.signer.sign(
            client.url("new-order"), {"identifiers": []}, client.fresh_nonce(), client.kid
        )
        client.request("POST", client.url("new-order"), body, agent)
        browser = self.browser
        browser.sign_in(ADMIN)
        for path in ("", "audit", "orders", "accounts", f"orders?identifier={SCRIPT}"):
            browser.go(path)
            self.assertIsNone(browser.run("return window.hurt === undefined ? null : true"), path)
        browser.go("audit?action=acme_order_refused")
        self.assertIn(SCRIPT[:20], browser.text)


class LiveTests(ConsoleCase):
    def test_without_reloading(self) -> None:
        """A name is judged while it is typed; the trail grows while it is followed; times are the viewer's."""
        self.ask("POST", "profiles", WEB)
        browser = self.browser
        browser.sign_in(ADMIN)
        browser.go("profiles/prof-web")
        browser.fill(name="vault.corp.internal")
        browser.wait_for("vault.corp.internal is refused: name policy of profile prof-web denies")
        browser.fill(name="www.corp.internal")
        browser.wait_for("www.corp.internal passes, by the rule: *.corp.internal")
        browser.go("audit?follow=yes")
        self.ask("POST", "eab-keys", {"profile_id": "prof-web", "name": "just now"})
        browser.wait_for("name: just now")
        shown, title = browser.run(
            "const t = document.querySelector('#events time'); return [t.textContent, t.title]"
        )
        self.assertRegex(title, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$")
        self.assertRegex(shown, r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")
        self.assertNotEqual(shown[11:13], title[11:13])  # the browser is in Berlin
        self.calm()


class LookTests(ConsoleCase):
    """Every page, by its looks."""

    def test_pages(self) -> None:
        """axe-core finds nothing wrong with any page, light or dark; none is wider than the screen."""
        self._fill()
        browser = self.browser
        browser.go("sign-in")
        self._look_at("sign-in")
        browser.sign_in(ADMIN)
        wrong: dict[str, list[str]] = {}
        for name, path in self._pages().items():
            browser.go(path)
            for finding in self._look_at(name):
                wrong.setdefault(finding, []).append(name)
            complaints = browser.complaints()
            self.assertEqual([each for each in complaints if "status of 404" not in each], [], name)
        self.assertEqual(wrong, {}, "\n".join(f"{each}: {', '.join(names)}" for each, names in wrong.items()))

    def test_keyboard(self) -> None:
        """The first key leads past the navigation; every link and field shows when it has the focus."""
        browser = self.browser
        browser.sign_in(ADMIN)
        browser.go("certificates")
        browser.find("body").send_keys(Keys.TAB)
        focused = "return document.activeElement.textContent.trim()"
        self.assertEqual(browser.run(focused), "Skip to the content")
        browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
        self.assertEqual(browser.run("return location.hash"), "#main")
        browser.find("body").send_keys("/")
        self.assertEqual(browser.run("return document.activeElement.name"), "name")
        outline = "return getComputedStyle(document.activeElement).outlineStyle"
        self.assertEqual(browser.run(outline), "solid")

    def _look_at(self, name: str) -> list[str]:
        found = []
        for width in WIDTHS:
            for scheme in SCHEMES:
                self.browser.look(width, 900, scheme)
                if self.browser.overflows():
                    found.append(f"wider than {width}")
                if (width, scheme) in JUDGED:
                    found += [f"{each} ({width}, {scheme})" for each in self.browser.violations()]
                if PICTURES:
                    self._picture(name, width, scheme)
        self.browser.look(1280, 900)
        return found

    def _picture(self, name: str, width: int, scheme: str) -> None:
        height = int(self.browser.run("return document.documentElement.scrollHeight"))
        self.browser.look(width, min(max(height, 700), 2400), scheme)
        self.browser.picture(Path(PICTURES) / f"{name}-{width}-{scheme}.png")
        if (name, width, scheme) in SHOWN:
            self.browser.look(width, min(max(height, 700), 1100), scheme)
            self.browser.picture(Path(PICTURES) / f"{name}-{width}-{scheme}.webp", whole=False)

    def _pages(self) -> dict[str, str]:
        row = self.server.rows
        ((certificate,),) = row("SELECT max(id) FROM certificate_versions WHERE revoked_at IS NULL")
        ((revoked,),) = row("SELECT max(id) FROM certificate_versions WHERE revoked_at IS NOT NULL")
        ((failed,),) = row("SELECT max(id) FROM acme_orders WHERE status = 'invalid'")
        ((account,),) = row("SELECT max(id) FROM acme_accounts")
        return {
            "overview": "",
            "certificates": "certificates",
            "no-certificates": "certificates?name=nothing.example",
            "certificate": f"certificates/{certificate}",
            "certificate-revoked": f"certificates/{revoked}",
            "revoke": "revoke?name=*.corp.example",
            "renewals": "renewals",
            "renewal": f"renewals/{row('SELECT max(id) FROM mass_renewals')[0][0]}",
            "orders": "orders",
            "order": f"orders/{failed}",
            "profiles": "profiles",
            "profile": "profiles/prof-web?name=vault.corp.internal",
            "profile-edit": "profiles/prof-web/edit",
            "profile-new": "new-profile",
            "accounts": "accounts",
            "account": f"accounts/{account}",
            "account-keys": "eab-keys",
            "issuers": "issuers",
            "issuer": "issuers/iss-internal-ca",
            "audit": "audit",
            "api-keys": "keys",
            "refused": "orders/absent",
        }

    def _fill(self) -> None:
        """Have something on every page."""
        self.ask("POST", "profiles", WEB)
        failed = self.begin_to_fail("www.corp.internal")
        client = self.client(contact=["mailto:ops@corp.example"])
        for number in range(12):
            client.certificate(f"host{number}.corp.example", f"www{number}.corp.example")
        for each in self.ask("GET", "certificates?per_page=3")["data"]:  # type: ignore[attr-defined]
            self.ask("POST", f"certificates/{each['id']}/revoke", {"reason": "superseded"})
        for name in ("team web", "kubernetes", "laptops"):
            self.ask("POST", "eab-keys", {"profile_id": "prof-web", "name": name})
        for name, role in (("alice", "admin"), ("grafana", "read-only")):
            self.ask("POST", "keys", {"name": name, "role": role})
        due = datetime.now(UTC) + timedelta(hours=24)
        plan = {"name": "New CA", "due_at": due.isoformat(), "profile_id": "prof-default", "drill": True}
        self.ask("POST", "renewals", {**plan, "explanation": "The issuing CA is about to be replaced."})
        self.server.wait_logged("audit checkpoint")
        failed()
