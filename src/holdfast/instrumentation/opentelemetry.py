"""Metrics for OpenTelemetry, by its API. Needs the extra `opentelemetry`, and an SDK that the program sets up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

try:
    from opentelemetry.metrics import MeterProvider, get_meter
except ImportError as exc:
    raise ImportError(
        "metrics for OpenTelemetry need an extra: install holdfast with its extra 'opentelemetry'"
    ) from exc

from .hook import Hook, Outcome
from .metric_names import BUCKETS, MOST, MetricNames


class OpenTelemetryHook(Hook):
    """Records metrics with OpenTelemetry: `holdfast.instrument(OpenTelemetryHook())`."""

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        *,
        group: Callable[[str], str] | None = None,
        most_names: int = MOST,
        buckets: Sequence[float] = BUCKETS,
    ) -> None:
        """Make the instruments.

        meter_provider: by default that of the process, `set_meter_provider()`, also if it is set later.
        group, most_names: as for PrometheusHook.
        buckets: bounds of the histograms, in seconds; a view of the SDK comes before them.

        Raises ValueError if `most_names` is below 0; TypeError for what is no number of names, or a group that is no
        function.
        """
        self._names = MetricNames(group, most_names)
        meter = get_meter("holdfast", meter_provider=meter_provider)
        bounds = [*buckets]
        self._wait = meter.create_histogram(
            "holdfast.wait.duration",
            "s",
            "How long something was waited for that was not free.",
            explicit_bucket_boundaries_advisory=bounds,
        )
        self._hold = meter.create_histogram(
            "holdfast.hold.duration", "s", "How long something was held.", explicit_bucket_boundaries_advisory=bounds
        )
        self._waiters = meter.create_up_down_counter(
            "holdfast.waiters", "{waiter}", "Tasks and threads of this process that wait."
        )
        self._holders = meter.create_up_down_counter("holdfast.holders", "{holder}", "What this process holds.")
        self._contentions = meter.create_counter(
            "holdfast.contentions", "{contention}", "How often something was asked for that was not free."
        )
        self._leases_lost = meter.create_counter(
            "holdfast.leases.lost", "{lease}", "How often something that was held was lost."
        )
        self._engine_call = meter.create_histogram(
            "holdfast.engine.call.duration",
            "s",
            "How long requests to the engine have taken.",
            explicit_bucket_boundaries_advisory=bounds,
        )
        self._sessions = meter.create_counter(
            "holdfast.sessions", "{event}", "What has happened to sessions of this process."
        )

    def _of(self, kind: str, name: str) -> dict[str, str]:
        return {"holdfast.kind": kind, "holdfast.name": self._names.of(name)}

    def began_to_wait(self, kind: str, name: str) -> None:
        of = self._of(kind, name)
        self._contentions.add(1, of)
        self._waiters.add(1, of)

    def waited(self, kind: str, name: str, seconds: float, outcome: Outcome) -> None:
        of = self._of(kind, name)
        self._waiters.add(-1, of)
        self._wait.record(seconds, {**of, "holdfast.outcome": outcome})

    def acquired(self, kind: str, name: str) -> None:
        self._holders.add(1, self._of(kind, name))

    def held(self, kind: str, name: str, seconds: float) -> None:
        of = self._of(kind, name)
        self._holders.add(-1, of)
        self._hold.record(seconds, of)

    def lease_lost(self, kind: str, name: str) -> None:
        self._leases_lost.add(1, self._of(kind, name))

    def engine_call(self, engine: str, operation: str, seconds: float, error: BaseException | None) -> None:
        attributes = {"holdfast.engine": engine, "holdfast.operation": operation}
        if error is not None:
            attributes["error.type"] = type(error).__name__
        self._engine_call.record(seconds, attributes)

    def session_opened(self, session: str) -> None:
        self._sessions.add(1, {"holdfast.event": "opened"})

    def session_reopened(self, session: str) -> None:
        self._sessions.add(1, {"holdfast.event": "reopened"})

    def session_lost(self, session: str, why: Exception) -> None:
        self._sessions.add(1, {"holdfast.event": "lost"})

    def session_closed(self, session: str) -> None:
        self._sessions.add(1, {"holdfast.event": "closed"})

    def session_evicted(self, session: str, by: str) -> None:
        self._sessions.add(1, {"holdfast.event": "evicted"})


OpenTelemetryHook.__module__ = "holdfast.instrumentation"  # where users import it from
