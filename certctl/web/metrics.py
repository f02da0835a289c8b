"""Prometheus metrics, all named ``certctl_*``. What each means is told in docs/metrics.md.

Every label has few values, whatever a stranger sends: they come from tables of the code, or are the ids of profiles
and issuers that exist. None is a name of a certificate, an account or a key.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache, partial
from time import perf_counter, process_time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from certctl import __version__
from certctl.acme.problems import ProblemType
from certctl.authority.trail import Action, Event
from certctl.background import Background
from certctl.issuance.issuer import Issuer
from certctl.web import user_agents
from certctl.web.answer import Answer
from certctl.web.figures import merged
from certctl.web.meters import OTHER, DatabaseMeter, RenewalMeter, ValidationMeter, begin

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # seconds
MAX_PROFILES = 1000  # label values; more than these are counted together
MAX_USER_AGENTS = 1000  # remembered with their family; a stranger may invent any number
DEAR = 0.02  # seconds of processor time for a scrape: some 300 profiles
ALL_KEPT = 1.0  # seconds for which the metrics of all workers are sent again
KEPT = 10  # times as long a dear scrape is sent again
FAULTS = frozenset(
    {"error", "unavailable", ProblemType.SERVER_INTERNAL.value[0]}
)  # outcomes: not the client's
LIMITED = ("new-order", "challenge", "key-change")  # operations that have a rate limit, counted from 0 on

Others = Callable[[], Awaitable[Mapping[str, bytes]]]

disable_created_metrics()  # a second series beside each, which says when it was first counted


class Metrics:
    """What is counted, in a registry of its own.

    An Observer of the trail.
    """

    def __init__(
        self,
        background: Background,
        seconds: Callable[[], float],
        sweep_interval: timedelta,
    ) -> None:
        self.registry = CollectorRegistry()
        self._now = seconds
        self._kept: Answer | None = None
        self._kept_until = 0.0
        self._others: Others | None = None
        self._issuers: Mapping[str, Issuer] = {}
        self._profiles: set[str] = set()
        self._count_requests()
        self._count_events()
        self.validations = ValidationMeter(self.registry)
        self.database = DatabaseMeter(self.registry)
        self.renewals = RenewalMeter(self.registry)
        self._count_sweeps(sweep_interval)
        self._tell_expiry()
        running = self._gauge(
            "certctl_acme_running", "Requests and validations under way that wait for something."
        )
        running.set_function(lambda: len(background))
        self._gauge("certctl_build_info", "The version that runs.", "version").labels(__version__).set(1)
        ProcessCollector(registry=self.registry)

    # What is counted, and how it is called.

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(name, help, labels, registry=self.registry)

    def _gauge(self, name: str, help: str, *labels: str) -> Gauge:
        return Gauge(name, help, labels, registry=self.registry)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, help, labels, buckets=buckets, registry=self.registry)

    def _count_requests(self) -> None:
        requests = self._counter(
            "certctl_acme_requests_total",
            "ACME requests by operation, outcome (ok, a problem type, unavailable or error) and profile.",
            "operation",
            "outcome",
            "profile",
        )
        duration = self._histogram(
            "certctl_acme_request_seconds",
            "Time from the last octet of an ACME request to its answer.",
            BUCKETS,
            "operation",
        )
        clients = self._counter(
            "certctl_acme_client_requests_total",
            "ACME requests by the client that User-Agent names and result (ok, refused or failed).",
            "client",
            "result",
        )
        self._limited = self._counter(
            "certctl_acme_rate_limited_total", "Requests refused by a rate limit, by operation.", "operation"
        )
        self._nonces_refused = self._counter(
            "certctl_acme_nonces_refused_total", "Requests refused because of their nonce."
        )
        begin(
            clients, ((name, result) for name in user_agents.NAMES for result in ("ok", "refused", "failed"))
        )
        begin(self._limited, ((operation,) for operation in LIMITED))
        # Children are looked up once and kept: the way through ``labels`` costs more than the counting.
        self._request = lru_cache(maxsize=8192)(requests.labels)
        self._request_seconds = lru_cache(maxsize=64)(duration.labels)
        self._client = lru_cache(maxsize=MAX_USER_AGENTS)(
            lambda user_agent, result: clients.labels(user_agents.family(user_agent), result)
        )

    def _count_events(self) -> None:
        events = self._counter("certctl_acme_events_total", "Events that the audit trail recorded.", "action")
        created = self._counter("certctl_acme_orders_created_total", "Orders made.", "profile")
        finalized = self._counter("certctl_acme_orders_finalized_total", "Orders finalized.", "profile")
        issued = self._counter(
            "certctl_acme_certificates_issued_total", "Certificates issued.", "profile", "issuer"
        )
        revoked = self._counter(
            "certctl_acme_certificates_revoked_total", "Certificates revoked.", "profile", "reason"
        )
        begin(events, ((action.value,) for action in Action))
        self._event = lru_cache(maxsize=256)(events.labels)
        self._created, self._finalized, self._issued, self._revoked = (
            lru_cache(maxsize=4096)(each.labels) for each in (created, finalized, issued, revoked)
        )

    def _count_sweeps(self, interval: timedelta) -> None:
        self._swept = self._counter("certctl_acme_swept_total", "Rows that the sweeper moved or deleted.")
        self._swept_at = self._gauge(
            "certctl_acme_sweeper_last_success_timestamp_seconds",
            "When a sweep last came to its end; 0 if never.",
        )
        self._gauge("certctl_acme_sweeper_interval_seconds", "Time between sweeps, as it is set.").set(
            interval.total_seconds()
        )

    def _tell_expiry(self) -> None:
        expiry = self._gauge(
            "certctl_acme_issuer_expires_in_seconds",
            "Time until the first certificate of an issuer's chain ends; below 0 after that.",
            "issuer",
        )
        self._expiry = expiry
        self._told: set[str] = set()  # issuers
        self._expires_in = self._gauge(
            "certctl_acme_server_certificate_expires_in_seconds",
            "Time until the server's own TLS certificate ends; below 0 after that.",
        )
        self._lifetime = self._gauge(
            "certctl_acme_server_certificate_lifetime_seconds",
            "Time from the beginning to the end of the server's own TLS certificate.",
        )
        self.watch_certificate(lambda: None)

    def _until_end_of(self, id: str) -> float:
        return self._issuers[id].expires_at.timestamp() - self._now() if id in self._issuers else math.nan

    # What is asked when somebody scrapes.

    def watch_issuers(self, issuers: Mapping[str, Issuer]) -> None:
        """Tell of these issuers, of which there may be others from one scrape to the next."""
        self._issuers = issuers
        self._tell_issuers()

    def _tell_issuers(self) -> None:
        """Begin to tell of issuers that are new, and end it for those that sign no more."""
        for id in set(self._issuers) - self._told:
            self._told.add(id)
            self._expiry.labels(id).set_function(partial(self._until_end_of, id))
        for id in self._told - set(self._issuers):
            self._told.remove(id)
            self._expiry.remove(id)

    def watch_certificate(self, validity: Callable[[], tuple[datetime, datetime] | None]) -> None:
        """Tell of the server's own certificate, whose first and last second are found so."""

        def expires_in() -> float:
            found = validity()
            return math.nan if found is None else found[1].timestamp() - self._now()

        def lifetime() -> float:
            found = validity()
            return math.nan if found is None else (found[1] - found[0]).total_seconds()

        self._expires_in.set_function(expires_in)
        self._lifetime.set_function(lifetime)

    def join(self, worker: str, others: Others) -> None:
        """Be the metrics of one worker, and ask for those of the others by what they are called."""
        self._worker, self._others = worker, others
        self._all = Answer(content_type=CONTENT_TYPE_LATEST)
        self._all_until = 0.0

    # What is told when it happens.

    def know(self, profile_ids: Iterable[str]) -> None:
        """Count for these profiles, which exist, by their names from now on."""
        for each in profile_ids:
            self._named(each, exists=True)

    def _named(self, profile_id: str | None, *, exists: bool) -> str:
        """The label value for a profile: its id if it is known to exist, and there are not too many.

        What is counted for a profile begins with 0, so that the first that happens is seen as an increase.
        """
        if profile_id in self._profiles:
            return profile_id
        if not exists or profile_id is None or len(self._profiles) >= MAX_PROFILES:
            return OTHER
        self._profiles.add(profile_id)
        self._created(profile_id)
        self._finalized(profile_id)
        for issuer_id in self._issuers:
            self._issued(profile_id, issuer_id)
        return profile_id

    def request(
        self, operation: str, outcome: str, profile_id: str | None, user_agent: bytes, seconds: float
    ) -> None:
        """Count one request. A request that went well shows that its profile exists."""
        well = outcome == "ok"
        self._request(operation, outcome, self._named(profile_id, exists=well)).inc()
        self._request_seconds(operation).observe(seconds)
        result = "ok" if well else "failed" if outcome in FAULTS else "refused"
        self._client(user_agent[: user_agents.READ], result).inc()
        if outcome == "rateLimited":
            self._limited.labels(operation).inc()
        elif outcome == "badNonce":
            self._nonces_refused.inc()

    def recorded(self, event: Event) -> None:
        """Count an event of the trail, and what it says of orders, certificates and validations."""
        action, details = event.action, event.details
        self._event(action.value).inc()
        profile = details.get("profile")
        if action is Action.ORDER_CREATED:
            self._created(self._named(profile, exists=True)).inc()
        elif action is Action.ORDER_FINALIZED:
            named = self._named(profile, exists=True)
            self._finalized(named).inc()
            self._issued(named, str(details.get("issuer", OTHER))).inc()
        elif action is Action.CERTIFICATE_REVOKED:
            self._revoked(self._named(profile, exists=True), str(details.get("reason", OTHER))).inc()
        elif action is Action.PROFILE_CREATED:
            self.know([event.resource_id])
        elif action is Action.CHALLENGE_COMPLETED:
            self.validations.settled(details)

    def swept(self, rows: int) -> None:
        """Count a sweep that came to its end."""
        self._swept.inc(rows)
        self._swept_at.set(self._now())

    def answer(self) -> Answer:
        """All metrics in Prometheus' text format.

        What was dear to make is sent again for a while: everybody may ask, and nobody may keep the server busy so.
        """
        if self._kept is not None and perf_counter() < self._kept_until:
            return self._kept
        self._tell_issuers()
        began = process_time()
        self._kept = Answer(content_type=CONTENT_TYPE_LATEST, body=generate_latest(self.registry))
        if (cost := process_time() - began) > DEAR:
            self._kept_until = perf_counter() + KEPT * cost
        return self._kept

    async def scraped(self) -> Answer:
        """What ``/metrics`` says: these metrics, or those of all workers, each with its label."""
        if self._others is None:
            return self.answer()
        if perf_counter() >= self._all_until:
            others = await self._others()
            texts = {self._worker: self.answer().body, **others}
            self._all = Answer(content_type=CONTENT_TYPE_LATEST, body=merged(texts))
            self._all_until = perf_counter() + ALL_KEPT
        return self._all
