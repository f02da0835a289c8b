"""The metrics of several workers as one text."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from certctl.web.figures import merged


class FiguresTests(SynchronousTestCase):
    def test_merged(self) -> None:
        """Each sample says whose it is, and all samples of a metric stand together under its one description."""
        one = (
            b'# HELP a_total A.\n# TYPE a_total counter\na_total{x="{ }",y=""} 1.0\n'
            b"# HELP b B.\n# TYPE b gauge\nb 2.0\n"
        )
        two = b"# HELP b B.\n# TYPE b gauge\nb NaN\n# HELP c C\n# TYPE c gauge\n"
        self.assertEqual(
            merged({"2": two, "1": one}).decode(),
            '# HELP a_total A.\n# TYPE a_total counter\na_total{worker="1",x="{ }",y=""} 1.0\n'
            '# HELP b B.\n# TYPE b gauge\nb{worker="1"} 2.0\nb{worker="2"} NaN\n'
            "# HELP c C\n# TYPE c gauge\n",
        )
