"""The table of a comparison."""

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.compare import medians, spread, table
from benchmarks.measure import Latency
from benchmarks.report import Figures


def figures(cpu: float, step: str = "newOrder") -> Figures:
    """Figures of which the CPU matters."""
    return Figures(
        certificates_per_second=100.0,
        server_cpu=cpu,
        database_cpu=None,
        server_user=cpu,
        server_system=0.0,
        server_peak_memory=50.0,
        generator_cpu=1.0,
        others_cpu=0.0,
        elapsed=1.0,
        counts={},
        latencies={step: Latency(count=1, p50=cpu, p90=cpu, p99=cpu, longest=cpu)},
    )


class TableTests(SynchronousTestCase):
    """Medians, and the ratio of the first column to the second."""

    def test_median_of_the_rounds(self) -> None:
        found = medians([figures(9.0), figures(2.0), figures(3.0)])
        self.assertEqual(found["server CPU, ms/certificate"], 3.0)
        self.assertEqual(found["newOrder, p99 ms"], 3.0)

    def test_two_servers_have_a_ratio(self) -> None:
        lines = list(table({"one": [figures(1.0)], "other": [figures(4.0)]}))
        self.assertEqual(lines[0], "| median | one | other | ratio |")
        self.assertIn("| server CPU, ms/certificate | 1.00 | 4.00 | 0.25 |", lines)

    def test_three_servers_have_two_ratios_of_the_rounds(self) -> None:
        """Each round's figure is held against the other's of that round, not against the median."""
        runs = {
            "one": [figures(1.0), figures(4.0)],
            "other": [figures(2.0), figures(2.0)],
            "third": [figures(1.0), figures(4.0)],
        }
        lines = list(table(runs))
        self.assertEqual(lines[0], "| median | one | other | third | ratio to other | ratio to third |")
        row = (
            "| server CPU, ms/certificate | 2.50 | 2.00 | 2.50 | 1.25 (0.50 to 2.00) | 1.00 (1.00 to 1.00) |"
        )
        self.assertIn(row, lines)

    def test_one_server_has_none(self) -> None:
        self.assertIn("| certificates/s | 100.00 |", list(table({"one": [figures(1.0)], "other": []})))

    def test_step_of_one_server_alone_stays_empty_for_the_other(self) -> None:
        lines = list(table({"one": [figures(1.0)], "other": [figures(4.0, "order")]}))
        self.assertIn("| newOrder, p50 ms | 1.00 |  |  |", lines)
        self.assertIn("| order, p50 ms |  | 4.00 |  |", lines)

    def test_nothing_is_divided_by_zero(self) -> None:
        row = "server CPU, ms/certificate"
        self.assertEqual(spread(row, [figures(1.0)], [figures(0.0)]), "")
        self.assertEqual(spread("order, p50 ms", [figures(1.0)], [figures(1.0)]), "")
