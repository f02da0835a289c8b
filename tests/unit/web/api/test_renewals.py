"""Mass renewals, from an operator's start to the windows that clients are told, and to the end."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from certctl.acme.renewal import CertID
from certctl.authority import mass_renewals
from certctl.authority.renewal_counts import KEPT
from certctl.authority.renewal_news import FRESH
from tests.unit.cli.cases import CommandCase
from tests.unit.web.api.cases import ApiCase
from tests.unit.web.bench import DEFAULT, Bench, Client, Issued

BASE = f"/acme/profile/{DEFAULT}"
HOUR = timedelta(hours=1)
EXPLANATION = "The keys may be weak."


class RenewalCase(ApiCase):
    """Two accounts with three certificates, issued an hour ago."""

    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = self.bench.account(contact=["mailto:one@corp.example"]), self.bench.account()
        self.a, self.b = self.one.issue("a.example"), self.one.issue("b.example")
        self.c = self.two.issue("c.example")
        self.bench.pass_by(hours=1)

    def wanted(self, **members: Any) -> dict[str, Any]:
        """What is sent to start a mass renewal of all, due in a day."""
        due = (self.bench.now + 24 * HOUR).isoformat()
        plain = {"name": "weak keys", "due_at": due, "profile_id": DEFAULT, "explanation": EXPLANATION}
        return {**plain, **members}

    def start(self, **members: Any) -> Any:
        """Start one, and let everybody know."""
        made = self.ok("POST", "renewals", self.wanted(**members), status=201)
        self.bench.pass_by(seconds=FRESH)
        return made

    def info(self, issued: Issued) -> tuple[Any, datetime, datetime]:
        """What a client is told of its certificate."""
        found = self.bench.get(f"{BASE}/renewal-info/{cert_id(issued)}")
        self.assertEqual(found.status, 200, found.body)
        window = found.json["suggestedWindow"]
        return found.json, *(datetime.fromisoformat(window[each]) for each in ("start", "end"))

    def renew(self, client: Client, issued: Issued, *names: str) -> Issued:
        """Do as a client that knows RFC 9773: order what replaces a certificate, and finalize it."""
        order = client.order(*names, replaces=cert_id(issued))
        return client.complete(order, *names)

    def states(self, id: str) -> dict[str, int]:
        """How far a mass renewal has come."""
        shown = self.ok("GET", f"renewals/{id}")
        states = ("certificates", "come", "revoked", "expired", "waiting", "accounts_waiting")
        return {each: shown[each] for each in states if shown[each]}


def cert_id(issued: Issued) -> str:
    """The certID of a certificate."""
    return str(CertID.of(issued.chain[0]))


class WindowTests(RenewalCase):
    def test_moves(self) -> None:
        """A certificate's window moves into the time that is left, and the page says why; others' do not."""
        before = self.info(self.a)
        self.assertNotIn("explanationURL", before[0])
        made = self.start(account_id=self.one.id)
        told, start, end = self.info(self.a)
        due = datetime.fromisoformat(made["due_at"])
        self.assertTrue(self.bench.now - timedelta(minutes=1) <= start < end <= due, (start, end))
        page = self.bench.get(told["explanationURL"])
        self.assertIn(EXPLANATION, page.body.decode())
        self.assertGreater(self.info(self.c)[1], due)
        self.assertNotIn("explanationURL", self.info(self.c)[0])

    def test_operators_page(self) -> None:
        """The operator's own page is named where there is one."""
        url = "https://intranet.example/weak-keys"
        self.start(explanation_url=url)
        self.assertEqual(self.info(self.a)[0]["explanationURL"], url)

    def test_cancelled(self) -> None:
        """Once it is cancelled, the window is where it was."""
        before = self.info(self.a)
        made = self.start()
        self.assertNotEqual(self.info(self.a), before)
        self.ok("POST", f"renewals/{made['id']}/cancel")
        self.bench.pass_by(seconds=FRESH)
        self.assertEqual(self.info(self.a), before)

    def test_the_new_one_is_left_alone(self) -> None:
        """A certificate that was issued after the start is not to be renewed."""
        self.start()
        new = self.renew(self.one, self.a, "a.example")
        self.assertNotIn("explanationURL", self.info(new)[0])

    def test_from_memory(self) -> None:
        """A certificate that was asked for lately costs the database nothing, until something changes."""
        self.info(self.a)
        asked = self.reads()
        for _ in range(5):
            self.info(self.a)
        self.assertEqual(self.reads(), asked)
        self.assertEqual(self.source("memory"), 5)
        self.one.revoke(self.a.der)
        self.bench.pass_by(seconds=FRESH)
        told, _, end = self.info(self.a)
        self.assertLessEqual(end, self.bench.now)
        self.assertIn("revoked on", self.bench.get(told["explanationURL"]).body.decode())

    def test_on_another_server(self) -> None:
        """A second server on the same database tells the same window, and learns of changes within a second."""
        other = Bench(self, {"api_keys_named": ""}, database=self.bench.database)
        other.clock.advance(self.bench.clock.seconds() - other.clock.seconds())
        path = f"{BASE}/renewal-info/{cert_id(self.a)}"
        usual = other.get(path).json
        made = self.start()
        other.clock.advance(FRESH)
        moved = other.get(path).json["suggestedWindow"]
        self.assertEqual(moved, self.info(self.a)[0]["suggestedWindow"])
        self.ok("POST", f"renewals/{made['id']}/cancel")
        other.clock.advance(FRESH)
        self.assertEqual(other.get(path).json, usual)

    def test_profile_decides(self) -> None:
        """The window follows the profile's policy, also for a certificate that is remembered."""
        _, start, _ = self.info(self.a)
        policy = {"renewal": {"begins_percent": 10, "explanation_url": "https://pki.example/why"}}
        self.bench.execute("UPDATE certificate_profiles SET policy = ?", json.dumps(policy))
        self.bench.pass_by(seconds=FRESH)
        told, earlier, _ = self.info(self.a)
        self.assertLess(earlier, start)
        self.assertEqual(told["explanationURL"], "https://pki.example/why")
        self.bench.execute("UPDATE certificate_profiles SET enabled = ?", False)
        self.bench.pass_by(seconds=FRESH)
        self.assertNotEqual(self.bench.get(f"{BASE}/renewal-info/{cert_id(self.a)}").status, 200)

    def test_issuer_replaced(self) -> None:
        """Certificates of an issuer whose place another has taken go by the time that was set; the page says so."""
        _, start, _ = self.info(self.a)
        due = self.bench.now + 48 * HOUR
        sql = "UPDATE issuers SET switched_at = ?, renew_by = ?, version = version + 1"
        self.bench.execute(sql, self.bench.now, due)
        self.bench.pass_by(seconds=FRESH)
        told, earlier, end = self.info(self.a)
        self.assertTrue(earlier < end <= due < start)
        self.assertIn("another issuer", self.bench.get(told["explanationURL"]).body.decode())

    def reads(self) -> float:
        """How often the database was asked."""
        return self.metric("certctl_acme_database_seconds_count", operation="read")

    def source(self, name: str) -> float:
        return self.metric("certctl_acme_renewal_info_total", window="usual", source=name)

    def metric(self, name: str, **labels: str) -> float:
        return self.bench.parts.metrics.registry.get_sample_value(name, labels) or 0.0


class ProgressTests(RenewalCase):
    def test_who_comes(self) -> None:
        """Who orders a replacement has come, by replaces or by the same names; the others are told by account."""
        id = self.start()["id"]
        self.assertEqual(self.states(id), {"certificates": 3, "waiting": 3, "accounts_waiting": 2})
        self.renew(self.one, self.a, "a.example", "more.example")
        self.assertEqual(self.states(id), {"certificates": 3, "come": 1, "waiting": 2, "accounts_waiting": 2})
        self.two.issue("c.example")
        self.assertEqual(self.states(id), {"certificates": 3, "come": 2, "waiting": 1, "accounts_waiting": 1})
        [account] = self.ok("GET", f"renewals/{id}/accounts")["data"]
        self.assertEqual(account["account_id"], self.one.id)
        self.assertEqual((account["waiting"], account["contact"]), (1, ["mailto:one@corp.example"]))
        [left] = self.ok("GET", f"renewals/{id}/certificates")["data"]
        self.assertEqual([each["value"] for each in left["names"]], ["b.example"])
        come = self.ok("GET", f"renewals/{id}/certificates?state=come&per_page=1")
        self.assertIsNotNone(come["next_cursor"])
        cursor = come["next_cursor"]
        rest = self.ok("GET", f"renewals/{id}/certificates?state=come&per_page=1&cursor={cursor}")
        self.assertIsNone(rest["next_cursor"])

    def test_an_order_alone_is_nothing(self) -> None:
        """An order that says what it replaces counts when it has its certificate."""
        id = self.start()["id"]
        self.one.order("a.example", replaces=cert_id(self.a))
        self.assertNotIn("come", self.states(id))

    def test_by_serial(self) -> None:
        """Serials are taken as people write them; what there is not is not counted."""
        serial = f"{self.b.chain[0].serial_number:X}"
        pairs = serial.rjust(len(serial) + len(serial) % 2, "0")
        colons = ":".join(pairs[each : each + 2] for each in range(0, len(pairs), 2))
        wanted = {**self.wanted(), "serials": [colons, "dead"]}
        del wanted["profile_id"]
        id = self.ok("POST", "renewals", wanted, status=201)["id"]
        self.assertEqual(self.states(id), {"certificates": 1, "waiting": 1, "accounts_waiting": 1})

    def test_what_has_ended_is_not_meant(self) -> None:
        """What was revoked before is not to be renewed; what is revoked or expires later is told apart."""
        self.two.revoke(self.c.der)
        self.bench.pass_by(seconds=1)
        id = self.start(due_at=(self.bench.now + timedelta(days=365)).isoformat())["id"]
        self.one.revoke(self.a.der)
        self.assertEqual(
            self.states(id), {"certificates": 2, "revoked": 1, "waiting": 1, "accounts_waiting": 1}
        )
        self.bench.clock.advance(100 * 86400)
        self.assertEqual(self.states(id), {"certificates": 2, "revoked": 1, "expired": 1})

    def test_not_held_back(self) -> None:
        """Who comes without saying what is replaced is counted by no limit on orders in an hour, once for each name."""
        self.bench = self.served(acme_server_rate_limit_orders_per_hour="2")
        client = self.bench.account()
        client.issue("a.example")
        client.issue("b.example")
        self.assertProblem(client.try_order("a.example"), "rateLimited", 429)
        self.bench.pass_by(seconds=1)
        self.start()
        client.issue("a.example")
        client.issue("b.example")
        for name in ("a.example", "c.example"):
            self.assertProblem(client.try_order(name), "rateLimited", 429)

    def test_page_by_page(self) -> None:
        """All are counted, however many pages they are."""
        self.patch(mass_renewals, "PAGE", 1)
        made = self.ask_slowly("POST", "renewals", self.wanted())
        self.assertEqual(self.ask_slowly("GET", f"renewals/{made['id']}")["waiting"], 3)

    def test_counted_meanwhile(self) -> None:
        """Who does not wait for the count is told so at first, and then what was counted; the count is kept a while."""
        self.patch(mass_renewals, "PAGE", 1)
        id = self.ask_slowly("POST", "renewals", self.wanted())["id"]
        headers = {"Authorization": "Bearer boss-key"}
        asked = [
            self.bench.begin("GET", f"/api/renewals/{id}{path}?wait=false", b"", headers)
            for path in ("", "/accounts")
        ]
        self.bench.clock.advance(1)
        whole, accounts = (each.response.json for each in asked)
        self.assertEqual((whole["counted_at"], whole["certificates"], accounts["total"]), (None, 0, 0))
        for _ in range(10):
            self.bench.clock.advance(0)
        for _ in range(2):
            whole = self.ok("GET", f"renewals/{id}?wait=false")
            self.assertIsNotNone(whole["counted_at"])
            self.assertEqual((whole["waiting"], whole["accounts_waiting"]), (3, 2))
            self.two.issue("c.example")
        self.bench.clock.advance(KEPT + 1)
        self.assertEqual(self.ask_slowly("GET", f"renewals/{id}")["waiting"], 2)

    def test_part_by_part(self) -> None:
        """A part of the list may be empty, where much has to be looked at; there is more until there is no cursor."""
        id = self.start()["id"]
        self.two.issue("c.example")
        self.patch(mass_renewals, "PAGE", 1)
        self.patch(mass_renewals, "LOOKS", 1)
        cursor: str | None = ""
        seen, parts = list[Any](), 0
        while cursor is not None:
            part = self.ok("GET", f"renewals/{id}/certificates?state=come&cursor={cursor}")
            seen += part["data"]
            cursor, parts = part["next_cursor"], parts + 1
        self.assertEqual([each["names"][0]["value"] for each in seen], ["c.example"])
        self.assertEqual(parts, 4)

    def test_begins_where_somebody_waits(self) -> None:
        """The list of who waits begins there, once all were counted, and not at those who have come."""
        id = self.start()["id"]
        first, second, _ = [
            row[0] for row in self.bench.rows("SELECT id FROM certificate_versions ORDER BY id")
        ]
        self.ok("POST", f"certificates/{first}/revoke", {"reason": "superseded"})
        self.patch(mass_renewals, "PAGE", 1)
        self.patch(mass_renewals, "LOOKS", 1)
        self.assertEqual(self.ok("GET", f"renewals/{id}/certificates")["data"], [])
        self.ask_slowly("GET", f"renewals/{id}")
        [found] = self.ok("GET", f"renewals/{id}/certificates")["data"]
        self.assertEqual(found["id"], second)

    def ask_slowly(self, method: str, path: str, body: Any = None) -> Any:
        """Ask for what takes several turns of the reactor."""
        headers = {"Authorization": "Bearer boss-key"} | (
            {"Content-Type": "application/json"} if body else {}
        )
        content = json.dumps(body).encode() if body else b""
        exchange = self.bench.begin(method, f"/api/{path}", content, headers)
        for _ in range(10):
            self.bench.clock.advance(0)
        return exchange.response.json


class EndTests(RenewalCase):
    def finish(self, id: str, **members: Any) -> Any:
        return self.ok("POST", f"renewals/{id}/finish", members)

    def revoked(self) -> list[str]:
        """The names whose certificates are revoked."""
        sql = "SELECT m.names FROM certificate_versions v JOIN managed_certificates m ON m.id = v.certificate_id"
        rows = self.bench.rows(f"{sql} WHERE v.revoked_at IS NOT NULL")
        return sorted(row[0][0]["value"] for row in rows)

    def test_rest_is_revoked(self) -> None:
        """A dry run says how many would be; then those that have not come are revoked, and nothing else."""
        id = self.start()["id"]
        self.renew(self.one, self.a, "a.example")
        self.assertEqual(self.finish(id, revoke="waiting"), {"dry_run": True, "revoked": 2})
        self.assertEqual(self.revoked(), [])
        done = self.finish(id, revoke="waiting", reason="keyCompromise", dry_run=False)
        self.assertEqual(done, {"dry_run": False, "revoked": 2})
        self.assertEqual(self.revoked(), ["b.example", "c.example"])
        shown = self.ok("GET", f"renewals/{id}")
        self.assertEqual((shown["status"], shown["come"], shown["revoked"]), ("finished", 1, 2))
        acts = [action for _, action in self.actions()]
        self.assertEqual(acts[-3:], ["certificate_revoked"] * 2 + ["mass_renewal_finished"])
        self.assertRefused(self.call("POST", f"renewals/{id}/finish", {}), 409, "conflict", "has ended")

    def test_the_replaced_too(self) -> None:
        id = self.start()["id"]
        self.renew(self.one, self.a, "a.example")
        self.assertEqual(self.finish(id, revoke="all", dry_run=False)["revoked"], 3)
        self.assertEqual(self.revoked(), ["a.example", "b.example", "c.example"])

    def test_drill(self) -> None:
        """A drill moves windows, and revokes nothing."""
        id = self.start(drill=True)["id"]
        self.assertIn("explanationURL", self.info(self.a)[0])
        for dry_run in (True, False):
            body = {"revoke": "waiting", "dry_run": dry_run}
            self.assertRefused(
                self.call("POST", f"renewals/{id}/finish", body), 409, "conflict", "is a drill"
            )
        self.assertEqual(self.finish(id, dry_run=False)["revoked"], 0)
        self.assertEqual(self.revoked(), [])

    def test_trail(self) -> None:
        """Start and end are events with what was asked for, by whom."""
        id = self.start()["id"]
        self.ok("POST", f"renewals/{id}/cancel", key="worker-key")
        sql = "SELECT actor, action, details FROM audit_events WHERE resource_id = ? ORDER BY id"
        started, cancelled = self.bench.rows(sql, id)
        self.assertEqual(started[:2], ("api-key:boss", "mass_renewal_started"))
        self.assertEqual((started[2]["certificates"], started[2]["profile_id"]), (3, DEFAULT))
        self.assertEqual(cancelled[:2], ("api-key:worker", "mass_renewal_cancelled"))
        self.assertRefused(
            self.call("POST", f"renewals/{id}/cancel"), 409, "conflict", "has ended: cancelled"
        )


class RefusalTests(RenewalCase):
    def test_refused(self) -> None:
        """What makes no sense is refused with what does, and starts nothing."""
        past = (self.bench.now - HOUR).isoformat()
        for changed, status, words in (
            ({"profile_id": None}, 400, "profile_id"),
            ({"due_at": past}, 400, "must lie in the future"),
            ({"due_at": "2099-01-01T00:00:00Z"}, 400, "days away at most"),
            ({"explanation_url": "javascript:alert(1)"}, 400, "http:// or https://"),
            ({"serials": ["xyz"]}, 400, "serials"),
            ({"account_id": "acme-acc-nobody"}, 409, "no such certificate"),
        ):
            response = self.call("POST", "renewals", self.wanted(**changed))
            self.assertRefused(response, status, "conflict" if status == 409 else "invalid_request", words)
        everything = {"name": "x", "due_at": (self.bench.now + HOUR).isoformat()}
        self.assertRefused(
            self.call("POST", "renewals", everything), 400, "invalid_request", "every certificate"
        )
        self.assertEqual(self.ok("GET", "renewals")["total"], 0)

    def test_preview(self) -> None:
        """A preview says whom it would ask, and warns where clients cannot know in time."""
        found = self.ok("POST", "renewals/preview", self.wanted())
        self.assertEqual(found, {"certificates": 3, "accounts": 2, "warnings": []})
        soon = (self.bench.now + HOUR).isoformat()
        [warning] = self.ok("POST", "renewals/preview", self.wanted(due_at=soon))["warnings"]
        self.assertIn("clients ask every 6 hours", warning)
        self.assertEqual(self.ok("GET", "renewals")["total"], 0)

    def test_list(self) -> None:
        first, second = self.start()["id"], self.start(drill=True)["id"]
        self.ok("POST", f"renewals/{first}/cancel")
        self.assertEqual([each["id"] for each in self.ok("GET", "renewals")["data"]], [second, first])
        for running, id in (("true", second), ("false", first)):
            found = self.ok("GET", f"renewals?running={running}")
            self.assertEqual([each["id"] for each in found["data"]], [id])
        self.assertRefused(self.call("GET", "renewals/renew-x"), 404, "not_found")


class CommandTests(CommandCase, RenewalCase):
    def test_from_start_to_finish(self) -> None:
        """The command starts, shows who is missing, and revokes the rest once their number was typed."""
        due = (self.bench.now + 24 * HOUR).isoformat()
        chosen = ("--profile", DEFAULT, "--name", "weak", "--due", due, "--explanation", EXPLANATION)
        self.assertIn("3 certificates of 2 accounts", self.certctl("renewals", "start", *chosen, "--dry-run"))
        self.assertEqual(self.certctl("renewals", "list").strip(), "")
        id = self.told("renewals", "start", *chosen, "--yes")["id"]
        self.renew(self.one, self.a, "a.example")
        self.assertIn(id, self.certctl("renewals", "list", "--running"))
        self.assertEqual(self.told("renewals", "show", id)["come"], 1)
        self.assertIn("mailto:one@corp.example", self.certctl("renewals", "waiting", id))
        self.assertIn("b.example", self.certctl("renewals", "waiting", id, "--certificates"))
        self.assertIn("a.example", self.certctl("renewals", "waiting", id, "--state", "come"))
        rest = ("renewals", "finish", id, "--revoke", "waiting")
        self.assertIn("2 certificates would", self.certctl(*rest, "--dry-run"))
        self.assertFails(1, "not their number", *rest, input="3\n")
        said = self.certctl(*rest, input="2\n")
        self.assertIn("2 certificates are revoked", said)
