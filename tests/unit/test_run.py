from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.run import Counts, claims, judge, told, unproved


class JudgeTests(SynchronousTestCase):
    """The last line of a test run can be trusted."""

    def test_summary(self) -> None:
        """The counts are those of trial's summary."""
        said = "Ran 9 tests in 0.1s\n\nFAILED (skips=1, failures=2, errors=3, successes=4)\n"
        self.assertEqual(judge(said, 1), Counts(passed=4, failed=5, skipped=1))

    def test_no_test_ran_failed(self) -> None:
        """A suite without tests is a failure, though trial calls it passed."""
        self.assertEqual(judge("Ran 0 tests in 0.000s\n\nPASSED\n", 0), Counts(failed=1))

    def test_no_summary_failed(self) -> None:
        """A suite that broke off is a failure."""
        self.assertEqual(judge("Traceback (most recent call last):\n", 1), Counts(failed=1))

    def test_bad_status_failed(self) -> None:
        """A suite that says it passed, but ends with an error, has a failure beside what passed."""
        self.assertEqual(judge("PASSED (successes=4)\n", -9), Counts(passed=4, failed=1))

    def test_words(self) -> None:
        """Skipped tests are named only where there are some."""
        self.assertEqual(str(Counts(7, 0)), "7 passed, 0 failed")
        self.assertEqual(str(Counts(7, 1, 2)), "7 passed, 1 failed, 2 skipped")


class ClaimTests(SynchronousTestCase):
    """What the documentation claims was shown in this very run."""

    SAID = (
        "tests.unit.test_a\n  OneTests\n    test_x ...      [OK]\n    test_y ... \nprinted\n     [SKIPPED]\n"
        "  TwoTests\n    test_x ...      [FAIL]\n\ntests.integration.test_b\n  OneTests\n    test_z ...  [OK]\n"
    )

    def test_told(self) -> None:
        """Each test is known by its module and its case, and how it ended."""
        self.assertEqual(
            dict(told(self.SAID)),
            {
                "tests.unit.test_a.OneTests.test_x": "OK",
                "tests.unit.test_a.OneTests.test_y": "SKIPPED",
                "tests.unit.test_a.TwoTests.test_x": "FAIL",
                "tests.integration.test_b.OneTests.test_z": "OK",
            },
        )

    def test_unproved(self) -> None:
        """A claim stands on a module, a case or a test that ran; one on a contract, on whoever inherits it."""
        good = ("tests.unit.test_a", "tests.unit.test_a.OneTests", "tests.integration.test_b.OneTests.test_z")
        inherited = "tests.unit.storage.contract.Contract.test_x"
        bad = ["tests.unit.storage.contract.Contract.test_gone", "tests.unit.test_a.OneTests.test_z"]
        names = [name for name, _ in told(self.SAID)]
        self.assertEqual(unproved([*good, inherited, *bad], names), bad)

    def test_pages(self) -> None:
        """The pages claim something."""
        self.assertGreater(len(claims()), 100)
