"""Runs each test of the suite once for each tier."""

from __future__ import annotations

import sys

import pytest

from .adapter import Tier
from .tiers import CONDITION_TIERS, TIERS


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "wrong_in_asyncio(where, since=None, fixed_in=None): asyncio's own classes fail this test, as recorded "
        "there. They must fail it, except near since and fixed_in, as changes may come in a patch release, too.",
    )
    config.addinivalue_line("markers", "beyond_asyncio: about what asyncio's own classes do not have.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "tier" in metafunc.fixturenames:
        tiers = CONDITION_TIERS if "condition" in metafunc.module.__name__ else TIERS
        metafunc.parametrize("tier", tiers, ids=[tier.name for tier in tiers], indirect=True)


@pytest.fixture
def tier(request: pytest.FixtureRequest) -> Tier:
    tier: Tier = request.param
    if reason := tier.without.get(request.node.originalname):
        pytest.skip(reason)
    if tier.is_asyncio and request.node.get_closest_marker("beyond_asyncio"):
        pytest.skip("asyncio has no such thing")
    if tier.is_asyncio:
        for mark in request.node.iter_markers("wrong_in_asyncio"):
            _expect_failure(request, *mark.args, **mark.kwargs)
    return tier


def _expect_failure(
    request: pytest.FixtureRequest,
    where: str,
    since: tuple[int, int] | None = None,
    fixed_in: tuple[int, int] | None = None,
) -> None:
    here = sys.version_info[:2]
    if fixed_in is None or here < fixed_in:
        strict = fixed_in is None and (since is None or here >= since)
        request.applymarker(pytest.mark.xfail(reason=f"asyncio: {where}", strict=strict))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """Have the tier run the test."""
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    pyfuncitem.funcargs["tier"].run(lambda: pyfuncitem.obj(**arguments))
    return True
