"""Metrics for Prometheus, as a scrape finds them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.metrics import Counted
from certctl.acme.identifiers import dns_name
from certctl.acme.problems import Problem, ProblemType
from certctl.authority.trail import Action, Event
from certctl.issuance.serving import ServingCertificate
from certctl.storage.database import A, B, Query, Unavailable
from certctl.storage.sqlite import MEMORY, SqliteDatabase
from certctl.validation.attempt import Transient
from certctl.web import metrics
from certctl.web.tls import ServerContext
from certctl.web.user_agents import NAMES
from tests.unit.web.bench import DEFAULT, ISSUER, JOSE, NOW, Bench, BenchCase, authority

RESULTS = ("ok", "refused", "failed")
SWEPT_AT = "certctl_acme_sweeper_last_success_timestamp_seconds"


class Failing(SqliteDatabase):
    """A database that goes away."""

    away = False

    async def redeem(self, nonce: bytes, first: Query[A], second: Query[B]) -> tuple[A, B]:
        if self.away:
            raise Unavailable("away")
        return await super().redeem(nonce, first, second)


def scraped(bench: Bench) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the samples that a scrape finds, by name and label values in the order of the labels' names."""
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
        """All names are the server's own, but for those that every process has."""
        for name, _ in scraped(self.bench):
            self.assertTrue(name.startswith(("certctl_", "process_")), name)

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

    def test_profile_known_at_first(self) -> None:
        """A profile that was told of is named from the first request on, though that is refused."""
        self.bench.parts.metrics.know([DEFAULT])
        client = self.bench.client()
        client.kid = client.url("account/nobody")
        client.try_order("a.example")
        self.assertEqual(self.requests("new-order", "accountDoesNotExist", DEFAULT), 1)

    def test_outcomes_are_problem_types(self) -> None:
        """Whatever is refused, the outcome is one of a table."""
        client = self.bench.account()
        client.post("new-order", {"identifiers": "none"})
        client.post("new-order", {}, nonce="none")
        client.post("order/none", None)
        known = {"ok", "unavailable", "error", *(str(each.value[0]) for each in ProblemType)}
        found = {labels[1] for name, labels in scraped(self.bench) if name == "certctl_acme_requests_total"}
        self.assertLessEqual(found, known)
        self.assertLessEqual({"ok", "malformed", "badNonce"}, found)

    def test_nonces_refused(self) -> None:
        """A refused nonce is counted, from 0 on."""
        self.assertEqual(scraped(self.bench)["certctl_acme_nonces_refused_total", ()], 0)
        self.bench.account().post("new-order", {}, nonce="none")
        self.assertEqual(scraped(self.bench)["certctl_acme_nonces_refused_total", ()], 1)

    def test_rate_limits(self) -> None:
        """A refusal by a rate limit is counted by the operation that it refused, from 0 on."""
        bench = self.served(acme_server_rate_limit_orders_per_hour="1")
        client = bench.account()
        self.assertEqual(scraped(bench)["certctl_acme_rate_limited_total", ("new-order",)], 0)
        for name in ("a.example", "b.example", "c.example"):
            client.try_order(name)
        self.assertEqual(scraped(bench)["certctl_acme_rate_limited_total", ("new-order",)], 2)
        self.assertEqual(scraped(bench)["certctl_acme_rate_limited_total", ("key-change",)], 0)

    def test_clients(self) -> None:
        """Requests are counted by the family of their client and how they went; all families from 0 on."""
        client = self.bench.account()
        url = client.url("new-order")
        for names in ([{"type": "dns", "value": "a.example"}], []):
            body = client.signed(url, {"identifiers": names})
            self.bench.request("POST", url, body, {**JOSE, "User-Agent": "Go-http-client/2.0"})
        found = scraped(self.bench)
        counted = {
            name: found["certctl_acme_client_requests_total", ("Go-http-client", name)] for name in RESULTS
        }
        self.assertEqual(counted, {"ok": 1, "refused": 1, "failed": 0})
        self.assertGreater(found["certctl_acme_client_requests_total", ("other", "ok")], 0)
        for name in NAMES:
            self.assertIn(("certctl_acme_client_requests_total", (name, "failed")), found)

    def test_clients_that_are_invented(self) -> None:
        """Who sends a thousand names adds no series."""
        before = len(scraped(self.bench))
        for number in range(1100):
            self.bench.parts.metrics.request("directory", "ok", DEFAULT, b"x%d" % number, 0.001)
        added = {name for name, _ in scraped(self.bench)}
        self.assertLess(len(scraped(self.bench)) - before, 30, added)

    def test_orders_and_certificates(self) -> None:
        """Orders and certificates are counted by profile; what a profile has not had yet is 0."""
        self.bench.parts.metrics.know([DEFAULT, "prof-idle"])
        client = self.bench.account()
        client.order("a.example")
        issued = client.issue("b.example")
        client.revoke(issued.der, reason=4)
        found = scraped(self.bench)
        self.assertEqual(found["certctl_acme_orders_created_total", (DEFAULT,)], 2)
        self.assertEqual(found["certctl_acme_orders_finalized_total", (DEFAULT,)], 1)
        self.assertEqual(found["certctl_acme_certificates_issued_total", (ISSUER, DEFAULT)], 1)
        self.assertEqual(found["certctl_acme_certificates_revoked_total", (DEFAULT, "superseded")], 1)
        self.assertEqual(found["certctl_acme_certificates_issued_total", (ISSUER, "prof-idle")], 0)
        self.assertEqual(found["certctl_acme_events_total", ("certificate_revoked",)], 1)

    def test_events_that_were_refused(self) -> None:
        """What could not be recorded is not counted."""
        client = self.bench.account()
        issued = client.issue("b.example")
        for _ in range(2):
            client.revoke(issued.der)
        self.assertEqual(scraped(self.bench)["certctl_acme_events_total", ("certificate_revoked",)], 1)

    def test_all_events(self) -> None:
        """Every action of the trail has its series from the beginning."""
        found = {labels for name, labels in scraped(self.bench) if name == "certctl_acme_events_total"}
        self.assertEqual(found, {(each.value,) for each in Action})

    def test_validations(self) -> None:
        """Validations are counted by type and how they ended; attempts by whether they showed control."""
        bench = self.served(acme_server_default_auth_mode="challenge")
        client = bench.account()
        client.prove("a.example")
        challenges = client.challenges(client.order("b.example").json["authorizations"][0])
        client.respond(challenges["http-01"])
        told = bench.validators.http01
        self.assertEqual(scraped(bench)["certctl_acme_validations_running", ("http-01",)], 1)
        told.fail(Transient(ProblemType.CONNECTION, "refused"))
        bench.pass_by(seconds=1)
        told.fail(Problem(ProblemType.INCORRECT_RESPONSE, "another key"))
        found = scraped(bench)
        self.assertEqual(found["certctl_acme_validations_total", ("valid", "dns-01")], 1)
        self.assertEqual(found["certctl_acme_validations_total", ("incorrectResponse", "http-01")], 1)
        self.assertEqual(found["certctl_acme_validations_total", ("valid", "http-01")], 0)
        self.assertEqual(found["certctl_acme_validations_running", ("http-01",)], 0)
        self.assertEqual(found["certctl_acme_validation_attempt_seconds_count", ("shown", "dns-01")], 1)
        self.assertEqual(found["certctl_acme_validation_attempt_seconds_count", ("failed", "http-01")], 2)

    def test_waiting(self) -> None:
        """Validations beyond the limit wait, and are seen to."""
        bench = self.served(acme_server_default_auth_mode="challenge", acme_server_http01_concurrency="1")
        client = bench.account()
        for name in ("a.example", "b.example", "c.example"):
            client.respond(client.challenges(client.order(name).json["authorizations"][0])["http-01"])
        self.assertEqual(scraped(bench)["certctl_acme_validations_waiting", ("http-01",)], 2)
        self.assertEqual(scraped(bench)["certctl_acme_validations_running", ("http-01",)], 1)
        bench.validators.http01.succeed()
        self.assertEqual(scraped(bench)["certctl_acme_validations_waiting", ("http-01",)], 1)
        for _ in range(2):
            bench.validators.http01.succeed()
        self.assertEqual(scraped(bench)["certctl_acme_validations_running", ("http-01",)], 0)

    def test_database(self) -> None:
        """What is asked of the database is timed; what it does not answer is counted, from 0 on."""
        database = Failing(MEMORY)
        bench = Bench(self, database=database)
        client = bench.account()
        before = scraped(bench)
        self.assertGreater(before["certctl_acme_database_seconds_count", ("write",)], 0)
        self.assertGreater(before["certctl_acme_database_seconds_count", ("redeem",)], 0)
        self.assertEqual(before["certctl_acme_database_unavailable_total", ("redeem",)], 0)
        nonce = client.nonce
        database.away = True
        self.assertEqual(client.post("new-order", {}, nonce=nonce).status, 503)
        found = scraped(bench)
        self.assertEqual(found["certctl_acme_database_unavailable_total", ("redeem",)], 1)
        self.assertEqual(found["certctl_acme_client_requests_total", ("other", "failed")], 1)

    def test_issuers(self) -> None:
        """The time to the end of an issuer passes."""
        name = "certctl_acme_issuer_expires_in_seconds", (ISSUER,)
        before = scraped(self.bench)[name]
        self.assertGreater(before, 86400)
        self.bench.pass_by(days=2)
        self.assertLess(abs(before - scraped(self.bench)[name] - 2 * 86400), 1)

    def test_own_certificate(self) -> None:
        """So does that to the end of the server's certificate, and its whole life is told beside it."""
        names = [
            (f"certctl_acme_server_certificate_{name}_seconds", ()) for name in ("expires_in", "lifetime")
        ]
        self.assertTrue(all(math.isnan(scraped(self.bench)[name]) for name in names))
        validity = NOW - timedelta(days=60), NOW + timedelta(days=30)
        self.bench.parts.metrics.watch_certificate(lambda: validity)
        self.bench.pass_by(days=1)
        self.assertEqual([scraped(self.bench)[name] for name in names], [29 * 86400, 90 * 86400])

    def test_sweeper(self) -> None:
        """When the sweeper last came to its end, and how often it is meant to begin."""
        self.assertEqual(scraped(self.bench)[SWEPT_AT, ()], 0)
        self.bench.parts.metrics.swept(7)
        found = scraped(self.bench)
        self.assertEqual(found[SWEPT_AT, ()], NOW.timestamp())
        self.assertEqual(found["certctl_acme_swept_total", ()], 7)
        self.assertEqual(found["certctl_acme_sweeper_interval_seconds", ()], 60)

    def test_nothing_is_told_of_anybody(self) -> None:
        """Neither names of certificates nor accounts, orders, serials, contacts, keys and nonces are in a scrape."""
        client = self.bench.account(contact=["mailto:somebody@zebra.example"])
        issued = client.issue("hidden.zebra.example")
        client.try_order("refused_zebra.example")
        client.revoke(issued.der)
        text = self.bench.get("/metrics").body.decode()
        serial = self.bench.value("SELECT serial_number FROM certificate_versions")
        secrets = {
            "zebra",
            client.id,
            issued.url.rpartition("/")[2],
            serial,
            self.bench.database.nonce_keys[0].octets.hex(),
        }
        self.assertEqual({each for each in secrets if each in text}, set())
        self.assertEqual(re.findall(r"acme-(?:acc|ord|authz|chall)-", text), [])

    def test_no_second_series(self) -> None:
        """There is no series beside each that says when it began."""
        self.assertEqual([name for name, _ in scraped(self.bench) if name.endswith("_created")], [])

    def test_dear_scrape(self) -> None:
        """A scrape that took long is sent again for a while; any other is made anew."""
        self.bench.get("/acme/profile/prof-default/directory")
        self.assertEqual(self.requests("directory", "ok", DEFAULT), 1)
        self.patch(metrics, "DEAR", 0)
        self.patch(metrics, "KEPT", 1_000_000)
        self.assertEqual(self.requests("directory", "ok", DEFAULT), 1)
        self.bench.get("/acme/profile/prof-default/directory")
        self.assertEqual(self.requests("directory", "ok", DEFAULT), 1)
        self.bench.parts.metrics._kept_until = 0
        self.assertEqual(self.requests("directory", "ok", DEFAULT), 2)

    def test_cost(self) -> None:
        """What is counted costs a request less than 20 us."""
        self.assertLess(Counted().whole(), 20)


class OutcomeTests(BenchCase):
    """Events as the trail may one day have them."""

    def completed(self, details: Mapping[str, object]) -> set[tuple[str, ...]]:
        """Return the series that a validation with these details is counted in."""
        bench = self.served()
        event = Event(
            actor="acme:a",
            action=Action.CHALLENGE_COMPLETED,
            resource_type="acme_challenge",
            resource_id="c",
            details=details,
        )
        bench.parts.metrics.recorded(event)
        return {
            labels
            for (name, labels), value in scraped(bench).items()
            if name == "certctl_acme_validations_total" and value
        }

    def test_problem(self) -> None:
        error = {"type": "urn:ietf:params:acme:error:dns"}
        self.assertEqual(self.completed({"type": "dns-01", "error": error}), {("dns", "dns-01")})

    def test_unknown_problem(self) -> None:
        """A problem of no table adds no label of its own."""
        self.assertEqual(self.completed({"type": "dns-01", "error": {"type": "x"}}), {("other", "dns-01")})

    def test_nothing_said(self) -> None:
        self.assertEqual(self.completed({}), {("other", "other")})


class CertificateTests(BenchCase):
    def test_validity_of_a_context(self) -> None:
        """What serves TLS says from when to when its certificate is valid."""
        context = ServerContext()
        self.assertIsNone(context.validity)
        directory = Path(self.mktemp())
        directory.mkdir()
        made = ServingCertificate.ensure(directory, authority(), [dns_name("acme.example")], NOW)
        context.use(made.chain_pem, made.key_pem)
        self.assertEqual(context.validity, (made.not_before, made.not_after))
