"""Metrics, alerts and the dashboard, judged by Prometheus' own tools and held against a server that runs."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.acme import Refused, Session
from tests.integration.clients import P256, RSA, Certbot, Client, Dehydrated, Lego, Uacme
from tests.integration.server import (
    CHECKOUT,
    HOST,
    PROFILE,
    Ran,
    RunningServer,
    ServerTestCase,
    environment,
    free_port,
    run,
)
from tests.unit.web.test_metrics_docs import DASHBOARD, RULES, RULES_TESTS, documented

SAMPLE = CHECKOUT / "deploy/prometheus/prometheus.yml"
TARGET = "certctl.example.internal:8443"  # in the sample
CA_FILE = "certctl-root-ca.pem"
ISSUER = "iss-internal-ca"
SCRAPED_WITHIN = 30.0
SWEPT = ("certctl_acme_sweeper_last_success_timestamp_seconds", "")
_METRIC = re.compile(r"\b(?:certctl|process)_\w+(?![\w:])")
_EXPRESSION = re.compile(r"expr:(.*?)(?=\n      - |\n        for:|\Z)", re.DOTALL)
_RECORDED = re.compile(r"\bjob\w*:\w+:\w+")


def promtool(*arguments: str | Path, **more: Any) -> Ran:
    """Run promtool; raise AssertionError if it is missing."""
    return run(program("promtool"), *arguments, **more)


def program(name: str) -> str:
    """Where a program of Debian's package prometheus is."""
    found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin")
    if found is None:
        raise AssertionError(f"{name} is missing: install prometheus")
    return found


def expressions() -> dict[str, str]:
    """Every PromQL expression of the dashboard, by panel, with its variables as Grafana may fill them."""
    found = {}
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"].replace("$__rate_interval", "5m")
            found[f"{panel['title']}, {target['refId']}"] = re.sub(r"\$\w+", ".*", text)
    return found


def named(text: str) -> set[str]:
    """The metrics that expressions name, without what recording rules make and without labels and words."""
    text = re.sub(r"#.*|job\w*:\w+:\w+", "", text)
    return set(_METRIC.findall(text)) - {"certctl_acme"}


def scrape(server: RunningServer) -> str:
    """What ``/metrics`` says."""
    connection = server.connect()
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def samples(text: str) -> dict[tuple[str, str], float]:
    """The samples of a scrape, by name and by their labels in the order of the labels' names."""
    return {
        (sample.name, " ".join(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class RulesTests(SynchronousTestCase):
    """The rules alone."""

    def test_rules(self) -> None:
        """Promtool finds nothing wrong with the rules."""
        promtool("check", "rules", RULES).must_succeed()

    def test_alerts_fire(self) -> None:
        """Each alert fires in its case, says what it should, and is silent where all is well."""
        ran = promtool("test", "rules", RULES_TESTS.name, cwd=RULES_TESTS.parent).must_succeed()
        self.assertIn("SUCCESS", ran.output)

    def test_alert_that_cannot_fire(self) -> None:
        """A rule that never holds is found."""
        directory = Path(self.mktemp())
        directory.mkdir()
        for path in (RULES, RULES_TESTS):
            text = path.read_text(encoding="utf-8")
            (directory / path.name).write_text(text.replace('up{job="certctl"} == 0', "up == 7"))
        self.assertNotEqual(promtool("test", "rules", RULES_TESTS.name, cwd=directory).status, 0)

    def test_dashboard_parses(self) -> None:
        """Every expression of the dashboard is PromQL."""
        directory = Path(self.mktemp())
        directory.mkdir()
        found = expressions()
        rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(found.values())]
        file = directory / "rules.yml"
        file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
        ran = promtool("check", "rules", file).must_succeed()
        self.assertIn(f"{len(found)} rules found", ran.output)

    def test_wrong_expression_found(self) -> None:
        file = Path(self.mktemp())
        file.write_text(
            json.dumps({"groups": [{"name": "a", "rules": [{"record": "a:b", "expr": "sum by ("}]}]})
        )
        self.assertNotEqual(promtool("check", "rules", file).status, 0)

    def test_recorded_names(self) -> None:
        """Where a rule or the dashboard takes what a rule records, there is that rule."""
        text = RULES.read_text(encoding="utf-8")
        recorded = set(re.findall(r"- record: (\S+)", text))
        used = set(_RECORDED.findall(text)) | set(_RECORDED.findall(" ".join(expressions().values())))
        self.assertEqual(used - recorded, set())


class ServerTests(ServerTestCase):
    """A server that has issued, refused and revoked."""

    def setUp(self) -> None:
        self.server = self.serve()

    def use(self) -> None:
        """Get two certificates with lego, revoke one, and have an order refused."""
        home = self.path()
        lego = Lego(self.server, home)
        issued = lego.issue(["one.example.internal"], P256)
        lego.issue(["two.example.internal"], P256)
        lego.lego(issued, "revoke", "--keep", "--reason=4")
        session = Session(self.server)
        session.register()
        with self.assertRaises(Refused):
            session.order("not_a_name.example.internal")
        session.close()

    def test_figures(self) -> None:
        """The scrape says what was done."""
        self.use()
        found = samples(scrape(self.server))
        expected = {
            ("certctl_acme_orders_created_total", PROFILE): 2,
            ("certctl_acme_orders_finalized_total", PROFILE): 2,
            ("certctl_acme_certificates_issued_total", f"{ISSUER} {PROFILE}"): 2,
            ("certctl_acme_certificates_revoked_total", f"{PROFILE} superseded"): 1,
            ("certctl_acme_requests_total", f"new-order rejectedIdentifier {PROFILE}"): 1,
            ("certctl_acme_requests_total", f"new-order ok {PROFILE}"): 2,
            ("certctl_acme_requests_total", f"finalize ok {PROFILE}"): 2,
            ("certctl_acme_requests_total", f"revoke-cert ok {PROFILE}"): 1,
            ("certctl_acme_request_seconds_count", "new-order"): 3,
            ("certctl_acme_events_total", "certificate_revoked"): 1,
            ("certctl_acme_client_requests_total", "other refused"): 1,
            ("certctl_acme_client_requests_total", "lego refused"): 0,
            ("certctl_acme_nonces_refused_total", ""): 0,
            ("certctl_acme_database_unavailable_total", "write"): 0,
        }
        self.assertEqual({key: found.get(key) for key in expected}, expected)
        self.assertGreater(found["certctl_acme_client_requests_total", "lego ok"], 8)
        self.assertLess(abs(found[SWEPT] - time.time()), 60)
        self.assertGreater(found["certctl_acme_issuer_expires_in_seconds", ISSUER], 365 * 86400)
        own = found["certctl_acme_server_certificate_expires_in_seconds", ""]
        self.assertLess(
            abs(own - 90 * 86400), 7200
        )  # not assertApproximates, to which NaN is near everything
        self.assertGreater(found["process_open_fds", ""], 5)

    def test_from_the_beginning(self) -> None:
        """A server that nobody has asked anything since its start knows its profiles, and counts for them from 0."""
        self.server.restart()
        found = samples(scrape(self.server))
        self.assertEqual(found["certctl_acme_orders_created_total", PROFILE], 0)
        self.assertEqual(found["certctl_acme_certificates_issued_total", f"{ISSUER} {PROFILE}"], 0)

    def test_lint(self) -> None:
        """Promtool finds nothing wrong with the metrics' names, types and help texts."""
        self.use()
        ran = subprocess.run(
            [program("promtool"), "check", "metrics"],
            input=scrape(self.server),
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((ran.returncode, ran.stdout + ran.stderr), (0, ""))

    def test_names(self) -> None:
        """Every metric that the page, the rules and the dashboard name is in the scrape."""
        self.use()
        there = {name for name, _ in samples(scrape(self.server))}
        families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in there}
        self.assertEqual({name for name, *_ in documented()} - families, set())
        rules = "\n".join(_EXPRESSION.findall(RULES.read_text(encoding="utf-8")))
        self.assertGreater(len(named(rules)), 10)
        self.assertEqual(named(rules) - there, set())
        dashboard = "\n".join(expressions().values())
        self.assertGreater(len(named(dashboard)), 20)
        self.assertEqual(named(dashboard) - there, set())

    def test_clients(self) -> None:
        """Clients of others are known by what they really send."""
        kinds: list[tuple[type[Client], str, str]] = [
            (Lego, "lego", P256),
            (Certbot, "certbot", P256),
            (Uacme, "uacme", P256),
            (Dehydrated, "dehydrated", RSA),
        ]
        for kind, _, key in kinds:
            kind(self.server, self.path()).issue(["client.example.internal"], key)
        found = samples(scrape(self.server))
        counted = {name: found["certctl_acme_client_requests_total", f"{name} ok"] for _, name, _ in kinds}
        self.assertEqual({name for name, count in counted.items() if count < 4}, set(), counted)
        self.assertEqual(found["certctl_acme_client_requests_total", "other ok"], 0)

    def test_prometheus(self) -> None:
        """Prometheus takes the sample configuration, scrapes the server over TLS, and works out the rules."""
        self.use()
        directory = self.path()
        self.configure(directory)
        promtool("check", "config", directory / SAMPLE.name).must_succeed()
        port = free_port()
        with prometheus(directory, port):
            self.assertEqual(self.asked(port, 'up{job="certctl"}'), 1)
            self.assertEqual(self.asked(port, "sum(certctl_acme_certificates_issued_total)"), 2)
            self.assertGreater(self.asked(port, "job_issuer:certctl_acme_issuer_expires:days"), 365)
            self.assertEqual(self.asked(port, 'count(ALERTS{alertstate="firing"}) or vector(0)'), 0)

    def configure(self, directory: Path) -> None:
        """Write the sample configuration as an operator would, for this server, and faster."""
        text = SAMPLE.read_text(encoding="utf-8")
        for here, there in ((TARGET, f"{HOST}:{self.server.port}"), ("interval: 30s", "interval: 1s")):
            self.assertIn(here, text)
            text = text.replace(here, there)
        self.assertIn(f"ca_file: {CA_FILE}\n", text)
        (directory / SAMPLE.name).write_text(text)
        shutil.copy(RULES, directory)
        shutil.copy(self.server.root, directory / CA_FILE)

    def asked(self, port: int, expression: str) -> float:
        """What Prometheus finds, as soon as it finds anything."""
        deadline = time.monotonic() + SCRAPED_WITHIN
        found: Any = None
        while time.monotonic() < deadline:
            try:
                with urlopen(
                    f"http://{HOST}:{port}/api/v1/query?query={quote(expression)}", timeout=5
                ) as answer:
                    found = json.load(answer)["data"]["result"]
            except (URLError, ConnectionError):
                found = None
            if found:
                return float(found[0]["value"][1])
            time.sleep(0.2)
        raise AssertionError(f"Prometheus finds nothing for {expression}: {found}")


@contextmanager
def prometheus(directory: Path, port: int) -> Iterator[None]:
    """Run Prometheus on a configuration, and end it."""
    command = [
        program("prometheus"),
        f"--config.file={directory / SAMPLE.name}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={HOST}:{port}",
    ]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=directory, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
