"""PrometheusHook, with the real prometheus-client."""

from __future__ import annotations

import pytest
from tests.instrumentation.traffic import WAIT, traffic, waits_of_tasks

pytest.importorskip("prometheus_client", reason="needs the extra 'prometheus'")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from holdfast.instrumentation import PrometheusHook
from holdfast.instrumentation.metric_names import OTHER

Sample = tuple[str, frozenset[tuple[str, str]]]


def exported(registry: CollectorRegistry) -> dict[Sample, float]:
    """What Prometheus gets: the text that is served, parsed."""
    text = generate_latest(registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith(("_created", "_bucket"))
    }


def of(metric: str, **labels: str) -> Sample:
    return f"holdfast_{metric}", frozenset(labels.items())


async def test_what_sessions_do_is_exported():
    registry = CollectorRegistry()
    lock, lease = {"kind": "lock", "name": "x"}, {"kind": "lock", "name": "y"}
    semaphore = {"kind": "semaphore", "name": "s"}
    async with traffic(PrometheusHook(registry)):
        during = exported(registry)
    after = exported(registry)
    assert during[of("waiters", **semaphore)] == during[of("holders", **semaphore)] == 1
    assert after[of("waiters", **semaphore)] == after[of("holders", **semaphore)] == 0
    for seen in (during, after):
        assert seen[of("waiters", **lock)] == seen[of("holders", **lock)] == seen[of("holders", **lease)] == 0
    assert after[of("wait_seconds_count", **lock, outcome="granted")] == 1
    assert after[of("wait_seconds_sum", **lock, outcome="granted")] >= WAIT
    assert after[of("wait_seconds_count", **lock, outcome="cancelled")] == 1
    assert after[of("hold_seconds_count", **lock)] == 2
    assert after[of("hold_seconds_sum", **lock)] >= WAIT
    assert after[of("contentions_total", **lock)] == 2
    assert after[of("contentions_total", **semaphore)] == 1
    assert after[of("leases_lost_total", **lease)] == 1
    assert of("leases_lost_total", **lock) not in after
    assert after[of("engine_call_seconds_count", engine="failing", operation="names")] >= 1
    assert after[of("engine_call_seconds_count", engine="memory", operation="apply")] >= 4
    assert after[of("engine_errors_total", engine="failing", operation="names", error="EngineError")] == 1
    events = {event: after[of("sessions_total", event=event)] for event in ("opened", "reopened", "lost", "evicted")}
    assert events == {"opened": 2, "reopened": 1, "lost": 1, "evicted": 1}


async def test_tasks_that_wait_are_exported():
    registry = CollectorRegistry()
    await waits_of_tasks(PrometheusHook(registry, group=str.upper, most_names=1))
    mine, nameless = {"kind": "lock of tasks", "name": "MINE"}, {"kind": "lock of tasks", "name": ""}
    found = exported(registry)
    assert found[of("waiters", **mine)] == found[of("waiters", **nameless)] == 0
    assert found[of("contentions_total", **mine)] == 2
    assert found[of("contentions_total", **nameless)] == 1
    assert found[of("wait_seconds_count", **mine, outcome="granted")] == 1
    assert found[of("wait_seconds_sum", **mine, outcome="granted")] >= WAIT - 0.005
    assert found[of("wait_seconds_count", **mine, outcome="cancelled")] == 1
    assert found[of("wait_seconds_count", **nameless, outcome="closed")] == 1
    assert not any(name.startswith("holdfast_hold") for name, _ in found)


def test_names_are_grouped_and_no_more_than_so_many_are_kept():
    registry = CollectorRegistry()
    hook = PrometheusHook(registry, group=lambda name: name.partition(":")[0], most_names=2)
    for name in ("user:1", "user:2", "job", "third", "fourth", "job"):
        hook.acquired("lock", name)
    held = {dict(labels)["name"]: value for (name, labels), value in exported(registry).items()}
    assert held == {"user": 2, "job": 2, OTHER: 2}


def test_two_hooks_in_one_registry_are_refused():
    registry = CollectorRegistry()
    PrometheusHook(registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        PrometheusHook(registry)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"most_names": -1}, ValueError, "most_names must be 0 or more, not -1"),
        ({"most_names": 1.5}, TypeError, "most_names must be an int"),
        ({"group": "user"}, TypeError, "group must be a function"),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        PrometheusHook(CollectorRegistry(), **options)
