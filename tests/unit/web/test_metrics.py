"""Metrics for Prometheus, as a scrape finds them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from certctl.web import metrics
from tests.unit.web.bench import DEFAULT, Bench, BenchCase


def scraped(bench: Bench) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the samples that a scrape finds, by name and label values."""
    response = bench.get("/metrics")
    assert response.status == 200 and response.one("Content-Type").startswith("text/plain")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.body.decode())
        for sample in family.samples
    }


class MetricsTests(BenchCase):
    def requests(self, *labels: str) -> float:
        """Return how many requests were counted for operation, outcome and profile."""
        return scraped(self.bench).get(("certctl_acme_requests_total", labels), 0)

    def test_requests_by_outcome(self) -> None:
        """Requests are counted by operation, outcome and profile; a refusal by its problem's type."""
        client = self.bench.account()
        client.order("a.example")
        client.try_order("a_b")
        client.try_order("a_c")
        self.assertEqual(self.requests("new-order", "ok", DEFAULT), 1)
        self.assertEqual(self.requests("new-order", "rejectedIdentifier", DEFAULT), 2)
        self.assertEqual(self.requests("new-account", "ok", DEFAULT), 1)

    def test_latency(self) -> None:
        """Each operation has a histogram of its time."""
        self.bench.account()
        found = scraped(self.bench)
        self.assertEqual(found["certctl_acme_request_seconds_count", ("new-account",)], 1)

    def test_names_begin_alike(self) -> None:
        """All names are the server's own."""
        for name, _ in scraped(self.bench):
            self.assertTrue(name.startswith("certctl_"), name)

    def test_profiles_that_are_invented(self) -> None:
        """Who asks for profiles that are not there adds no label, and so no memory."""
        for number in range(20):
            self.bench.get(f"/acme/profile/prof-{number}/directory")
        self.assertEqual(self.requests("directory", "malformed", "other"), 20)
        self.assertNotIn("prof-7", self.bench.get("/metrics").body.decode())

    def test_profiles_are_limited(self) -> None:
        """Even profiles that are there are told apart up to a number."""
        self.patch(metrics, "MAX_PROFILES", 1)
        self.bench.add_profile("prof-other")
        for profile in (DEFAULT, "prof-other"):
            self.bench.get(f"/acme/profile/{profile}/directory")
        self.assertEqual(self.requests("directory", "ok", DEFAULT), 1)
        self.assertEqual(self.requests("directory", "ok", "other"), 1)

    def test_running(self) -> None:
        """What is under way is counted while it is."""
        bench = self.bench = self.served(acme_server_default_auth_mode="challenge")
        client = bench.account()
        url = client.order("a.example").json["authorizations"][0]
        client.respond(client.challenges(url)["http-01"])
        self.assertEqual(scraped(bench)["certctl_acme_running", ()], 1)
        bench.validators.http01.succeed()
        self.assertEqual(scraped(bench)["certctl_acme_running", ()], 0)

    def test_two_servers_in_a_process(self) -> None:
        """Each server counts for itself."""
        other = self.served()
        other.account()
        self.assertEqual(self.requests("new-account", "ok", DEFAULT), 0)
