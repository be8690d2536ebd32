"""Names that nobody uses any more go: as fast as they are made, and in steps that let the event loop do its work.

A record that is as good as new is removed an hour after its last change. What is held or set stays, however old; so who
looks for old names passes over those it could not remove.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import TypeVar

from .engines.clock import monotonic
from .engines.contract import Engine
from .errors import FormatError
from .inspection import decode_any

T = TypeVar("T")
R = TypeVar("R")
AT_ONCE = 50
"""What is asked of the engine at the same time, at most: so one that is far away is not waited for each time."""
FEW = 20
"""Names that are looked at together by who looks only at a few."""
STEP = 10
"""Of these, how many begin in one iteration of the event loop: with an engine in this process each is done at once."""


async def remove_old(engine: Engine, seconds: float) -> int:
    """Remove the records that have not been changed for so long and are as good as new; return how many."""
    began = monotonic()
    removed = skipped = 0
    while names := await engine.old(seconds + monotonic() - began, skipped):
        gone = 0
        for some in slices(names, AT_ONCE):
            gone += await _remove_idle(engine, some)
        removed += gone
        skipped += len(names) - gone
    return removed


async def remove_some(engine: Engine, seconds: float, most: int) -> int:
    """The same, but look at so many at most; return how many were removed.

    Where the oldest stay it goes on at random, further and further, so that in the end some session gets to each.
    """
    removed = skip = start = 0
    end: int | None = None
    for _ in range(most // FEW):
        names = (await engine.old(seconds, skip))[:FEW]
        gone = await _remove_idle(engine, names) if names else 0
        removed += gone
        if gone:  # there may be more of them
            skip += len(names) - gone
            continue
        if names:
            start = skip + len(names)
        else:
            end = skip
        if start >= (stop := 4 * start if end is None else min(end, 4 * start)):
            break
        skip = random.randrange(start, stop)
    return removed


async def _remove_idle(engine: Engine, names: Sequence[str]) -> int:
    texts = (await engine.look(names, ())).texts
    found: dict[str, tuple[str | None, frozenset[str], int]] = {}
    for name, text in texts.items():
        if text is None:  # somebody has removed it by hand
            found[name] = None, frozenset(), 0
            continue
        try:
            record = decode_any(text, name)
        except FormatError:
            continue  # it is for a newer version to say
        if record.is_initial():
            found[name] = text, frozenset(record.sessions()), record.last_token()
    await asyncio.sleep(0)
    dead = await engine.dead(frozenset[str]().union(*(sessions for _, sessions, _ in found.values())))
    idle = [(name, text) for name, (text, sessions, _) in found.items() if sessions <= dead]
    # One floor for all of them: on a server, each session notices with its next change that the floor was raised.
    floor = max((floor for _, _, floor in found.values()), default=0)
    return sum(await each(idle, lambda entry: engine.remove(*entry, floor)))


async def each(items: Iterable[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """What comes of all of them, done at the same time. Raises what one of them has raised, when all are done."""

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


def slices(items: Iterable[T], length: int) -> Iterable[list[T]]:
    """The items in order, so many at a time."""
    rest = iter(items)
    while some := [*islice(rest, length)]:
        yield some
