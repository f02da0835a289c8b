"""Prometheus metrics, all named ``certctl_acme_*`` or ``certctl_*``."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from certctl import __version__
from certctl.background import Background
from certctl.web.answer import Answer

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # seconds
MAX_PROFILES = 1000  # labels; a client may ask for any number of profiles that are not there


class Metrics:
    """What is counted, in a registry of its own."""

    def __init__(self, background: Background) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "certctl_acme_requests",
            "ACME requests by operation, outcome (ok, or the problem type) and profile.",
            ("operation", "outcome", "profile"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "certctl_acme_request_seconds",
            "Time from the last byte of an ACME request to its answer.",
            ("operation",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.swept = Counter(
            "certctl_acme_swept", "Rows that the sweeper moved or deleted.", registry=self.registry
        )
        running = Gauge(
            "certctl_acme_running",
            "Requests and validations that are under way and wait for something.",
            registry=self.registry,
        )
        running.set_function(lambda: len(background))
        info = Gauge("certctl_build_info", "The version that runs.", ("version",), registry=self.registry)
        info.labels(__version__).set(1)
        self._profiles: set[str] = set()
        self._counter = lru_cache(maxsize=4096)(self._requests.labels)
        self._histogram = lru_cache(maxsize=64)(self._seconds.labels)

    def request(self, operation: str, outcome: str, profile_id: str | None, seconds: float) -> None:
        """Count one request. A profile is named only once a request to it went well."""
        if outcome == "ok" and profile_id is not None and len(self._profiles) < MAX_PROFILES:
            self._profiles.add(profile_id)
        profile = profile_id if profile_id in self._profiles else "other"
        self._counter(operation, outcome, profile).inc()
        self._histogram(operation).observe(seconds)

    def answer(self) -> Answer:
        """All metrics in Prometheus' text format."""
        return Answer(content_type=CONTENT_TYPE_LATEST, body=generate_latest(self.registry))
