"""The shortcut to a route and Klein's own way lead to the same."""

from __future__ import annotations

from certctl.web.acme.table import ROUTES, find
from tests.unit.web.bench import BenchCase


class FindTests(BenchCase):
    def test_every_route(self) -> None:
        """Each route of the table is found by a path of its form, with the values of its variable parts."""
        for route in ROUTES:
            values = [f"value-{number}" for number in range(len(route.variables))]
            found = find(route.template.format(*values))
            assert found is not None
            self.assertIs(found[0], route)
            self.assertEqual(list(found[1].values()), values)

    def test_nothing_else(self) -> None:
        """A path that is nearly a route's is none."""
        for path in (
            "",
            "/",
            "order",
            "order/",
            "order//finalize",
            "order/x/",
            "order/x/finalize/",
            "new-order/",
            "x",
        ):
            with self.subTest(path):
                self.assertIsNone(find(path))


class SameAnswerTests(BenchCase):
    def test_plain_and_escaped(self) -> None:
        """A path that is written with an escape goes Klein's way, and gets the answer that the plain one gets."""
        account = self.bench.account()
        plain = account.post("new-order", {"identifiers": [{"type": "dns", "value": "a.example"}]})
        self.assertEqual(plain.status, 201)
        url = plain.one("Location")
        escaped = url.replace("acme-ord", "acme%2Dord")
        self.assertNotEqual(url, escaped)
        answers = [account.post(each, None) for each in (url, escaped)]
        self.assertEqual([each.status for each in answers], [200, 200])
        self.assertEqual(answers[0].json, answers[1].json)
