"""docs/metrics.md, the rules and the dashboard name what is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.problems import Problem, ProblemType
from certctl.web.acme.table import ROUTES
from certctl.web.user_agents import NAMES
from tests.unit.test_docs import anchors
from tests.unit.web.bench import BenchCase

ROOT = Path(__file__).parent.parent.parent.parent
PAGE = ROOT / "docs/metrics.md"
RULES = ROOT / "deploy/prometheus/certctl.rules.yml"
RULES_TESTS = ROOT / "deploy/prometheus/certctl.rules.test.yml"
DASHBOARD = ROOT / "deploy/grafana/certctl.json"
ROWS = [
    "Traffic",
    "Issuance",
    "Failures by problem",
    "Validations",
    "Clients",
    "Expiry",
    "Database and sweeper",
    "Process",
]
_METRIC_ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \|(.*?)\|", re.MULTILINE)
_ALERT = re.compile(r"^      - alert: (\w+)\n(.*?)(?=^      - alert|\Z)", re.MULTILINE | re.DOTALL)


def exposed(text: str) -> set[tuple[str, str, tuple[str, ...]]]:
    """Name, type and labels of each metric of a scrape."""
    found = set()
    for family in text_string_to_metric_families(text):
        labels = {name for sample in family.samples for name in sample.labels if name != "le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found.add((name, family.type, tuple(sorted(labels))))
    return found


def documented() -> set[tuple[str, str, tuple[str, ...]]]:
    """The same, as the page has it."""
    rows = _METRIC_ROW.findall(PAGE.read_text(encoding="utf-8"))
    return {(name, type, tuple(sorted(re.findall(r"`(\w+)`", labels)))) for name, type, labels in rows}


class MetricsTests(BenchCase):
    def test_page_has_what_is_exposed(self) -> None:
        """The table of metrics is that of a server that has issued, refused, revoked and validated."""
        bench = self.served(acme_server_default_auth_mode="challenge")
        client = bench.account()
        client.prove("a.example")
        issued = client.issue("a.example")
        client.try_order("a_b")
        client.revoke(issued.der)
        challenges = client.challenges(client.order("b.example").json["authorizations"][0])
        client.respond(challenges["http-01"])
        bench.validators.http01.fail(Problem(ProblemType.DNS, "no such name"))
        self.assertEqual(exposed(bench.get("/metrics").body.decode()), documented())


class PageTests(SynchronousTestCase):
    def test_operations(self) -> None:
        """Every operation is named."""
        text = PAGE.read_text(encoding="utf-8")
        row = next(line for line in text.splitlines() if line.startswith("| `operation` |"))
        named = set(re.findall(r"`([\w-]+)`", row.partition("; of the database")[0]))
        self.assertEqual(named - {"operation"}, {route.name for route in ROUTES})

    def test_clients(self) -> None:
        """Every family of clients is named."""
        text = PAGE.read_text(encoding="utf-8")
        row = next(line for line in text.splitlines() if line.startswith("| `client` |"))
        self.assertEqual(set(re.findall(r"`([\w.-]+)`", row)) - {"client"}, set(NAMES))


class AlertsTests(SynchronousTestCase):
    def alerts(self) -> dict[str, str]:
        """The alerts by name, each with its text."""
        return dict(_ALERT.findall(RULES.read_text(encoding="utf-8")))

    def test_annotations(self) -> None:
        """Each alert says what is the matter, what that means, how bad it is, and where to read on."""
        self.assertGreater(len(self.alerts()), 8)
        for name, text in self.alerts().items():
            for member in ("summary:", "description:", "severity:", "for:"):
                self.assertIn(member, text, name)
            self.assertIn(f"runbook_url: docs/metrics.md#{name.lower()}\n", text, name)

    def test_runbooks(self) -> None:
        """Each alert has its heading, and each heading its alert."""
        found = {each for each in anchors(PAGE) if each.startswith("certctl")}
        self.assertEqual(found, {name.lower() for name in self.alerts()})

    def test_each_is_fired(self) -> None:
        """Promtool's tests make each alert fire."""
        cases = re.findall(
            r"- alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:\n", RULES_TESTS.read_text(encoding="utf-8")
        )
        self.assertEqual(set(cases), set(self.alerts()))


class DashboardTests(SynchronousTestCase):
    """Grafana's classic JSON model."""

    def setUp(self) -> None:
        self.dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
        self.panels: list[dict[str, Any]] = self.dashboard["panels"]

    def test_members(self) -> None:
        """What Grafana asks of a dashboard that is imported is there, and no id of somebody's installation."""
        self.assertIsNone(self.dashboard["id"])
        for name, type in (
            ("uid", str),
            ("title", str),
            ("schemaVersion", int),
            ("tags", list),
            ("time", dict),
        ):
            self.assertIsInstance(self.dashboard[name], type, name)

    def test_rows(self) -> None:
        self.assertEqual([each["title"] for each in self.panels if each["type"] == "row"], ROWS)

    def test_data_source_is_chosen(self) -> None:
        """No panel and no variable names a data source of somebody's installation."""
        variables = self.dashboard["templating"]["list"]
        self.assertEqual((variables[0]["name"], variables[0]["type"]), ("datasource", "datasource"))
        asking = [*variables[1:], *(each for each in self.panels if each["type"] != "row")]
        asking += [target for panel in self.panels for target in panel.get("targets", ())]
        for each in asking:
            self.assertEqual(each["datasource"], {"type": "prometheus", "uid": "${datasource}"})

    def test_variables_are_there(self) -> None:
        """Each variable in an expression is one of the dashboard's, or Grafana's own."""
        known = {each["name"] for each in self.dashboard["templating"]["list"]} | {"__rate_interval"}
        used = {
            name
            for panel in self.panels
            for target in panel.get("targets", ())
            for name in re.findall(r"\$(\w+)", target["expr"])
        }
        self.assertLessEqual(used, known)

    def test_panels(self) -> None:
        """Each panel has an id of its own, words, a unit and expressions; each row of them is full."""
        ids = [each["id"] for each in self.panels]
        self.assertEqual(len(ids), len(set(ids)))
        for panel in (each for each in self.panels if each["type"] != "row"):
            self.assertTrue(panel["title"] and panel["description"] and panel["targets"], panel)
            self.assertTrue(panel["fieldConfig"]["defaults"]["unit"], panel["title"])
            names = [each["refId"] for each in panel["targets"]]
            self.assertEqual(len(names), len(set(names)), panel["title"])

    def test_places(self) -> None:
        """No two panels lie on one place, and none beside the grid of 24 columns."""
        taken: set[tuple[int, int]] = set()
        for panel in self.panels:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            own = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertEqual(own & taken, set(), panel["title"])
            taken |= own
