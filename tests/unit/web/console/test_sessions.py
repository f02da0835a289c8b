from __future__ import annotations

from datetime import timedelta

from certctl.web.console.dashboard import DAYS
from tests.unit.web.bench import ORIGIN
from tests.unit.web.console.cases import SESSION, ConsoleCase, Visitor
from tests.unit.web.wire import Response


class SignInTests(ConsoleCase):
    def test_stranger(self) -> None:
        """Who is not signed in is led to the form, and from there to what was asked for."""
        answer = self.visitor.get("orders?status=invalid")
        self.assertEqual(answer.status, 303)
        self.assertEqual(answer.location, "/console/sign-in?next=%2Fconsole%2Forders%3Fstatus%3Dinvalid")
        self.visitor.get(answer.location)
        answer = self.visitor.post("sign-in", key="boss-key", next="/console/orders?status=invalid")
        self.assertEqual((answer.status, answer.location), (303, "/console/orders?status=invalid"))
        self.assertEqual(self.visitor.get(answer.location).status, 200)

    def test_counted_ahead(self) -> None:
        """What the overview shows of each day is counted while the first form is filled in, and once."""
        before = self.reads()
        self.visitor.get("sign-in")
        self.assertGreater(self.reads(), before + DAYS)
        before = self.reads()
        self.visitor.sign_in("boss-key")
        self.assertLess(self.reads(), before + DAYS)

    def reads(self) -> float:
        """How often the database was asked."""
        name, labels = "certctl_acme_database_seconds_count", {"operation": "read"}
        return self.bench.parts.metrics.registry.get_sample_value(name, labels) or 0.0

    def test_next_stays_inside(self) -> None:
        """The form leads to pages of the console alone."""
        for next in ("https://evil.example/", "//evil.example/", "/api/", "/console/\\..", "/consolex", "\n"):
            visitor = Visitor(self.bench)
            self.assertEqual(visitor.sign_in("boss-key", next=next).location, "/console/")

    def test_wrong_keys(self) -> None:
        """A wrong key opens nothing, is in the trail, and after 30 the address has to wait, at the API too."""
        self.visitor.get("sign-in")
        for _ in range(30):
            answer = self.visitor.post("sign-in", key="wrong-key")
            self.assertEqual(answer.status, 401)
            self.assertNotIn(SESSION, self.visitor.cookies)
            self.assertNotIn(b"wrong-key", answer.body)
        self.assertEqual(self.visitor.post("sign-in", key="boss-key").status, 429)
        self.assertRefused(self.call("GET", "profiles"), 429, "rate_limited")
        self.assertIn(("console-stranger", "console_sign_in_refused"), self.actions())
        self.bench.pass_by(seconds=60)
        self.assertEqual(self.visitor.post("sign-in", key="boss-key").status, 303)

    def test_forged(self) -> None:
        """Nobody can be signed in by another site's form."""
        fields: dict[str, str | list[str]] = {"key": "boss-key", "csrf": "0" * 64}
        self.assertEqual(self.visitor.send("sign-in", fields).status, 403)
        self.visitor.get("sign-in")
        fields["csrf"] = self.visitor.csrf
        for headers in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
            self.assertEqual(self.visitor.send("sign-in", fields, **headers).status, 403)
        self.assertEqual(self.visitor.send("sign-in", fields).status, 303)

    def test_link_from_elsewhere(self) -> None:
        """A link from another site comes without the cookie, and is asked for again from here."""
        answer = self.visitor.get("orders", Sec_Fetch_Site="cross-site")
        self.assertEqual(answer.status, 200)
        self.assertIn(b'http-equiv="refresh" content="0"', answer.body)

    def test_off(self) -> None:
        """A setting switches the console off; without the REST API there is none."""
        for settings in ({"console_enabled": "false"}, {"auth_type": "none"}):
            self.bench = self.served(**settings)
            self.assertEqual(Visitor(self.bench).get("sign-in").status, 404)


class CookieTests(ConsoleCase):
    def test_attributes(self) -> None:
        """The cookie is kept from scripts, from plain HTTP, from other sites, and from the rest of the server."""
        self.visitor.get("sign-in")
        answer = self.visitor.post("sign-in", key="boss-key")
        (cookie,) = [each for each in answer.all("Set-Cookie") if each.startswith(f"{SESSION}=")]
        self.assertEqual(cookie.split("; ")[1:], ["Path=/console/", "Secure", "HttpOnly", "SameSite=Strict"])

    def test_not_kept(self) -> None:
        """The database has neither token nor key, but digests."""
        visitor = self.signed_in()
        ((digest, key_digest),) = self.bench.rows("SELECT digest, key_digest FROM console_sessions")
        self.assertNotIn(visitor.cookies[SESSION].encode(), bytes(digest))
        self.assertEqual((len(digest), len(key_digest)), (32, 32))

    def test_headers(self) -> None:
        """Every answer has the headers that keep it from harm, files and refusals too."""
        visitor = self.signed_in()
        page = self.page(visitor, "")
        style = page.split('rel="stylesheet" href="')[1].partition('"')[0]
        for path in ("", "sign-in", "nothing", "orders/absent", style, "static/nothing.css"):
            answer = visitor.get(path)
            policy = answer.one("Content-Security-Policy")
            self.assertIn("default-src 'none'; script-src 'self'; style-src 'self'", policy)
            self.assertIn("frame-ancestors 'none'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertEqual(answer.one("X-Content-Type-Options"), "nosniff")
            self.assertEqual(answer.one("Referrer-Policy"), "same-origin")
            kept = "immutable" if path == style else "no-store"
            self.assertIn(kept, answer.one("Cache-Control"), path)

    def test_files(self) -> None:
        """Files have their hash in their name, come packed, and all of a first page is below 150 KB."""
        visitor = self.signed_in()
        page = self.page(visitor, "")
        paths = {each.partition('"')[0] for each in page.split("/console/static/")[1:]}
        self.assertEqual(len(paths), 4)
        weight = len(page)
        for path in paths:
            self.assertRegex(path, r"^\w+\.[0-9a-f]{12}\.(css|js|svg)$")
            weight += len(visitor.get(f"static/{path}").body)
            packed = visitor.get(f"static/{path}", Accept_Encoding="br, gzip")
            self.assertEqual(packed.one("Content-Encoding"), "gzip")
        self.assertLess(weight, 150_000)

    def test_no_inline(self) -> None:
        """No page has a script or a style in it, which the policy would stop."""
        visitor = self.signed_in()
        for path in ("", "certificates", "orders", "sign-in"):
            page = self.page(visitor, path)
            self.assertNotRegex(page, r"<style|style=|<script>|<script (?!src)| on\w+=")


class SessionTests(ConsoleCase):
    def signed_out(self, answer: Response) -> bool:
        return answer.status == 303 and answer.location.startswith("/console/sign-in?done=ended")

    def test_idle(self) -> None:
        """A session ends after half an hour without use; use prolongs it; after twelve hours it ends."""
        visitor = self.signed_in()
        for _ in range(24):
            self.bench.pass_by(minutes=29)
            self.assertEqual(visitor.get().status, 200)
        self.bench.pass_by(minutes=31)
        self.assertTrue(self.signed_out(visitor.get()))
        visitor = self.signed_in()
        for _ in range(48):
            self.bench.pass_by(minutes=15)
            visitor.get()
        self.assertTrue(self.signed_out(visitor.get()))

    def test_refreshing_is_no_use(self) -> None:
        """A page that refreshes itself does not keep its session open, and leads to the form when it is over."""
        visitor = self.signed_in()
        for _ in range(5):
            self.bench.pass_by(minutes=7)
            visitor.get("", HX_Request="true")
        answer = visitor.get("", HX_Request="true")
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.one("HX-Redirect").startswith("/console/sign-in?done=ended&next="))

    def test_settings(self) -> None:
        """Settings say how long."""
        self.bench = self.served(console_session_idle="2m", console_session_lifetime="5m")
        visitor = self.signed_in()
        self.bench.pass_by(minutes=1)
        self.assertEqual(visitor.get().status, 200)
        self.bench.pass_by(seconds=119)
        self.assertEqual(visitor.get().status, 200)
        self.bench.pass_by(seconds=119)
        self.assertEqual(visitor.get().status, 200)
        self.bench.pass_by(seconds=61)
        self.assertTrue(self.signed_out(visitor.get()))

    def test_sign_out(self) -> None:
        """Signing out ends this session, also for who copied the cookie, and is in the trail."""
        visitor, other = self.signed_in(), self.signed_in()
        copied = dict(visitor.cookies)
        answer = visitor.post("sign-out")
        self.assertEqual(answer.location, "/console/sign-in?done=signed-out")
        self.assertNotIn(SESSION, visitor.cookies)
        visitor.cookies = copied
        self.assertTrue(self.signed_out(visitor.get()))
        self.assertEqual(other.get().status, 200)
        self.assertEqual(
            [each for each in self.actions() if "console" in each[1]],
            [("api-key:boss", "console_signed_in")] * 2 + [("api-key:boss", "console_signed_out")],
        )

    def test_sign_out_everywhere(self) -> None:
        """All sessions of the key end, and no others."""
        here, there, worker = self.signed_in(), self.signed_in(), Visitor(self.bench)
        worker.sign_in("worker-key")
        here.post("sign-out", everywhere="yes")
        self.assertTrue(self.signed_out(there.get()))
        self.assertEqual(worker.get().status, 200)

    def test_revoked_key(self) -> None:
        """A key that is revoked ends its sessions at once; so does one whose time is over."""
        ends = (self.bench.now + timedelta(minutes=10)).isoformat()
        key = self.ok("POST", "keys", {"name": "guest", "role": "operator"}, status=201)
        short = self.ok("POST", "keys", {"name": "short", "role": "operator", "expires_at": ends}, status=201)
        guest, brief = Visitor(self.bench), Visitor(self.bench)
        guest.sign_in(key["key"])
        brief.sign_in(short["key"])
        self.assertEqual(guest.get().status, 200)
        self.ok("DELETE", f"keys/{key['id']}", status=204)
        self.assertTrue(self.signed_out(guest.get()))
        self.assertEqual(brief.get().status, 200)
        self.bench.pass_by(minutes=10)
        self.assertTrue(self.signed_out(brief.get()))

    def test_swept(self) -> None:
        """Sessions that are over do not stay in the database."""
        self.signed_in()
        self.bench.pass_by(hours=1)
        self.bench.sweep()
        self.assertEqual(self.bench.rows("SELECT 1 FROM console_sessions"), [])

    def test_too_many_requests(self) -> None:
        """Pages count as requests to the API."""
        self.bench = self.served(api_requests_per_minute="3")
        visitor = Visitor(self.bench)
        visitor.sign_in("boss-key")
        answers = [visitor.get() for _ in range(3)]
        self.assertEqual([each.status for each in answers], [200, 200, 429])
        self.assertGreater(int(answers[-1].one("Retry-After")), 0)


class ForgeryTests(ConsoleCase):
    def test_forged_posts(self) -> None:
        """No page changes anything without the session's own token, whoever asks for it from wherever."""
        issued = self.bench.account().issue("a.corp.example")
        path = f"certificates/{self.bench.value('SELECT id FROM certificate_versions')}/revoke"
        visitor, other = self.signed_in(), self.signed_in()
        fields: dict[str, str | list[str]] = {
            "word": f"{issued.chain[0].serial_number:x}"[-6:],
            "reason": "superseded",
        }
        for csrf in ("", "0" * 64, other.csrf):
            self.assertEqual(visitor.send(path, {**fields, "csrf": csrf}).status, 403)
        good = {**fields, "csrf": visitor.csrf}
        self.assertEqual(visitor.send(path, good, Origin="https://evil.example").status, 403)
        self.assertEqual(visitor.send(path, good, Sec_Fetch_Site="same-site").status, 403)
        self.assertEqual(visitor.send(path, {**good, "word": "000000"}).status, 400)
        self.assertIsNone(self.bench.value("SELECT revoked_at FROM certificate_versions"))
        self.assertEqual(visitor.send(path, good, Origin=ORIGIN).status, 303)
        self.assertIsNotNone(self.bench.value("SELECT revoked_at FROM certificate_versions"))

    def test_bodies(self) -> None:
        """What is no form is refused."""
        visitor = self.signed_in()
        headers = visitor._headers({"Origin": ORIGIN})
        for body, status in ((b"\xff\xfe", 400), (b"a", 400), (b"a=%ff", 400), (b"x" * 70000, 413)):
            answer = self.bench.request("POST", "/console/sign-out", body, headers)
            self.assertEqual(answer.status, status)
        many = "&".join(f"a{number}=1" for number in range(400)).encode()
        self.assertEqual(self.bench.request("POST", "/console/sign-out", many, headers).status, 400)
