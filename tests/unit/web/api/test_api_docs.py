"""docs/api.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from certctl.authority.operators import Role
from certctl.authority.revocation import REASONS
from certctl.web.api.openapi import openapi
from certctl.web.api.table import OPERATIONS

TEXT = (Path(__file__).parents[4] / "docs/api.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r'^api (?:-X (\w+) )?"\$API/([\w/$-]+)(?:\?([^"]*))?"', re.MULTILINE)


class PageTests(SynchronousTestCase):
    def test_examples(self) -> None:
        """Each example asks for an operation that there is, by parameters that it has."""
        table = {(each.method, each.path): each for each in OPERATIONS}
        asked = set()
        for method, path, query in EXAMPLE.findall(TEXT):
            known = re.sub(r"\$\w+|prof-\w+|iss-[\w-]+", "<id>", path)
            operation = table.get((method or "GET", known))
            self.assertIsNotNone(operation, f"{method} {path}")
            assert operation is not None
            asked.add(operation.path.partition("/")[0])
            names = {each.partition("=")[0] for each in query.split("&") if each}
            self.assertLessEqual(names, set(operation.query.__struct_fields__), path)
        self.assertEqual(asked, {each.path.partition("/")[0] for each in OPERATIONS})

    def test_words(self) -> None:
        """Every role, reason and status is told."""
        for role in Role:
            self.assertIn(f"| `{role}` |", TEXT)
        for reason in REASONS.values():
            self.assertIn(f"`{reason}`", TEXT)
        responses = openapi(OPERATIONS)["components"]["responses"]
        self.assertLessEqual(set(responses), set(re.findall(r"^\| (\d{3}) \|", TEXT, re.MULTILINE)))
