"""The plans by which PostgreSQL did what a server asked of it: its own module auto_explain writes them into its log."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

_SETTINGS = {
    "auto_explain.log_analyze": "on",  # so that it says what was read, and not only what was planned
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_nested_statements": "on",  # those of triggers and of foreign keys
}
SOON = 0.5  # seconds, within which sessions hear of settings
LARGE = frozenset(
    (
        "acme_account_contacts",
        "acme_accounts",
        "acme_authorizations",
        "acme_challenges",
        "acme_order_authorizations",
        "acme_orders",
        "audit_batches",
        "audit_events",
        "certificate_versions",
        "managed_certificate_names",
        "managed_certificates",
    )
)
_PLAN = re.compile(r" plan:\n(\t{\n(?:\t .*\n)+\t}\n)")  # a whole one: others may be about to be written
_PREPARED = re.compile(
    r"(?:PREPARE \w+ AS )?(.*?)(?:;EXECUTE .*)?", re.DOTALL
)  # as storage/postgres_sql.py sends it
_VALUE = re.compile(r"'(?:[^']|'')*'(?:::\w+)?|\$\d+|(?<![\w.])\d+(?![\w.])")
_VALUES = re.compile(r"\?(?:, \?)+")


@attrs.frozen
class Plan:
    """How one statement was done."""

    sql: str
    root: Mapping[str, Any]

    def scanned(self) -> set[str]:
        """The large tables that were read from end to end."""
        return {
            node["Relation Name"]
            for node in _nodes(self.root)
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE
        }

    @property
    def pages(self) -> int:
        """How many pages of 8 KiB were looked at, in memory or on the disk."""
        return int(self.root.get("Shared Hit Blocks", 0) + self.root.get("Shared Read Blocks", 0))

    def lines(self) -> Iterator[str]:
        """The plan as people read it: a line for each node, with the rows that it gave and left out."""
        for depth, node in _walk(self.root, 0):
            of = " ".join(str(node[name]) for name in ("Relation Name", "Index Name") if name in node)
            left = sum(int(count) for name, count in node.items() if name.startswith("Rows Removed"))
            rows = f"rows {node.get('Actual Rows', '?')} x {node.get('Actual Loops', '?')}"
            yield f"{'  ' * depth}{node['Node Type']} {of} ({rows}{f', left out {left}' if left else ''})"


def prepare(sql: Callable[[str], Any]) -> None:
    """Have the module ready in sessions that begin from now on; ``sql`` runs a statement as the server's superuser."""
    sql("LOAD 'auto_explain'")  # which says it if the module is not there
    sql("ALTER SYSTEM SET session_preload_libraries = auto_explain")
    sql("SELECT pg_reload_conf()")
    time.sleep(SOON)
    for name, value in _SETTINGS.items():
        sql(f"ALTER SYSTEM SET {name} = {value}")
    sql("SELECT pg_reload_conf()")


def record(sql: Callable[[str], Any], wanted: bool) -> None:
    """Let the server write plans from now on, or no more."""
    sql(f"ALTER SYSTEM SET auto_explain.log_min_duration = {0 if wanted else -1}")
    sql("SELECT pg_reload_conf()")
    time.sleep(SOON)


def done_meanwhile(log: Path, ask: Callable[[], Any]) -> list[Plan]:
    """The plans of all that the server does while something is asked for."""
    start = log.stat().st_size
    ask()
    with log.open(encoding="utf-8", errors="replace") as file:
        file.seek(start)
        return list(_read(file.read()))


def _read(log: str) -> Iterator[Plan]:
    for match in _PLAN.finditer(log):
        document = json.loads(match[1])
        prepared = _PREPARED.fullmatch(document["Query Text"].strip())
        assert prepared is not None
        yield Plan(_without_values(" ".join(prepared[1].split())), document["Plan"])


def _without_values(sql: str) -> str:
    """The text with ``?`` for its values, and for lists of them."""
    return _VALUES.sub("?", _VALUE.sub("?", sql))


def _nodes(root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (node for _, node in _walk(root, 0))


def _walk(root: Mapping[str, Any], depth: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    yield depth, root
    for child in root.get("Plans", ()):
        yield from _walk(child, depth + 1)
