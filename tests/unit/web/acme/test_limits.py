"""Rate limits (RFC 8555 section 6.6; mission row M15)."""

from __future__ import annotations

from certctl.authority.limits import JITTER
from tests.acme_client import Signer
from tests.unit.web.acme.test_renewals import cert_id
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


class ProfileOrdersTests(LimitCase):
    def setUp(self) -> None:
        self.bench = self.served(acme_server_rate_limit_profile_orders_per_hour="3")
        self.clients = [self.bench.account() for _ in range(4)]
        for number, client in enumerate(self.clients[:3]):
            client.order(f"{number}.example")

    def test_all_accounts_together(self) -> None:
        """All accounts of a profile spend from one budget, and the refusal says whose it is."""
        response = self.clients[3].try_order("more.example")
        self.refused(response, 20 * 60)
        self.assertIn("3 orders under profile prof-default in an hour", response.json["detail"])

    def test_another_profile(self) -> None:
        """Another profile has a budget of its own, of another size if its policy says so."""
        self.bench.add_profile("prof-other", policy={"limits": {"profile_orders_per_hour": 1}})
        client = self.bench.account("prof-other")
        self.assertEqual(client.try_order("a.example").status, 201)
        self.refused(client.try_order("b.example"), 60 * 60)

    def test_refusal_by_it_costs_the_account_nothing(self) -> None:
        """Of the budgets that an order spends from either all are spent from or none."""
        self.bench.execute('UPDATE certificate_profiles SET policy = \'{"limits":{"orders_per_hour":1}}\'')
        for _ in range(3):
            self.refused(self.clients[3].try_order("more.example"), 20 * 60)
        self.bench.pass_by(minutes=20)
        self.assertEqual(self.clients[3].try_order("more.example").status, 201)

    def test_not_an_accounts(self) -> None:
        """An account cannot have a limit that is the profile's."""
        self.bench.execute('UPDATE acme_accounts SET policy = \'{"limits":{"profile_orders_per_hour":9}}\'')
        self.assertProblem(self.clients[3].try_order("more.example"), "serverInternal", 500)

    def test_renewals(self) -> None:
        """An order that replaces a certificate is held back by neither limit (RFC 9773 section 5)."""
        bench = self.served(
            acme_server_rate_limit_profile_orders_per_hour="1", acme_server_rate_limit_orders_per_hour="1"
        )
        client = bench.account()
        issued = client.issue("a.example")
        self.refused(client.try_order("a.example"), 60 * 60)
        self.assertEqual(client.try_order("a.example", replaces=cert_id(issued)).status, 201)


class NetworkTests(LimitCase):
    def setUp(self) -> None:
        self.bench = self.served(
            acme_server_rate_limit_network_accounts_per_hour="2",
            server_trusted_proxies="10.0.0.0/8,fd00::/8",
        )

    def register(self, peer: str, *forwarded: str, profile: str = "prof-default") -> Response:
        """Ask for an account from an address; ``forwarded`` is what X-Forwarded-For says."""
        self.bench.peer = peer
        headers = {"X-Forwarded-For": ", ".join(forwarded)} if forwarded else {}
        return self.bench.client(profile).post("new-account", {}, kid=None, headers=headers)

    def makes(self, *asked: tuple[str, ...]) -> None:
        """Show that two accounts are made for these, which are one network, and no third."""
        for number, each in enumerate((*asked, asked[0])[:3]):
            answer = self.register(*each)
            if number < 2:
                self.assertEqual(answer.status, 201, each)
            else:
                self.refused(answer, 30 * 60)

    def test_refused(self) -> None:
        """From one address come so many accounts in an hour, whatever the profile; refusals cost nothing."""
        self.bench.add_profile("prof-other")
        self.makes(("192.0.2.7",), ("192.0.2.7",))
        for _ in range(3):
            self.refused(self.register("192.0.2.7", profile="prof-other"), 30 * 60)
        self.assertEqual(self.register("192.0.2.8").status, 201)
        self.bench.pass_by(minutes=30)
        self.assertEqual(self.register("192.0.2.7").status, 201)
        self.assertEqual(self.bench.value("SELECT count(*) FROM acme_accounts"), 4)

    def test_trail(self) -> None:
        """The trail says of which network too many accounts were asked for."""
        self.makes(("192.0.2.7",), ("192.0.2.7",))
        ((actor, details),) = self.bench.rows(
            "SELECT actor, details FROM audit_events WHERE action = 'acme_rate_limited'"
        )
        self.assertEqual(actor, "acme-stranger:prof-default")
        self.assertEqual((details["network"], details["limit"]), ("192.0.2.7", 2))

    def test_who_has_an_account(self) -> None:
        """Who has an account finds it as often as they like."""
        clients = [self.bench.account() for _ in range(2)]
        for client in clients * 3:
            self.assertEqual(client.register().status, 200)

    def test_ipv6(self) -> None:
        """Of an IPv6 address the network of 64 bits counts, as all of it is one host's."""
        self.makes(("2001:db8::1",), ("2001:db8::ffff:2",), ("2001:db8:0:0:9::",))
        self.assertEqual(self.register("2001:db8:0:1::1").status, 201)
        self.makes(("::ffff:192.0.2.9",), ("192.0.2.9",))

    def test_who_says_so_is_not_believed(self) -> None:
        """X-Forwarded-For of who is no proxy of ours says nothing."""
        self.makes(("192.0.2.7", "198.51.100.1"), ("192.0.2.7", "198.51.100.2"), ("192.0.2.7", "10.0.0.1"))

    def test_proxy(self) -> None:
        """Behind a proxy that is believed the last address counts that it did not have from another proxy."""
        self.makes(("10.0.0.1", "198.51.100.1"), ("10.0.0.2", "203.0.113.9", "198.51.100.1", "10.9.9.9"))
        self.assertEqual(self.register("10.0.0.1", "198.51.100.2").status, 201)
        self.makes(("fd00::1", "[2001:db8:7::1]:443"), ("10.0.0.1", "2001:db8:7::2"))
        self.makes(("10.0.0.1", "198.51.100.7:1234"), ("10.0.0.1", "junk", "198.51.100.7"))

    def test_proxy_that_says_nothing(self) -> None:
        """Where the proxy says nothing that is an address, it is the proxy that counts."""
        self.makes(("10.0.0.3",), ("10.0.0.3", "unknown"), ("10.0.0.3", "198.51.100.1", "\x41" * 3000))

    def test_fixed_budget_of_an_account(self) -> None:
        """Limits of accounts know nothing of networks: an account that is there may order from anywhere."""
        client = self.bench.account()
        for number in range(5):
            self.bench.peer = f"198.51.100.{number}"
            client.order(f"{number}.example")


class OffTests(LimitCase):
    def test_zero(self) -> None:
        """Zero switches a limit off."""
        bench = Bench(self)
        client = bench.account()
        for number in range(150):
            client.order(f"{number}.example")
        for _ in range(5):
            bench.account()
        self.assertEqual(bench.value("SELECT count(*) FROM rate_limits"), 0)


def _roll(client: Client) -> Response:
    """Change the account's key to a new one; the client goes on with it if that succeeds."""
    new, url = Signer.generate("ES256"), client.url("key-change")
    change = {"account": client.kid, "oldKey": client.signer.jwk}
    response = client.post(url, new.sign_value(new.header(url, None), change))
    if response.status == 200:
        client.signer = new
    return response
