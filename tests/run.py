"""Run every check and every test suite, and end with one line of counts: ``python -m tests.run``.

The suites are trial's, in processes of their own; what they say is passed on, their summaries are added up.
A suite that ran nothing, or that ended otherwise than its summary says, counts as a failure.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence

import attrs

TRIAL = (sys.executable, "-m", "twisted.trial")
LINT = ("make", "--no-print-directory", "lint", f"VENV={sys.prefix}")
SUITES = (
    (*TRIAL, f"-j{os.cpu_count() or 2}", "tests.unit"),
    (*TRIAL, "tests.integration"),  # these share ports and processors: one after the other
)
_SUMMARY = re.compile(r"^(?:PASSED|FAILED)(?: \(([^)]*)\))?$", re.MULTILINE)


@attrs.frozen
class Counts:
    """How many tests ended in which way."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def judge(output: str, status: int) -> Counts:
    """Return the counts of trial's ``output``; ``status`` is what its process ended with."""
    summaries = _SUMMARY.findall(output)
    counts = _counts(summaries[-1]) if summaries else Counts()
    ran_something = counts.passed or counts.failed or counts.skipped
    if not ran_something or (status != 0 and not counts.failed):
        counts += Counts(failed=1)
    return counts


def _counts(summary: str) -> Counts:
    number = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", summary)}
    return Counts(
        passed=number.get("successes", 0) + number.get("expectedFailures", 0),
        failed=sum(number.get(name, 0) for name in ("failures", "errors", "unexpectedSuccesses")),
        skipped=number.get("skips", 0),
    )


def run(command: Sequence[str]) -> tuple[str, int]:
    """Run ``command``, show what it says as it says it, and return that and its exit status."""
    print("$", *command, flush=True)
    said = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            print(line, end="", flush=True)
    return "".join(said), process.returncode


def main(lint: Sequence[str] = LINT, suites: Iterable[Sequence[str]] = SUITES) -> int:
    """Run everything, print the counts, and return the exit status."""
    _, status = run(lint)
    total = Counts(failed=1) if status else Counts()
    for suite in suites:
        total += judge(*run(suite))
    print(f"\n{total}", flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
