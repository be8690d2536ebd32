"""The same choices on the compiled twin and on the Python one give the same log, to the last step."""

from itertools import groupby

import pytest
from tests.pure_twin import import_pure

import holdfast

from .beyond_scenarios import rationed
from .scenarios import ONLY_HOLDFAST, SCENARIOS, Setup, timeout
from .test_differential import differences

pytestmark = pytest.mark.skipif(not holdfast.accelerated, reason="there is no compiled twin here")

ALL = {**SCENARIOS, **ONLY_HOLDFAST, "RateLimiter": rationed}
KINDS: dict[str, tuple[Setup, dict[str, int]]] = {
    "cancelled": (Setup(), {"cancels": 1}),
    "cancelled twice": (Setup(late=0), {"cancels": 2}),
    "out of time": (Setup(around=timeout), {"timers": 1}),
    "closed": (Setup(), {"kills": 1}),
    "another order": (Setup(in_order=False), {"reorders": 1}),
    "loop ended": (Setup(keep_tasks=False), {"ends": 1}),
}


def in_any_order_of_closing(log):
    """The coroutines of a loop that was ended are closed by the collector. Which of them first, only one with the GIL
    says the same each time."""
    for closed, lines in groupby(log, lambda line: line.endswith("GeneratorExit")):
        found = [*lines]
        yield from sorted(found) if closed else found


@pytest.fixture(scope="module")
def pure():
    return import_pure()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", KINDS)
def test_the_twins_do_the_same(kind, name, pure):
    if "over asyncio.Lock" in name and kind in ("closed", "loop ended"):
        pytest.skip("asyncio.Lock loses a grant whose task is closed, whoever waits")
    setup, bounds = KINDS[kind]
    different = [
        each
        for each in differences(lambda library: ALL[name](library, setup), bounds, pure)
        if each.failure or [*in_any_order_of_closing(each.ours)] != [*in_any_order_of_closing(each.theirs)]
    ]
    assert not different, f"{len(different)}, such as\n  {different[0]}"
