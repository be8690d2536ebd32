"""The primitives of a session under every schedule within bounds, over the memory engine, and over worse ones.

HOLDFAST_EXPLORE makes it larger; see test_primitives.py.
"""

from __future__ import annotations

import itertools

import pytest

from holdfast.testing import explore

from .cluster_scenarios import CLOSED, SCENARIOS, Cluster, Comparing, Deaf, DeafComparing, Near, Prompt, Silent, Unaware
from .size import MINUTES, SIZE

CLUSTERS = {
    "one session": Cluster(sessions=1),
    "two sessions": Cluster(),
    "wake-ups not believed": Cluster(engine=Near),
    "compared texts": Cluster(engine=Comparing),
    "compared texts, at once": Cluster(engine=Prompt),
    "compared texts, three sessions": Cluster(engine=Unaware, sessions=3, waiters=3),
    "compared texts, answers lost": Cluster(engine=DeafComparing),
    "wake-ups lost": Cluster(engine=Silent),
    "answers lost": Cluster(engine=Deaf),
    "background tasks cancelled": Cluster(cancels_background=True),
    "a session closed": Cluster(closes=True, late=0),
    "a session closed, answers lost": Cluster(engine=Deaf, closes=True, late=0),
}
CLOSED_ON = {
    **{name: CLUSTERS[name] for name in ("compared texts", "wake-ups lost", "answers lost")},
    "compared texts, three tasks": Cluster(engine=Comparing, waiters=3),
}
"""Where primitives are closed."""
BOUNDS = {
    "small": {"cancels": 1, "late": 0},
    "large": {"cancels": 1, "late": 1},
    "deep": {"cancels": 2, "late": None},
}[SIZE]
SCENES = len(CLUSTERS) * len(SCENARIOS) + len(CLOSED_ON) * len(CLOSED)
SECONDS = MINUTES * 60 / SCENES if SIZE == "deep" else 150 if SIZE == "small" else 600


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a schedule may end with its sessions open
@pytest.mark.timeout(SECONDS * 5 + 60)  # they are of CPU time
@pytest.mark.parametrize(
    ("on", "name"), [*itertools.product(CLUSTERS, SCENARIOS), *itertools.product(CLOSED_ON, CLOSED)]
)
def test_every_schedule(on: str, name: str, keep) -> None:
    cluster = (CLUSTERS | CLOSED_ON)[on]
    bounds = dict(BOUNDS)
    if cluster.closes and SIZE == "small":
        bounds |= {"cancels": 0, "late": 1}
    elif max(cluster.sessions, cluster.waiters) > 2 and SIZE != "deep":
        bounds["late"] = 0  # a fourth task is for minutes
    report = explore(
        (SCENARIOS | CLOSED)[name](cluster),
        timers=0,
        deliveries=0,
        cancel_created=cluster.cancels_background,
        time_limit=SECONDS,
        **bounds,
    )
    keep(report)
    if SIZE != "deep" or report.counterexample is not None:
        report.check()
