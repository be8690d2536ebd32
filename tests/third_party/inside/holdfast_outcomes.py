"""A pytest plugin that notes the outcome of each test, and how many tests made a primitive of holdfast's.

    THIRD_PARTY_OUTCOMES=FILE [THIRD_PARTY_CHOSEN=FILE] pytest -p holdfast_outcomes

CHOSEN has the names of the tests that are to run, if not all are.
"""

import asyncio
import json
import os
import random
import re
import sys
from pathlib import Path

import pytest

WORST_LAST = ["passed", "skipped", "xfailed", "xpassed", "failed", "error"]
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")

outcomes = {}
reasons = {}
with_primitives = set()


def name_of(nodeid):
    """The node id, without the addresses that some parameters have in their repr."""
    return ADDRESS.sub("0x…", nodeid)


def outcome_of(report):
    """What pytest's summary calls it."""
    if hasattr(report, "wasxfail"):
        return "xpassed" if report.outcome == "passed" else "xfailed"
    if report.outcome == "failed" and report.when in ("setup", "teardown"):
        return "error"
    return report.outcome


def note(nodeid, outcome, report):
    name = name_of(nodeid)
    worst = max(outcomes.get(name, outcome), outcome, key=WORST_LAST.index)
    outcomes[name] = worst
    if outcome in ("failed", "error"):
        reasons.setdefault(name, report.longreprtext[-4000:])


def pytest_sessionstart():
    random.seed(0)  # both ways see the same


def pytest_collection_modifyitems(config, items):
    chosen = os.environ.get("THIRD_PARTY_CHOSEN")
    if chosen is not None:
        names = set(json.loads(Path(chosen).read_text(encoding="utf-8")))
        config.hook.pytest_deselected(items=[item for item in items if name_of(item.nodeid) not in names])
        items[:] = [item for item in items if name_of(item.nodeid) in names]


def pytest_collectreport(report):
    if report.failed:
        note(report.nodeid, "error", report)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    counting = sys.modules.get("holdfast_counting")
    before = counting and counting.made.total()
    yield
    if counting and counting.made.total() > before:
        with_primitives.add(name_of(item.nodeid))


def pytest_runtest_logreport(report):
    note(report.nodeid, outcome_of(report), report)


def pytest_sessionfinish():
    noted = {
        "process": os.getpid(),
        "lock": f"{asyncio.Lock.__module__}.{asyncio.Lock.__qualname__}",
        "compiled": "holdfast.tasks._speedups" in sys.modules,
        "outcomes": outcomes,
        "reasons": reasons,
        "with_primitives": sorted(with_primitives),
    }
    Path(os.environ["THIRD_PARTY_OUTCOMES"]).write_text(json.dumps(noted), encoding="utf-8")
