"""RateLimiter: tokens that come evenly, in the order of asking."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from .adapter import Tier

pytestmark = pytest.mark.beyond_asyncio


async def test_what_is_there_is_taken_once(tier: Tier) -> None:
    limiter = tier.rate_limiter(1, 3600, 3)
    assert await limiter.acquire(n=2)
    assert not await tier.do(partial(limiter.try_acquire, n=2))
    assert await tier.do(limiter.try_acquire)
    assert not await tier.do(limiter.try_acquire)
    with pytest.raises(ValueError, match="at most 3"):
        await limiter.acquire(n=4)


async def test_who_asks_for_many_is_not_overtaken(tier: Tier) -> None:
    limiter = tier.rate_limiter(1, 0.1, 2)
    await limiter.acquire(n=2)
    many, one = await tier.start_all(limiter.acquire(n=2), limiter.acquire())
    assert not await tier.do(limiter.try_acquire)
    await asyncio.wait([one])
    await tier.settle()
    assert many.done()
    assert many.result()


async def test_who_is_cancelled_has_taken_nothing(tier: Tier) -> None:
    limiter = tier.rate_limiter(1, 3600, 2)
    await limiter.acquire()
    waiting = await tier.start(limiter.acquire(n=2))
    assert not await tier.do(limiter.try_acquire), "it would overtake"
    waiting.cancel()
    await asyncio.wait([waiting])
    await tier.settle()
    assert await tier.do(limiter.try_acquire)
    assert not await tier.do(limiter.try_acquire)
