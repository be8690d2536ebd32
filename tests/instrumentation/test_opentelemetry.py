"""OpenTelemetryHook, with the real SDK."""

from __future__ import annotations

from typing import Any

import pytest
from tests.instrumentation.traffic import WAIT, traffic, waits_of_tasks

pytest.importorskip("opentelemetry.sdk", reason="needs opentelemetry-sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from holdfast.instrumentation import OpenTelemetryHook
from holdfast.instrumentation.metric_names import BUCKETS

Points = dict[tuple[str, frozenset[tuple[str, str]]], Any]


def recorded(reader: InMemoryMetricReader) -> Points:
    """The data points, by the name of the metric and the attributes."""
    data = reader.get_metrics_data()
    assert [scope.scope.name for scope in data.resource_metrics[0].scope_metrics] == ["holdfast"]
    return {
        (metric.name, frozenset(point.attributes.items())): point
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }


def of(metric: str, **attributes: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"holdfast.{metric}", frozenset((f"holdfast.{key}", value) for key, value in attributes.items())


async def test_what_sessions_do_is_recorded():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    lock, lease = {"kind": "lock", "name": "x"}, {"kind": "lock", "name": "y"}
    semaphore = {"kind": "semaphore", "name": "s"}
    async with traffic(OpenTelemetryHook(provider)):
        during = recorded(reader)
    after = recorded(reader)
    units = {
        metric.name: metric.unit for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    }
    provider.shutdown()
    assert during[of("waiters", **semaphore)].value == during[of("holders", **semaphore)].value == 1
    assert after[of("waiters", **semaphore)].value == after[of("holders", **semaphore)].value == 0
    granted = after[of("wait.duration", **lock, outcome="granted")]
    assert granted.count == 1
    assert granted.sum >= WAIT
    assert granted.explicit_bounds == BUCKETS
    assert after[of("wait.duration", **lock, outcome="cancelled")].count == 1
    assert after[of("hold.duration", **lock)].count == 2
    assert after[of("contentions", **lock)].value == 2
    assert after[of("leases.lost", **lease)].value == 1
    assert after[of("engine.call.duration", engine="memory", operation="apply")].count >= 4
    name, attributes = of("engine.call.duration", engine="failing", operation="names")
    assert after[name, attributes | {("error.type", "EngineError")}].count == 1
    assert {event: after[of("sessions", event=event)].value for event in ("opened", "reopened", "lost", "evicted")} == {
        "opened": 2,
        "reopened": 1,
        "lost": 1,
        "evicted": 1,
    }
    assert units == {
        "holdfast.wait.duration": "s",
        "holdfast.hold.duration": "s",
        "holdfast.waiters": "{waiter}",
        "holdfast.holders": "{holder}",
        "holdfast.contentions": "{contention}",
        "holdfast.leases.lost": "{lease}",
        "holdfast.engine.call.duration": "s",
        "holdfast.sessions": "{event}",
    }


async def test_tasks_that_wait_are_recorded():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    await waits_of_tasks(OpenTelemetryHook(provider))
    found = recorded(reader)
    provider.shutdown()
    mine, nameless = {"kind": "lock of tasks", "name": "mine"}, {"kind": "lock of tasks", "name": ""}
    assert found[of("waiters", **mine)].value == found[of("waiters", **nameless)].value == 0
    assert found[of("contentions", **mine)].value == 2
    assert found[of("wait.duration", **mine, outcome="granted")].count == 1
    assert found[of("wait.duration", **mine, outcome="cancelled")].count == 1
    assert found[of("wait.duration", **nameless, outcome="closed")].count == 1
    assert not any(name.startswith("holdfast.hold") for name, _ in found)
