"""The primitives that asyncio has not, each in both of its tiers: for tasks, and for tasks with threads."""

from __future__ import annotations

from types import ModuleType

import pytest

import holdfast
import holdfast.threads


@pytest.fixture(params=[holdfast, holdfast.threads], ids=["tasks", "threads"])
def library(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = request.param
    return module
