"""A run's figures, as one document and as text."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from benchmarks.measure import Latency
from benchmarks.workers import Outcome, Plan

MEGABYTE = 1_000_000  # bytes


@attrs.frozen(kw_only=True)
class Figures:
    """What a run found."""

    certificates_per_second: float
    server_cpu: float | None  # milliseconds a certificate, a database's included; None if no pid was given
    database_cpu: float | None  # of it a database's
    server_user: float | None
    server_system: float | None
    server_peak_memory: float | None  # megabytes
    generator_cpu: float  # milliseconds a certificate
    others_cpu: float | None  # of what else ran on the machine, in percent of one processor
    elapsed: float  # seconds
    counts: Mapping[str, int]
    latencies: Mapping[str, Latency]


def figures(plan: Plan, outcome: Outcome) -> Figures:
    """Work out the figures of a run."""
    each = 1000 / outcome.certificates  # seconds to milliseconds a certificate
    used, known = outcome.server, bool(plan.pids)
    others = outcome.machine - used.user - used.system - outcome.generator_cpu
    return Figures(
        certificates_per_second=outcome.certificates / outcome.elapsed,
        server_cpu=each * (used.user + used.system) if known else None,
        database_cpu=each * (outcome.database.user + outcome.database.system) if plan.database_pids else None,
        server_user=each * used.user if known else None,
        server_system=each * used.system if known else None,
        server_peak_memory=used.peak_memory / MEGABYTE if known else None,
        generator_cpu=each * outcome.generator_cpu,
        others_cpu=max(0.0, 100 * others / outcome.elapsed) if known else None,
        elapsed=outcome.elapsed,
        counts=dict(sorted(outcome.counts.items())),
        latencies={step: Latency.of(times) for step, times in outcome.seconds.items()},
    )


def machine() -> dict[str, str]:
    """Say what this was measured on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": f"{os.cpu_count()} x {model}",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def document(plan: Plan, found: Figures) -> dict[str, Any]:
    """Return a run as a JSON object."""
    planned = attrs.asdict(plan, value_serializer=_plain)
    return {"machine": machine(), "plan": planned, "figures": attrs.asdict(found)}


def _plain(_instance: object, _attribute: object, value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _of_it(database: float | None) -> str:
    return "" if database is None else f"; of it the database {database:.2f}"


def lines(plan: Plan, found: Figures) -> Iterator[str]:
    """Yield a run as lines of text."""
    yield f"{plan.directory}: {plan.certificates} certificates, {plan.clients} clients, {plan.key_type}"
    yield f"  {found.certificates_per_second:.1f} certificates/s in {found.elapsed:.2f} s"
    if found.server_cpu is not None:
        yield (
            f"  server: {found.server_cpu:.2f} ms CPU a certificate"
            f" ({found.server_user:.2f} user, {found.server_system:.2f} system{_of_it(found.database_cpu)}),"
            f" {found.server_peak_memory:.0f} MB at its peak"
        )
        yield f"  whatever else ran here: {found.others_cpu:.0f} % of one processor"
    yield f"  this generator: {found.generator_cpu:.2f} ms CPU a certificate"
    yield "  " + ", ".join(f"{name} {count}" for name, count in found.counts.items())
    yield f"  {'step':<14}{'count':>8}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}{'longest':>10}"
    for step, each in found.latencies.items():
        times = "".join(f"{value:>10.2f}" for value in (each.p50, each.p90, each.p99, each.longest))
        yield f"  {step:<14}{each.count:>8}{times}"
