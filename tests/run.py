"""Run every check and every test suite, and end with one line of counts: ``python -m tests.run``.

The suites are trial's, in processes of their own; what they say is passed on, their summaries are added up. The
modules of the integration tests are suites of their own, as many side by side as there are processors.
A suite that ran nothing, or that ended otherwise than its summary says, counts as a failure. So does a claim of the
documentation whose test did not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import attrs

TRIAL = (sys.executable, "-m", "twisted.trial")
LINT = ("make", "--no-print-directory", "lint", f"VENV={sys.prefix}")
PROCESSORS = os.cpu_count() or 2
UNIT = (*TRIAL, f"-j{PROCESSORS}", "tests.unit")
ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs"
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


def modules(root: Path = ROOT) -> list[str]:
    """The modules of the integration tests, the largest first, which are the longest, so that none is waited for."""
    found = sorted((root / "tests" / "integration").glob("test_*.py"), key=lambda each: -each.stat().st_size)
    return [f"tests.integration.{each.stem}" for each in found]


def run(command: Sequence[str]) -> tuple[str, int]:
    """Run ``command``, show what it says as it says it, and return that and its exit status."""
    print("$", *command, flush=True)
    said = []
    with _started(command) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            print(line, end="", flush=True)
    return "".join(said), process.returncode


def run_side_by_side(commands: Iterable[Sequence[str]]) -> Iterator[tuple[str, int]]:
    """Run ``commands``, so many at a time as there are processors; show what each said when it has ended."""
    with ThreadPoolExecutor(PROCESSORS) as pool:
        for each in as_completed([pool.submit(_ran, command) for command in commands]):
            said, status = each.result()
            print(said, flush=True)
            yield said, status


def _ran(command: Sequence[str]) -> tuple[str, int]:
    began = time.monotonic()
    with _started(command) as process:
        said, _ = process.communicate()
    heading = f"$ {' '.join(command)}  # took {time.monotonic() - began:.0f} s\n"
    return heading + said, process.returncode


def _started(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def main() -> int:
    """Run everything, print the counts, and return the exit status."""
    _, status = run(LINT)
    total = Counts(failed=1) if status else Counts()
    suites = [run(UNIT), *run_side_by_side((*TRIAL, each) for each in modules())]
    for output, status in suites:
        total += judge(output, status)
    ended = dict(told("".join(output for output, _ in suites)))
    if failed := [name for name, how in ended.items() if how in ("FAIL", "ERROR")]:
        print("Failed:", *failed, sep="\n  ")
    if missing := unproved(claims(), ended):
        print("The documentation names tests that did not run:", *missing, sep="\n  ")
        total += Counts(failed=1)
    elif skipped := unproved(claims(), (name for name, how in ended.items() if how != "SKIPPED")):
        print("The documentation names tests that were skipped here:", *skipped, sep="\n  ")
    print(f"\n{total}", flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
