"""Rate limits (RFC 8555 section 6.6; mission row M15)."""

from __future__ import annotations

from certctl.authority.limits import JITTER
from tests.acme_client import Signer
from tests.unit.web.bench import Bench, BenchCase, Client
from tests.unit.web.wire import Response


class LimitCase(BenchCase):
    def refused(self, response: Response, seconds: float) -> None:
        """Show that a request is refused with rateLimited for about so long."""
        self.assertProblem(response, "rateLimited", 429)
        wait = int(response.one("Retry-After"))
        self.assertGreaterEqual(wait, seconds - 1)
        self.assertLessEqual(wait, seconds * (1 + JITTER) + 1)


class OrdersPerHourTests(LimitCase):
    def setUp(self) -> None:
        self.bench = self.served(acme_server_rate_limit_orders_per_hour="3")
        self.client = self.bench.account()
        for number in range(3):
            self.client.order(f"{number}.example")

    def test_refused(self) -> None:
        """One order more than the limit is refused, with the time to wait, and leaves no row behind."""
        response = self.client.try_order("more.example")
        self.refused(response, 20 * 60)
        self.assertIn("3 orders of an account in an hour", response.json["detail"])
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_orders"), 3)
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_authorizations"), 3)

    def test_refusals_cost_nothing(self) -> None:
        """Who was refused ten times waits as long as who was refused once."""
        for _ in range(10):
            self.client.try_order("more.example")
        self.refused(self.client.try_order("more.example"), 20 * 60)
        self.bench.pass_by(minutes=20)
        self.assertEqual(self.client.try_order("more.example").status, 201)
        self.refused(self.client.try_order("yet-more.example"), 20 * 60)

    def test_others(self) -> None:
        """Another account has a budget of its own."""
        self.assertEqual(self.bench.account().try_order("other.example").status, 201)

    def test_refused_by_policy(self) -> None:
        """An order that the policy refuses costs nothing either."""
        client = self.bench.account()
        for _ in range(5):
            self.assertProblem(client.try_order("not a name"), "rejectedIdentifier", 400)
        self.assertEqual(client.try_order("a.example").status, 201)

    def test_swept(self) -> None:
        """A bucket of which nothing is spent any more is forgotten."""
        self.assertEqual(self.bench.value("SELECT count(*) FROM rate_limits"), 1)
        self.bench.pass_by(hours=2)
        self.bench.sweep()
        self.assertEqual(self.bench.value("SELECT count(*) FROM rate_limits"), 0)


class OpenOrdersTests(LimitCase):
    def setUp(self) -> None:
        self.bench = self.served(acme_server_rate_limit_concurrent_orders="2")
        self.client = self.bench.account()

    def test_refused(self) -> None:
        """An account has so many unfinished orders at once, and one more when one is finished."""
        self.client.order("a.example")
        self.client.order("b.example")
        self.refused(self.client.try_order("c.example"), 30)
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_orders"), 2)
        self.bench.pass_by(days=2)
        self.assertEqual(self.client.try_order("c.example").status, 201)

    def test_finished_orders_do_not_count(self) -> None:
        """An account that finishes what it begins may have any number of certificates."""
        for number in range(5):
            self.client.issue(f"{number}.example")


class KeyChangeTests(LimitCase):
    def test_refused(self) -> None:
        """A key is changed so many times in an hour; a refused change leaves the key as it was."""
        bench = self.served(acme_server_rate_limit_key_change_per_hour="2")
        client = bench.account()
        for _ in range(2):
            self.assertEqual(_roll(client).status, 200)
        self.refused(_roll(client), 30 * 60)
        self.assertEqual(client.see(client.kid or "")["status"], "valid")


class ResponsesTests(LimitCase):
    def test_refused(self) -> None:
        """A challenge is responded to so many times in an hour, whatever has become of it."""
        bench = self.served(
            acme_server_default_auth_mode="challenge", acme_server_rate_limit_challenge_responds_per_hour="3"
        )
        client = bench.account()
        order = client.order("a.example")
        challenge = client.challenges(order.json["authorizations"][0])["http-01"]
        for _ in range(3):
            self.assertEqual(client.respond(challenge).status, 200)
        self.refused(client.respond(challenge), 20 * 60)
        self.assertEqual(client.see(challenge["url"])["status"], "processing")


class OffTests(LimitCase):
    def test_zero(self) -> None:
        """Zero switches a limit off."""
        bench = Bench(self)
        client = bench.account()
        for number in range(150):
            client.order(f"{number}.example")
        self.assertEqual(bench.value("SELECT count(*) FROM rate_limits"), 0)


def _roll(client: Client) -> Response:
    """Change the account's key to a new one; the client goes on with it if that succeeds."""
    new, url = Signer.generate("ES256"), client.url("key-change")
    change = {"account": client.kid, "oldKey": client.signer.jwk}
    response = client.post(url, new.sign_value(new.header(url, None), change))
    if response.status == 200:
        client.signer = new
    return response
