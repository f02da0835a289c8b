from __future__ import annotations

from datetime import datetime
from typing import Any

from cryptography import x509

from certctl.acme.renewal import CertID
from tests.unit.web.bench import DEFAULT, BenchCase, Issued

BASE = f"/acme/profile/{DEFAULT}"
STRANGER = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


def cert_id(issued: Issued) -> str:
    """The certID of a certificate."""
    return str(CertID.of(issued.chain[0]))


class RenewalInfoTests(BenchCase):
    def info(self, text: str) -> Any:
        response = self.bench.get(f"{BASE}/renewal-info/{text}")
        self.assertEqual(response.status, 200, response.body)
        window = response.json["suggestedWindow"]
        return response, *(datetime.fromisoformat(window[each]) for each in ("start", "end"))

    def test_window(self) -> None:
        """The directory names the resource, and anybody may ask it."""
        issued = self.bench.account().issue("a.example")
        directory = self.bench.get(f"{BASE}/directory").json
        response = self.bench.get(f"{directory['renewalInfo']}/{cert_id(issued)}")
        self.assertEqual(response.status, 200)
        _, start, end = self.info(cert_id(issued))
        leaf: x509.Certificate = issued.chain[0]
        self.assertTrue(leaf.not_valid_before_utc < start < end < leaf.not_valid_after_utc)

    def test_ask_again(self) -> None:
        """Retry-After is the poll interval, less up to a tenth."""
        issued = self.bench.account().issue("a.example")
        waits = [int(self.info(cert_id(issued))[0].one("Retry-After")) for _ in range(20)]
        self.assertTrue(all(0.9 * 21600 <= wait <= 21600 for wait in waits), waits)
        self.assertGreater(len(set(waits)), 1)

    def test_revoked(self) -> None:
        """What was revoked is to be renewed now."""
        client = self.bench.account()
        issued = client.issue("a.example")
        self.assertEqual(client.revoke(issued.der).status, 200)
        _, start, end = self.info(cert_id(issued))
        self.assertTrue(start < end <= self.bench.now)

    def test_strangers(self) -> None:
        """A certificate of another CA or another profile, and what is no certID, are refused."""
        self.bench.add_profile("prof-other")
        other = self.bench.account("prof-other").issue("a.example")
        for text, status in ((STRANGER, 404), (cert_id(other), 404), ("no", 400), ("a.b.c", 400)):
            self.assertProblem(self.bench.get(f"{BASE}/renewal-info/{text}"), "malformed", status)

    def test_only_get(self) -> None:
        """There is no POST-as-GET of it (RFC 9773 section 4.1)."""
        client = self.bench.account()
        issued = client.issue("a.example")
        self.assertProblem(client.read(f"renewal-info/{cert_id(issued)}"), "malformed", 405)

    def test_off(self) -> None:
        """Where it is off, the directory does not name it, and it is not there."""
        self.bench = self.served(acme_server_ari_enabled="false")
        issued = self.bench.account().issue("a.example")
        self.assertNotIn("renewalInfo", self.bench.get(f"{BASE}/directory").json)
        self.assertProblem(self.bench.get(f"{BASE}/renewal-info/{cert_id(issued)}"), "malformed", 404)


class ReplacesTests(BenchCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = self.bench.account()
        self.issued = self.client.issue("a.example", "b.example")

    def test_reflected(self) -> None:
        """The order says what it replaces, now and later."""
        order = self.client.order("a.example", replaces=cert_id(self.issued))
        self.assertEqual(order.json["replaces"], cert_id(self.issued))
        self.assertEqual(self.client.see(order.location)["replaces"], cert_id(self.issued))

    def test_once(self) -> None:
        """A certificate is replaced by one order, until that is invalid."""
        order = self.client.order("a.example", replaces=cert_id(self.issued))
        again = self.client.try_order("a.example", replaces=cert_id(self.issued))
        self.assertProblem(again, "alreadyReplaced", 409)
        self.bench.execute(
            "UPDATE acme_orders SET status = 'invalid' WHERE id = ?", order.location.rpartition("/")[2]
        )
        self.client.order("a.example", replaces=cert_id(self.issued))

    def test_refused(self) -> None:
        """Another account's certificate, one without a common name, and none at all are not replaced."""
        stranger = self.bench.account()
        count = "SELECT count(*) FROM acme_orders"
        before = self.bench.value(count)
        theirs = stranger.try_order("a.example", replaces=cert_id(self.issued))
        self.assertProblem(theirs, "malformed", 404)
        self.assertProblem(
            self.client.try_order("c.example", replaces=cert_id(self.issued)), "malformed", 400
        )
        wrong: tuple[object, ...] = ("no", 7, {}, "a.b.c")
        for text in wrong:
            self.assertProblem(self.client.try_order("a.example", replaces=text), "malformed", 400)
        key, _, _ = cert_id(self.issued).partition(".")
        self.assertProblem(self.client.try_order("a.example", replaces=f"{key}.AIdlQyE"), "malformed", 404)
        self.assertEqual(self.bench.value(count), before)

    def test_another_ca(self) -> None:
        """A client that comes from another CA gets its order; what it says is not taken up."""
        self.assertNotIn("replaces", self.client.order("a.example", replaces=STRANGER).json)

    def test_off(self) -> None:
        """Where renewal information is off, the member does no harm."""
        self.bench = self.served(acme_server_ari_enabled="false")
        client = self.bench.account()
        issued = client.issue("a.example")
        self.assertNotIn("replaces", client.order("a.example", replaces=cert_id(issued)).json)

    def test_exempt_from_limits(self) -> None:
        """A renewal that was asked for is let through where the limits are used up."""
        limits = {"orders_per_hour": "1", "concurrent_orders": "1"}
        self.bench = self.served(**{f"acme_server_rate_limit_{name}": n for name, n in limits.items()})
        client = self.bench.account()
        issued = client.issue("a.example")
        self.assertProblem(client.try_order("a.example"), "rateLimited", 429)
        client.order("a.example", replaces=cert_id(issued))
