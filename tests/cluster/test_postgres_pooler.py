"""A pooler between sessions and their server: one that loses wake-ups is refused, with what to do instead."""

from __future__ import annotations

import asyncio

import pytest

import holdfast
from holdfast.cluster import EngineError

from .postgres import PgBouncer, needs_postgres, shared
from .test_faults import run
from .worker import until_waiting

__all__ = ["run"]  # the fixture

pytestmark = [
    needs_postgres,
    pytest.mark.skipif(PgBouncer.BINARY is None, reason="there is no pgbouncer on PATH, as Debian's package has it"),
]


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_a_pooler_that_loses_wake_ups_is_refused(mode):
    with PgBouncer(shared(), mode) as pooler:
        for _ in range(2):  # also where it has connections left over
            with pytest.raises(EngineError, match=r"pooler in transaction mode.*with pool_mode = session"):
                await holdfast.connect(pooler.url, ttl=5).__aenter__()


async def test_a_pooler_in_session_mode_is_as_good_as_the_server():
    with PgBouncer(shared(), "session") as pooler:
        options = {"namespace": "pooled", "ttl": 5}
        async with holdfast.connect(pooler.url, **options) as one, holdfast.connect(shared().url, **options) as two:
            async with one.lock("x") as first:
                pass
            waiting = asyncio.create_task(one.event("e").wait())
            await until_waiting(two, "e")
            await two.event("e").set()
            await waiting
            async with two.lock("x") as second:
                assert second.token > first.token
