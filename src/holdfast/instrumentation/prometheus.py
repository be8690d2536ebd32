"""Metrics for Prometheus, by prometheus-client. Needs the extra `prometheus`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as exc:
    raise ImportError("metrics for Prometheus need an extra: install holdfast with its extra 'prometheus'") from exc

from .hook import Hook, Outcome
from .metric_names import BUCKETS, MOST, MetricNames


class PrometheusHook(Hook):
    """Keeps metrics in a registry of prometheus-client: `holdfast.instrument(PrometheusHook())`."""

    def __init__(
        self,
        registry: CollectorRegistry = REGISTRY,
        *,
        group: Callable[[str], str] | None = None,
        most_names: int = MOST,
        buckets: Sequence[float] = BUCKETS,
    ) -> None:
        """Make the metrics.

        registry: where they are kept; by default that of the process, which `start_http_server()` serves.
        group: what a name is called in metrics, from the name: `lambda name: name.partition(":")[0]` makes "user" of
            "user:17" and of "user:18".
        most_names: how many names, after `group`, have metrics of their own; all further ones are "other".
        buckets: bounds of the histograms, in seconds.

        Raises ValueError if the registry has metrics of these names already, as from another PrometheusHook, or if
        `most_names` is below 0; TypeError for what is no number of names, or a group that is no function.
        """
        self._names = MetricNames(group, most_names)
        of = ("kind", "name")
        self._wait = Histogram(
            "holdfast_wait_seconds",
            "How long something was waited for that was not free.",
            (*of, "outcome"),
            registry=registry,
            buckets=buckets,
        )
        self._hold = Histogram(
            "holdfast_hold_seconds", "How long something was held.", of, registry=registry, buckets=buckets
        )
        self._waiters = Gauge(
            "holdfast_waiters",
            "Tasks and threads of this process that wait.",
            of,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._holders = Gauge(
            "holdfast_holders",
            "What this process holds.",
            of,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._contentions = Counter(
            "holdfast_contentions", "How often something was asked for that was not free.", of, registry=registry
        )
        self._leases_lost = Counter(
            "holdfast_leases_lost", "How often something that was held was lost.", of, registry=registry
        )
        self._engine_call = Histogram(
            "holdfast_engine_call_seconds",
            "How long requests to the engine have taken.",
            ("engine", "operation"),
            registry=registry,
            buckets=buckets,
        )
        self._engine_errors = Counter(
            "holdfast_engine_errors",
            "How often requests to the engine have failed.",
            ("engine", "operation", "error"),
            registry=registry,
        )
        self._sessions = Counter(
            "holdfast_sessions", "What has happened to sessions of this process.", ("event",), registry=registry
        )

    def began_to_wait(self, kind: str, name: str) -> None:
        labels = kind, self._names.of(name)
        self._contentions.labels(*labels).inc()
        self._waiters.labels(*labels).inc()

    def waited(self, kind: str, name: str, seconds: float, outcome: Outcome) -> None:
        labels = kind, self._names.of(name)
        self._waiters.labels(*labels).dec()
        self._wait.labels(*labels, outcome).observe(seconds)

    def acquired(self, kind: str, name: str) -> None:
        self._holders.labels(kind, self._names.of(name)).inc()

    def held(self, kind: str, name: str, seconds: float) -> None:
        labels = kind, self._names.of(name)
        self._holders.labels(*labels).dec()
        self._hold.labels(*labels).observe(seconds)

    def lease_lost(self, kind: str, name: str) -> None:
        self._leases_lost.labels(kind, self._names.of(name)).inc()

    def engine_call(self, engine: str, operation: str, seconds: float, error: BaseException | None) -> None:
        self._engine_call.labels(engine, operation).observe(seconds)
        if error is not None:
            self._engine_errors.labels(engine, operation, type(error).__name__).inc()

    def session_opened(self, session: str) -> None:
        self._sessions.labels("opened").inc()

    def session_reopened(self, session: str) -> None:
        self._sessions.labels("reopened").inc()

    def session_lost(self, session: str, why: Exception) -> None:
        self._sessions.labels("lost").inc()

    def session_closed(self, session: str) -> None:
        self._sessions.labels("closed").inc()

    def session_evicted(self, session: str, by: str) -> None:
        self._sessions.labels("evicted").inc()


PrometheusHook.__module__ = "holdfast.instrumentation"  # where users import it from
