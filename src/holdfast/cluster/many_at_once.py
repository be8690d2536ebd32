"""How a request for each of many names is made: many at the same time, in steps that let the event loop do its work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
AT_ONCE = 50
"""The highest number of requests to the engine at the same time. So a session waits for a distant engine once for all
of them, and not for each in turn."""
STEP = 10
"""How many of these begin in one iteration of the event loop: with an engine in this process each is done at once."""


async def each(items: Iterable[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """Do the work for all items at the same time; return the results.

    Raises what one of them has raised, once all are done.
    """

    async def begin(number: int, item: T) -> R:
        for _ in range(number // STEP):
            await asyncio.sleep(0)
        return await work(item)

    done = await asyncio.gather(*(begin(*entry) for entry in enumerate(items)), return_exceptions=True)
    results: list[R] = []
    for result in done:
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results


def slices(items: Iterable[T], length: int) -> Iterator[list[T]]:
    """The items in order, `length` at a time."""
    rest = iter(items)
    while some := [*islice(rest, length)]:
        yield some
