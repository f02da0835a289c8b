"""What profiles allow: the table of cases, and everything that is no single certificate."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.web.acme.policy_cases import CASES, CORP, Case, seen
from tests.unit.web.bench import Bench

ROW = "| {policy} | {asked} | {expected} | {seen} |"
DOCUMENT = Path(__file__).parents[4] / "docs" / "profiles.md"
HEAD = "| policy | asked for | expected | seen |\n|---|---|---|---|"


class TableTests(SynchronousTestCase):
    """Each case from newOrder to the certificate; ``python -m tests.unit.web.acme.test_profile_policy`` prints them."""

    def test_cases(self) -> None:
        """What a profile makes of a request is what the table says."""
        for case in CASES:
            with self.subTest(policy=case.policy, asked=case.asked):
                self.assertEqual(seen(Bench(self), case), case.expected)

    def test_documented(self) -> None:
        """The rows in the documentation are the cases."""
        text = (
            DOCUMENT.read_text(encoding="utf-8").partition("<!-- cases -->\n")[2].partition("<!-- /cases")[0]
        )
        self.assertEqual(text, documented())

    def row(self, case: Case) -> str:
        """A line of the table."""
        found = seen(Bench(self), case)
        cells = {"policy": f"`{json.dumps(case.policy)}`", "asked": _told(case.asked)}
        return ROW.format(**cells, expected=_told(case.expected), seen=_told(found))


def documented() -> str:
    """The table of the documentation."""
    cells = ((_policy(case), _told(case.asked), _told(case.expected)) for case in CASES)
    rows = [f"| {' | '.join(each)} |" for each in cells]
    return "\n".join(["", "| Policy | Asked for | Comes of it |", "|---|---|---|", *rows, "", ""])


def _policy(case: Case) -> str:
    """A policy as the documentation writes it: the one of most cases has a name there."""
    return "P" if case.policy == CORP else f"`{json.dumps(case.policy)}`"


def _told(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii").replace("|", "\\|")


if __name__ == "__main__":
    table = TableTests("test_cases")
    sys.stdout.write(HEAD + "\n")
    for each in CASES:
        sys.stdout.write(table.row(each) + "\n")
