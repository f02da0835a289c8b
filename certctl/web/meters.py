"""What is counted of the database and of validations: the meters that both are seen through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from functools import lru_cache, partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from certctl.acme.objects import ChallengeType
from certctl.acme.problems import NAMESPACE, ProblemType

OTHER = "other"
_PROBLEMS = frozenset(str(each.value[0]) for each in ProblemType)
_TYPES = [(type.value,) for type in ChallengeType]
_SOURCES = ("memory", "database")
_OPERATIONS = [("read",), ("redeem",), ("write",)]
# Seconds. A read of the embedded database takes 10 us; an attempt at a validation ends after 12 s.
_DATABASE_BUCKETS = (
    *(0.00001, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
_ATTEMPT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 12.5)


def begin(metric: MetricWrapperBase, labels: Iterable[tuple[str, ...]]) -> None:
    """Have these series from the beginning, at 0: what appears with 1 is no increase to Prometheus."""
    for values in labels:
        metric.labels(*values)


class DatabaseMeter:
    """Counts what the database is asked. A Meter of ``storage.measured``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        seconds = Histogram(
            "certctl_acme_database_seconds",
            "Time until the database answered; a write is durable then.",
            ("operation",),
            buckets=_DATABASE_BUCKETS,
            registry=registry,
        )
        unavailable = Counter(
            "certctl_acme_database_unavailable_total",
            "Calls that the database did not answer.",
            ("operation",),
            registry=registry,
        )
        begin(unavailable, _OPERATIONS)
        self._seconds = {operation: seconds.labels(operation).observe for (operation,) in _OPERATIONS}
        self._unavailable = unavailable.labels

    def asked(self, operation: str, seconds: float) -> None:
        """Count an answer."""
        self._seconds[operation](seconds)

    def unavailable(self, operation: str) -> None:
        """Count a call that was not answered."""
        self._unavailable(operation).inc()


class ValidationMeter:
    """Counts validations, and attempts at them. A Meter of ``validation.measured``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        ended = Counter(
            "certctl_acme_validations_total",
            "Validations that ended, by challenge type and outcome (valid, or the problem type).",
            ("type", "outcome"),
            registry=registry,
        )
        seconds = Histogram(
            "certctl_acme_validation_attempt_seconds",
            "Time of one attempt at a validation; one that fails is followed by up to three more.",
            ("type", "result"),
            buckets=_ATTEMPT_BUCKETS,
            registry=registry,
        )
        self._running = Gauge(
            "certctl_acme_validations_running", "Attempts under way.", ("type",), registry=registry
        )
        self._waiting = Gauge(
            "certctl_acme_validations_waiting", "Attempts that wait for a turn.", ("type",), registry=registry
        )
        begin(ended, ((type, "valid") for (type,) in _TYPES))
        begin(seconds, ((type, result) for (type,) in _TYPES for result in ("shown", "failed")))
        begin(self._running, _TYPES)
        begin(self._waiting, _TYPES)
        self._ended, self._seconds = ended.labels, seconds.labels

    def watch_waiting(self, waiting: Callable[[ChallengeType], int]) -> None:
        """Tell how many attempts wait for a turn, which are counted so."""
        for type in ChallengeType:
            self._waiting.labels(type.value).set_function(partial(waiting, type))

    def began(self, type: ChallengeType) -> None:
        """Count an attempt as under way."""
        self._running.labels(type.value).inc()

    def ended(self, type: ChallengeType, *, shown: bool, seconds: float) -> None:
        """Count it as over."""
        self._running.labels(type.value).dec()
        self._seconds(type.value, "shown" if shown else "failed").observe(seconds)

    def settled(self, details: Mapping[str, object]) -> None:
        """Count a validation that ended, from the details of its event."""
        self._ended(str(details.get("type", OTHER)), _outcome(details)).inc()


class RenewalMeter:
    """Counts renewal information. A RenewalObserver of ``authority.renewals``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        told = Counter(
            "certctl_acme_renewal_info_total",
            "Renewal information given, by window (usual, moved or overdue) and source (memory or database).",
            ("window", "source"),
            registry=registry,
        )
        self._running = Gauge(
            "certctl_acme_mass_renewals_running",
            "Mass renewals that have not ended, as of the last question for renewal information.",
            registry=registry,
        )
        begin(told, ((window, source) for window in ("usual", "moved", "overdue") for source in _SOURCES))
        self._told = lru_cache(maxsize=16)(told.labels)

    def told(self, kind: str, *, remembered: bool) -> None:
        """Count an answer."""
        self._told(kind, _SOURCES[0] if remembered else _SOURCES[1]).inc()

    def watch(self, running: Callable[[], Sized]) -> None:
        """Tell how many mass renewals run, which are found so."""
        self._running.set_function(lambda: len(running()))


def _outcome(details: Mapping[str, object]) -> str:
    """How a validation ended: valid, or by which problem."""
    error = details.get("error")
    if not isinstance(error, Mapping):
        return str(details.get("status", OTHER))
    type = str(error.get("type", "")).removeprefix(NAMESPACE)
    return type if type in _PROBLEMS else OTHER
