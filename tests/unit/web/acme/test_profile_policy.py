"""What profiles allow: the table of cases, and everything that is no single certificate."""

from __future__ import annotations

import json
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.web.acme.policy_cases import CASES, Case, seen
from tests.unit.web.bench import Bench

ROW = "| {policy} | {asked} | {expected} | {seen} |"
HEAD = "| policy | asked for | expected | seen |\n|---|---|---|---|"


class TableTests(SynchronousTestCase):
    """Each case from newOrder to the certificate; ``python -m tests.unit.web.acme.test_profile_policy`` prints them."""

    def test_cases(self) -> None:
        """What a profile makes of a request is what the table says."""
        for case in CASES:
            with self.subTest(policy=case.policy, asked=case.asked):
                self.assertEqual(seen(Bench(self), case), case.expected)

    def row(self, case: Case) -> str:
        """A line of the table."""
        found = seen(Bench(self), case)
        cells = {"policy": f"`{json.dumps(case.policy)}`", "asked": _told(case.asked)}
        return ROW.format(**cells, expected=_told(case.expected), seen=_told(found))


def _told(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii").replace("|", "\\|")


if __name__ == "__main__":
    table = TableTests("test_cases")
    sys.stdout.write(HEAD + "\n")
    for each in CASES:
        sys.stdout.write(table.row(each) + "\n")
