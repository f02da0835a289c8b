"""The HTTP server's outer wall."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from certctl.web import channel, site
from tests.unit.web.bench import DEFAULT, BenchCase
from tests.unit.web.wire import Exchange

DIRECTORY = f"/acme/profile/{DEFAULT}/directory"


class WallTests(BenchCase):
    def test_nothing_is_told_of_what_runs(self) -> None:
        """The Server header names the program, and no version of anything."""
        self.assertEqual(self.bench.get(DIRECTORY).one("Server"), "certctl")

    def test_too_many_headers(self) -> None:
        """More headers than any client sends are refused."""
        many = {f"X-{number}": "x" for number in range(channel.MAX_HEADERS + 1)}
        exchange = self.bench.begin("GET", DIRECTORY, headers=many)
        self.assertFalse(exchange.connected)

    def test_too_long_headers(self) -> None:
        """Headers beyond 16 KiB are refused."""
        exchange = self.bench.begin("GET", DIRECTORY, headers={"X": "x" * channel.MAX_HEADER_OCTETS})
        self.assertFalse(exchange.connected)

    def test_too_long_path(self) -> None:
        """A request line beyond 16 KiB is refused."""
        exchange = self.bench.begin("GET", "/" + "x" * channel.MAX_HEADER_OCTETS)
        self.assertFalse(exchange.connected)

    def test_connection_without_a_request(self) -> None:
        """Who opens a connection and says nothing, or too little, is cut off after a minute."""
        waiting = Exchange(
            self.bench.site, "POST", f"https://acme.example{DIRECTORY}", b"", {"Content-Length": "9"}
        )
        self.assertTrue(waiting.connected)
        self.bench.clock.advance(site.TIMEOUT - 1)
        self.assertTrue(waiting.connected)
        self.bench.clock.advance(site.TIMEOUT)
        self.assertFalse(waiting.connected)

    def test_dripping_does_not_help(self) -> None:
        """The minute is for the whole request, however it drips."""
        waiting = Exchange(
            self.bench.site, "POST", f"https://acme.example{DIRECTORY}", b"", {"Content-Length": "999"}
        )
        for _ in range(2 * site.TIMEOUT // 10):
            if waiting.connected:
                waiting.send(b"x")
                self.bench.clock.advance(10)
        self.assertFalse(waiting.connected)

    def test_closing(self) -> None:
        """When the server stops its connections are closed."""
        exchange = self.bench.begin("GET", DIRECTORY)
        self.assertTrue(exchange.connected)
        self.successResultOf(Deferred.fromCoroutine(self.bench.site.close()))
        self.assertFalse(exchange.connected)
        self.assertEqual(len(self.bench.site.channels), 0)

    def test_too_late(self) -> None:
        """A request that comes when the connection is being closed is not begun: nobody could be told of its end."""
        exchange = self.bench.begin("GET", DIRECTORY)
        (connection,) = self.bench.site.channels
        connection.closing = True
        exchange.send(f"GET {DIRECTORY} HTTP/1.1\r\nHost: acme.example\r\n\r\n".encode())
        self.assertEqual(exchange.response.status, 200)  # and nothing after it

    def test_what_is_not_there(self) -> None:
        """Outside ACME a path that is not there is a problem too, without a nonce."""
        for path in ("/", "/acme", "/apis", "/health/x", "/favicon.ico", "/..", "/%2e%2e/etc/passwd"):
            response = self.bench.get(path)
            self.assertProblem(response, "malformed", 404)

    def test_forms_are_not_parsed(self) -> None:
        """A form is no request of ours, and costs what any body costs."""
        body = b"&".join(b"a=%d" % number for number in range(9000))
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        refused = self.bench.request("POST", f"/acme/profile/{DEFAULT}/new-account", body, headers)
        self.assertProblem(refused, "malformed", 415)
