"""The metrics of several workers as one text, in which each sample says whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

HELP, TYPE, SAMPLE = "# HELP ", "# TYPE ", ""


def merged(texts: Mapping[str, bytes]) -> bytes:
    """Join texts in Prometheus' format, each with the label ``worker``; all samples of a metric stand together."""
    metrics: dict[str, dict[str, list[str]]] = {}  # by metric and kind of line
    for worker, text in sorted(texts.items()):
        lines: dict[str, list[str]] = {}
        for line in text.decode("utf-8").splitlines(keepends=True):
            if line.startswith(HELP):
                lines = metrics.setdefault(line.split(" ", 3)[2], {HELP: [], TYPE: [], SAMPLE: []})
            if not line.startswith((HELP, TYPE)):
                lines[SAMPLE].append(_labelled(line, worker))
            elif not lines[kind := line[: len(HELP)]]:  # once for all
                lines[kind].append(line)
    return "".join(chain.from_iterable(chain(*each.values()) for each in metrics.values())).encode("utf-8")


def _labelled(sample: str, worker: str) -> str:
    """A line with one label more, the first one."""
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        return f'{name}{{worker="{worker}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{worker="{worker}"}} {value}'
