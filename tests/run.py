"""Run every check and every test suite, and end with one line of counts: ``python -m tests.run``.

The suites are trial's, in processes of their own; what they say is passed on, their summaries are added up.
A suite that ran nothing, or that ended otherwise than its summary says, counts as a failure. So does a claim of the
documentation whose test did not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

TRIAL = (sys.executable, "-m", "twisted.trial")
LINT = ("make", "--no-print-directory", "lint", f"VENV={sys.prefix}")
SUITES = (
    (*TRIAL, f"-j{os.cpu_count() or 2}", "tests.unit"),
    (*TRIAL, "tests.integration"),  # these share ports and processors: one after the other
)
PAGES = Path(__file__).parent.parent / "docs"
_CLAIM = re.compile(r"\btests\.(?:unit|integration)(?:\.\w+)+")
_TOLD = re.compile(
    r"^(?P<module>tests(?:\.\w+)+)$|^  (?P<case>\w+)$|^    (?P<test>test_\w+) \.\.\.(?:.*?)\[(?P<how>[A-Z]+)\]$",
    re.MULTILINE | re.DOTALL,
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


def claims(pages: Path = PAGES) -> set[str]:
    """The tests that the documentation names: modules, test cases and single tests."""
    return {name for page in pages.glob("*.md") for name in _CLAIM.findall(page.read_text(encoding="utf-8"))}


def told(output: str) -> Iterator[tuple[str, str]]:
    """The dotted name of each test in trial's ``output``, and how it ended."""
    module = case = ""
    for line in _TOLD.finditer(output):
        module, case = line["module"] or module, line["case"] or case
        if line["test"]:
            yield f"{module}.{case}.{line['test']}", line["how"]


def unproved(claims: Iterable[str], names: Iterable[str]) -> list[str]:
    """The claims that none of the tests stands for. What a contract has is run by the test cases that inherit it."""
    ran = {f"{name}." for name in names}
    methods = {name.split(".")[-2] for name in ran}
    return sorted(
        each
        for each in claims
        if not any(name.startswith(f"{each}.") for name in ran)
        and not (".contract" in each and each.rpartition(".")[2] in methods)
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
    total, said = Counts(failed=1) if status else Counts(), ""
    for suite in suites:
        output, status = run(suite)
        total += judge(output, status)
        said += output
    ended = dict(told(said))
    if missing := unproved(claims(), ended):
        print("The documentation names tests that did not run:", *missing, sep="\n  ")
        total += Counts(failed=1)
    elif skipped := unproved(claims(), (name for name, how in ended.items() if how != "SKIPPED")):
        print("The documentation names tests that were skipped here:", *skipped, sep="\n  ")
    print(f"\n{total}", flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
