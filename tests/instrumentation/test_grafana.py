"""The dashboard in examples/grafana shows what the exporter exports: all of it, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.instrumentation.traffic import traffic

pytest.importorskip("prometheus_client", reason="needs the extra 'prometheus'")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from holdfast.instrumentation import PrometheusHook

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "examples" / "grafana" / "holdfast.json").read_text(encoding="utf-8"))
METRIC = re.compile(r"\bholdfast_\w+")
MATCHER = re.compile(r"(?P<metric>\bholdfast_\w+)(?:\{(?P<labels>[^}]*)\})?")
BY = re.compile(r"sum by \((?P<labels>[^)]*)\)")
LEGEND = re.compile(r"\{\{(\w+)\}\}")


def expressions() -> list[dict[str, Any]]:
    return [target for panel in DASHBOARD["panels"] for target in panel["targets"]]


async def exported() -> dict[str, set[str]]:
    """Each name that Prometheus gets, with its labels."""
    registry = CollectorRegistry()
    async with traffic(PrometheusHook(registry)):
        pass
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_each_panel_asks_for_metrics_and_labels_that_are_exported():
    known = await exported()
    for target in expressions():
        for metric, labels in MATCHER.findall(target["expr"]):
            assert metric in known
            assert {*re.findall(r"(\w+)[=!]", labels)} <= known[metric]
            (by,) = BY.findall(target["expr"])
            assert {*by.split(", ")} <= known[metric]
            assert {*LEGEND.findall(target["legendFormat"])} <= {*by.split(", ")}
    for variable in DASHBOARD["templating"]["list"]:
        assert {*METRIC.findall(str(variable["query"]))} <= known.keys()


async def test_each_metric_that_is_exported_is_shown():
    shown = " ".join(target["expr"] for target in expressions())
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in await exported()}
    created = {name.removesuffix("_total") for name in families if name.endswith("_total")}
    assert {name for name in families - created if name not in shown} == set()


def test_panels_do_not_overlap():
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(places) == len({*places})
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
