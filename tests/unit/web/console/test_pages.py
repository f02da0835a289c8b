from __future__ import annotations

import re

from certctl.acme.problems import Problem, ProblemType
from certctl.authority.operators import Role
from certctl.validation.attempt import Transient
from certctl.web.api.door import NAMED
from certctl.web.console.table import PAGES
from tests.acme_client import make_csr
from tests.unit.web.bench import DEFAULT, ISSUER
from tests.unit.web.console.cases import ConsoleCase, Visitor, text

SCRIPT = "<script>alert(1)</script>"


def path(page_path: str, id: str) -> str:
    return page_path.replace("<id>", id)


class EveryPageTests(ConsoleCase):
    """What is so of every page."""

    def setUp(self) -> None:
        super().setUp()
        client = self.bench.account(contact=["mailto:ops@corp.example"])
        client.issue("a.corp.example")
        self.bench.pass_by(minutes=1)  # mass renewals are of what was issued before
        value = self.bench.value
        self.ids = {
            "certificates": value("SELECT id FROM certificate_versions"),
            "orders": value("SELECT id FROM acme_orders"),
            "profiles": DEFAULT,
            "accounts": client.id,
            "issuers": ISSUER,
            "eab-keys": self.ok("POST", "eab-keys", {"profile_id": DEFAULT, "name": "team"}, status=201)[
                "id"
            ],
            "renewals": self.ok(
                "POST",
                "renewals",
                {"name": "drill", "due_at": "2026-05-19T12:00:00Z", "profile_id": DEFAULT, "drill": True},
                status=201,
            )["id"],
            "keys": self.ok("POST", "keys", {"name": "some", "role": "operator"}, status=201)["id"],
        }

    def asked(self, page_path: str) -> str:
        more = "?name=a.corp.example" if page_path == "revoke" else ""
        return path(page_path, self.ids.get(page_path.partition("/")[0], "x")) + more

    def test_shown(self) -> None:
        """Each page is there for who may see it, has a heading and a title, and nothing inline."""
        visitor = self.signed_in()
        for page in PAGES:
            if page.method == "GET":
                answer = visitor.get(self.asked(page.path))
                self.assertEqual(answer.status, 200, page.path)
                if "html" in answer.one("Content-Type"):
                    body = answer.body.decode()
                    self.assertEqual(len(re.findall("<h1", body)), 1, page.path)
                    self.assertNotRegex(body, r"<style|style=|<script>|<script (?!src)|\son\w+=|javascript:")

    def test_absent(self) -> None:
        """What is not there is a page that says so."""
        visitor = self.signed_in()
        for page in PAGES:
            if page.method == "GET" and "<id>" in page.path:
                self.assertEqual(visitor.get(path(page.path, "absent")).status, 404, page.path)
        self.assertIn("there is no such resource", self.words(visitor, "nothing", 404).lower())

    def test_reader(self) -> None:
        """Who may only look sees no form that changes anything but the session, and may send none."""
        reader = self.signed_in("read-only")
        before = self.bench.rows("SELECT id FROM audit_events ORDER BY id")
        for page in PAGES:
            if page.method == "GET":
                answer = reader.get(self.asked(page.path))
                forms = re.findall(
                    r'<form[^>]*method="post"[^>]*action="([^"]*)"', answer.body.decode("latin-1")
                )
                self.assertLessEqual(set(forms), {"/console/sign-out"}, page.path)
                self.assertEqual(answer.status, 403 if page.needs or page.path in ("revoke", "keys") else 200)
            else:
                answer = reader.post(self.asked(page.path), **self.good(page.path))
                self.assertEqual(answer.status, 403, f"{page.path}: {text(answer.body.decode())}")
        self.assertEqual(self.bench.rows("SELECT id FROM audit_events ORDER BY id"), before)

    def good(self, page_path: str) -> dict[str, str]:
        """What a form of the page would send."""
        serial = self.bench.value("SELECT serial_number FROM certificate_versions")
        words = {
            "certificates/<id>/revoke": serial[-6:],
            "accounts/<id>/deactivate": self.ids["accounts"][-6:],
            "revoke": "1",
            "issuers/<id>/retire": ISSUER,
        }
        return (
            {
                "word": words.get(page_path, ""),
                "reason": "superseded",
                "name": "a.corp.example" if page_path == "revoke" else "n",
                "role": "admin",
                "profile_id": DEFAULT,
                "issuer_id": ISSUER,
                "max_ttl": "90d",
                "due_in": "24h",
                "acme_auth_mode": "challenge",
                "paused": "yes",
                "version": "1",
            }
            if page_path != "revoke"
            else {"word": "1", "reason": "superseded", "name": "a.corp.example"}
        )

    def test_operator(self) -> None:
        """An operator sees what is for operators, and not what is for admins."""
        worker = Visitor(self.bench)
        worker.sign_in("worker-key")
        page = self.page(worker, f"accounts/{self.ids['accounts']}")
        self.assertIn('value="yes">Pause<', page)
        self.assertNotIn("/edit", self.page(worker, f"profiles/{DEFAULT}"))
        self.assertNotIn("/console/keys", self.page(worker, ""))
        self.assertEqual(worker.get("keys").status, 403)
        self.assertEqual(worker.post("new-profile", **self.good("new-profile")).status, 403)

    def test_operations_exist(self) -> None:
        """Pages ask for operations that there are, and templates ask whether a role includes such."""
        from importlib.resources import files

        console = files("certctl.web.console")
        asked = set()
        for file in console.joinpath("templates").iterdir():
            asked |= set(re.findall(r'may\("(\w+)"\)', file.read_text(encoding="utf-8")))
        self.assertLessEqual(asked, set(NAMED))
        self.assertGreater(len(asked), 8)
        self.assertIs(NAMED["create_profile"].role, Role.ADMIN)


class ForeignTextTests(ConsoleCase):
    """What clients choose is text on every page."""

    def test_script(self) -> None:
        """Contacts, identifiers, User-Agent and subject of a CSR are never markup."""
        contact = "mailto:a+%3Cscript%3Ealert(1)%3C/script%3E@corp.example"
        client = self.bench.account(contact=[contact])
        for name in (SCRIPT, f"{SCRIPT}.corp.example"):
            self.assertEqual(client.try_order(name).error, "rejectedIdentifier")
        _key, csr = make_csr(["a.corp.example"], cn=SCRIPT)
        self.assertEqual(client.finalize(client.order("a.corp.example"), csr).error, "badCSR")
        self.bench.execute(
            "UPDATE acme_accounts SET contact = ?", f'["mailto:{SCRIPT}@corp.example", "mailto:\\"onload=x"]'
        )
        self.ok("POST", "eab-keys", {"profile_id": DEFAULT, "name": f'"{SCRIPT}'}, status=201)
        self.ok("PATCH", f"profiles/{DEFAULT}", {"name": SCRIPT, "description": f"'\"{SCRIPT}"})
        visitor = self.signed_in()
        order_id = self.bench.value("SELECT id FROM acme_orders")
        shown = 0
        for where in (
            "",
            "audit",
            "accounts",
            f"accounts/{client.id}",
            "eab-keys",
            "orders",
            f"orders/{order_id}",
            f"profiles/{DEFAULT}",
            f"profiles/{DEFAULT}/edit",
            f"profiles/{DEFAULT}?name={SCRIPT}",
            f"orders?identifier={SCRIPT}&status=%22%3E{SCRIPT}",
            f"certificates?name={SCRIPT}",
            f"sign-in?next={SCRIPT}&done={SCRIPT}",
            f"audit?actor={SCRIPT}&since={SCRIPT}",
        ):
            body = visitor.get(where.replace("<", "%3C").replace(">", "%3E")).body.decode()
            self.assertNotIn("<script>alert", body, where)
            self.assertNotIn('"onload', body, where)
            shown += "&lt;script&gt;" in body
        self.assertGreater(shown, 6)


class OrderPageTests(ConsoleCase):
    def setUp(self) -> None:
        super().setUp()
        self.bench = self.served(acme_server_default_auth_mode="challenge")

    def test_failure_is_told(self) -> None:
        """The story of a failed order has each try, what was dialled, the problem, and what to do about it."""
        client = self.bench.account()
        order = client.order("www.corp.example")
        challenge = client.challenges(order.json["authorizations"][0])["http-01"]
        client.respond(challenge)
        http01 = self.bench.validators.http01
        for number in range(4):
            words = f"http://www.corp.example could not connect to 10.0.0.{number}: connection refused"
            http01.fail(Transient(ProblemType.CONNECTION, words))
            self.bench.pass_by(seconds=8)
        visitor = self.signed_in()
        self.assertIn("could not connect", self.words(visitor, "orders?status=invalid"))
        said = self.words(visitor, f"orders/{self.bench.value('SELECT id FROM acme_orders')}")
        for words in (
            "It failed: could not connect",
            "Nothing listens there.",
            "www.corp.example by http-01 failed, and is tried again",
            *(f"10.0.0.{number}: connection refused" for number in range(4)),
            "The client asked to have www.corp.example by http-01 validated",
        ):
            self.assertIn(words, said)
        self.assertLess(said.index("10.0.0.0:"), said.index("10.0.0.2:"))

    def test_success_is_told(self) -> None:
        """What was seen is there for what went well, too."""
        client = self.bench.account()
        client.prove("www.corp.example")
        said = self.words(self.signed_in(), f"orders/{self.bench.value('SELECT id FROM acme_orders')}")
        self.assertIn("dialled: 192.0.2.7", said)
        self.assertIn('seen: "what was seen"', said)

    def test_policy_is_refused(self) -> None:
        """Another problem has other advice."""
        client = self.bench.account()
        order = client.order("www.corp.example")
        client.respond(client.challenges(order.json["authorizations"][0])["dns-01"])
        self.bench.validators.dns01.fail(
            Problem(ProblemType.DNS, "x does not exist (NXDOMAIN asking for TXT)")
        )
        said = self.words(self.signed_in(), f"orders/{self.bench.value('SELECT id FROM acme_orders')}")
        self.assertIn("The resolver knows no such name.", said)


class ChangeTests(ConsoleCase):
    """Forms that change something."""

    def test_profile(self) -> None:
        """A profile is made, shown in the form as it is, changed, and what the form does not know stays."""
        visitor = self.signed_in()
        fields: dict[str, str | list[str]] = {
            "id": "prof-web",
            "name": "Web",
            "issuer_id": ISSUER,
            "acme_auth_mode": "challenge",
            "max_ttl": "90d",
            "default_ttl": "12h",
            "enabled": "yes",
            "names_allow": "*.corp.example\r\n10.0.0.0/8",
            "names_deny": "vault.corp.example",
            "key_algorithms": ["ecdsa-p256", "rsa-3072"],
            "purposes": ["serverAuth", "clientAuth"],
            "must_staple": "never",
            "common_name": "never",
            "eab": "required",
            "limit_orders_per_hour": "0",
            "egress_allow": "192.0.2.0/24",
            "caa": "yes",
        }
        answer = visitor.post("new-profile", **fields)
        self.assertEqual(
            (answer.status, answer.location), (303, "/console/profiles/prof-web?done=profile-created")
        )
        made = self.ok("GET", "profiles/prof-web")
        expected = {
            "names": {"allow": ["*.corp.example", "10.0.0.0/8"], "deny": ["vault.corp.example"]},
            "limits": {"orders_per_hour": 0},
            "key_algorithms": ["ecdsa-p256", "rsa-3072"],
            "extended_key_usages": ["serverAuth", "clientAuth"],
            "common_name": "never",
            "eab": "required",
            "default_ttl_seconds": 43200,
            "challenge": {"egress": {"allow": ["192.0.2.0/24"]}, "caa": True},
        }
        self.assertEqual(made["policy"], expected)
        self.assertEqual((made["max_ttl_seconds"], made["acme_auth_mode"]), (7776000, "challenge"))
        zones = {"challenge": {"resolver_zones": {"corp.example": ["192.0.2.53"]}}}
        self.ok("PATCH", "profiles/prof-web", {"policy": zones})
        form = self.page(visitor, "profiles/prof-web/edit")
        self.assertIn('value="12h"', form)
        self.assertRegex(form, r'value="rsa-3072" checked')
        changed = {**fields, "version": "2", "names_deny": "", "key_algorithms": [], "caa": ""}
        self.assertEqual(visitor.post("profiles/prof-web/edit", **changed).status, 303)
        policy = self.ok("GET", "profiles/prof-web")["policy"]
        self.assertEqual(policy["names"], {"allow": ["*.corp.example", "10.0.0.0/8"]})
        self.assertEqual(set(policy["challenge"]), {"egress", "resolver_zones"})
        self.assertNotIn("key_algorithms", policy)
        late = visitor.post("profiles/prof-web/edit", **changed)
        self.assertEqual(late.status, 400)
        self.assertIn("Somebody else changed the profile meanwhile", text(late.body.decode()))
        self.assertEqual(visitor.post("profiles/prof-web/remove", how="archive", version="3").status, 303)
        self.assertIsNotNone(self.ok("GET", "profiles/prof-web")["archived_at"])

    def test_profile_refused(self) -> None:
        """What cannot be is said above the form, which keeps what was typed."""
        visitor = self.signed_in()
        good = {"name": "Web", "issuer_id": ISSUER, "acme_auth_mode": "challenge", "max_ttl": "90d"}
        for wrong, words in (
            ({"max_ttl": "ninety days"}, "write a number and a unit"),
            ({"id": "web"}, "id"),
            ({"issuer_id": "iss-none"}, "there is no issuer"),
            ({"names_allow": "*.*.example"}, "names.allow"),
            ({"max_identifiers": "many"}, "write a whole number"),
            ({"other_purposes": "fly"}, "neither one of"),
        ):
            answer = visitor.post("new-profile", **{**good, "description": "typed by hand", **wrong})
            self.assertEqual(answer.status, 400, wrong)
            said = answer.body.decode()
            self.assertIn(words, text(said))
            self.assertIn("typed by hand", said)

    def test_name_check(self) -> None:
        """Whether a name passes is said with the rule."""
        names = {"allow": ["*.corp.example", "10.0.0.0/8"]}
        self.ok("PATCH", f"profiles/{DEFAULT}", {"policy": {"names": names}})
        visitor = self.signed_in()
        for name, words in (
            ("www.corp.example", "passes, by the rule: *.corp.example"),
            ("10.1.2.3", "passes, by the rule: 10.0.0.0/8"),
            ("www.example.org", "is refused: name policy of profile prof-default allows"),
            ("a_b", "is refused: a DNS name has letters"),
        ):
            self.assertIn(f"{name} {words}", self.words(visitor, f"profiles/{DEFAULT}?name={name}"))

    def test_account(self) -> None:
        """An account is paused, narrowed, resumed, and deactivated once the end of its id was typed."""
        client, visitor = self.bench.account(), self.signed_in()
        url = f"accounts/{client.id}"

        def etag() -> str:
            return self.call("GET", url).one("ETag")

        self.assertEqual(visitor.post(f"{url}/pause", paused="yes", etag=etag()).status, 303)
        self.assertEqual(client.try_order("a.corp.example").error, "unauthorized")
        visitor.post(f"{url}/pause", paused="no", etag=etag())
        visitor.post(f"{url}/policy", names_allow="*.corp.example", limit_orders_per_hour="5", etag=etag())
        self.assertEqual(client.try_order("a.example").error, "rejectedIdentifier")
        visitor.post(f"{url}/policy", names_deny="x.corp.example", etag=etag())
        self.assertEqual(self.ok("GET", url)["policy"], {"names": {"deny": ["x.corp.example"]}})
        stale = visitor.post(f"{url}/policy", names_deny="y.corp.example", etag='"1.0"')
        self.assertEqual(stale.status, 400)
        self.assertEqual(visitor.post(f"{url}/deactivate", word="nothing").status, 400)
        self.assertEqual(visitor.post(f"{url}/deactivate", word=client.id[-6:]).status, 303)
        self.assertEqual(self.ok("GET", url)["status"], "deactivated")

    def test_issuer(self) -> None:
        """An issuer is not retired by a slip, nor while profiles name it; what cannot be is said on its page."""
        visitor = self.signed_in()
        etag = self.call("GET", f"issuers/{ISSUER}").one("ETag")
        url = f"issuers/{ISSUER}"
        for where, fields, words in (
            (f"{url}/retire", {"word": "iss"}, "type the issuer's id"),
            (f"{url}/retire", {"word": ISSUER, "etag": etag}, "profile"),
            (f"{url}/switch", {"to": "iss-none", "etag": etag}, "iss-none"),
            (f"{url}/switch", {"to": "iss-none", "at": "soon", "etag": etag}, "write a number and a unit"),
            (f"{url}/stay", {"etag": etag}, "no switch"),
            ("issuer-requests", {"id": "next", "common_name": "Next"}, "id"),
            ("issuers", {"id": "iss-2027", "certificates": "x"}, "iss-2027"),
        ):
            answer = visitor.post(where, **fields)
            self.assertEqual(answer.status, 400, where)
            self.assertIn(words, text(answer.body.decode()))

    def test_keys_once(self) -> None:
        """A key is shown when it is made, and never again."""
        visitor = self.signed_in()
        for where, fields in (
            ("eab-keys", {"name": "team", "profile_id": DEFAULT, "expires_at": "2030-01-01"}),
            ("keys", {"name": "ci", "role": "read-only", "expires_at": "2030-01-01"}),
        ):
            answer = visitor.post(where, **fields)
            self.assertEqual(answer.status, 200, text(answer.body.decode()))
            found = re.search(r'<pre id="(?:mac-key|api-key)"[^>]*>([\w-]{43,})</pre>', answer.body.decode())
            assert found is not None
            self.assertNotIn(found[1], self.page(visitor, where))
            self.assertEqual(visitor.post(where, name="").status, 400)
        key_id = self.ok("GET", "keys")["data"][0]["id"]
        self.assertEqual(visitor.post(f"keys/{key_id}/revoke").status, 303)
        eab_id = self.ok("GET", "eab-keys")["data"][0]["id"]
        self.assertEqual(visitor.post(f"eab-keys/{eab_id}/revoke").status, 303)
        self.assertEqual(self.ok("GET", f"eab-keys/{eab_id}")["status"], "revoked")

    def test_revoke_many(self) -> None:
        """What a filter finds is shown first, and revoked only as many as were typed."""
        client, visitor = self.bench.account(), self.signed_in()
        for name in ("a.corp.example", "b.corp.example", "c.example"):
            client.issue(name)
        self.assertIn("2 certificates would be revoked", self.words(visitor, "revoke?name=*.corp.example"))
        self.assertEqual(visitor.post("revoke", name="*.corp.example", word="3").status, 400)
        client.issue("d.corp.example")
        late = visitor.post("revoke", name="*.corp.example", word="2", reason="superseded")
        self.assertEqual(late.status, 400)
        self.assertEqual(self.ok("GET", "certificates?status=revoked")["data"], [])
        done = visitor.post("revoke", name="*.corp.example", word="3", reason="superseded")
        self.assertEqual(done.location, "/console/certificates?done=revoked-3")
        self.assertIn("3 certificates are revoked", self.words(visitor, done.location))
        self.assertEqual(len(self.ok("GET", "certificates?status=revoked")["data"]), 3)
        self.assertEqual(visitor.post("revoke", word="0").status, 400)

    def test_downloads(self) -> None:
        """A certificate comes in each form."""
        self.bench.account().issue("a.corp.example")
        id, visitor = self.bench.value("SELECT id FROM certificate_versions"), self.signed_in()
        for form, start in (("pem", b"-----BEGIN"), ("chain", b"-----BEGIN"), ("der", b"0"), ("pkcs7", b"0")):
            answer = visitor.get(f"certificates/{id}/download?format={form}")
            self.assertTrue(answer.body.startswith(start))
            self.assertIn("attachment", answer.one("Content-Disposition"))
        self.assertTrue(visitor.get(f"issuers/{ISSUER}/root-ca.pem").body.startswith(b"-----BEGIN"))

    def test_export(self) -> None:
        """The trail is exported as CSV, filtered, in one file of several parts."""
        for number in range(3):
            self.bench.account().try_order(f"h{number}.corp.example")
        answer = self.signed_in().get("audit/export?action=acme_account_created")
        lines = answer.body.decode().splitlines()
        self.assertEqual(len(lines), 4)
        self.assertTrue(lines[0].startswith("id,created_at,actor"))


class OverviewTests(ConsoleCase):
    def test_numbers(self) -> None:
        """The first page counts, warns, and says where things are."""
        visitor = self.signed_in()
        self.assertIn("No certificate was issued in these days", self.words(visitor, ""))
        client = self.bench.account()
        first = client.issue("a.corp.example")
        client.issue("a.corp.example")
        client.revoke(first.der)
        said = self.words(visitor, "")
        for words in ("Issued 2", "of these renewals 1", "Revoked 1", "lets every account have every name"):
            self.assertIn(words, said)
        page = self.page(visitor, "")
        self.assertIn('aria-label="issued in 30 days: 2 in all, most on 2026-05-17: 2"', page)
        self.bench.result(self.bench.parts.presence.seen(swept=True))
        self.assertIn("(this one)", self.words(visitor, ""))

    def test_audit_state(self) -> None:
        """The page of the trail says how its chain is."""
        self.assertIn("nothing yet", self.words(self.signed_in(), "audit"))
