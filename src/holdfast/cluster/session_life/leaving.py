"""How a session that closes takes itself out of its records, within a bounded time: first where other sessions wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

from holdfast.cluster.background import begin
from holdfast.cluster.engines.contract import Engine
from holdfast.cluster.errors import EngineError
from holdfast.cluster.many_at_once import slices

from .exchange import Exchange

LOOKED_AT = 100
"""The highest number of names that are looked at in one request."""
AT_ONCE = 16
"""The number of records that the session leaves at the same time. An engine on this machine needs a millisecond or two
for them, so the loop is not held up. A distant engine answers all of them in one round trip."""


async def leave_all(exchanges: dict[str, Exchange], engine: Engine) -> None:
    """Leave all records, in the time that the caller allows. Exchanges of records that were left go out of the dict.

    Raises SessionLost if the session is dead already. What the engine fails to do is left to the other sessions.
    """
    lonely: list[str] = []
    for names in slices([*exchanges], LOOKED_AT):
        texts = await _look(names, engine)
        company = {name for name in names if exchanges[name].has_company(texts.get(name))}
        lonely += [name for name in names if name not in company]
        await _leave(exchanges, [name for name in names if name in company])
        await asyncio.sleep(0)
    await _leave(exchanges, lonely)


async def _look(names: list[str], engine: Engine) -> Mapping[str, str | None]:
    if len(names) == 1:
        return {}
    try:
        return (await engine.renew(names)).texts
    except EngineError:
        return {}


async def _leave(exchanges: dict[str, Exchange], names: list[str]) -> None:
    for some in slices(names, AT_ONCE):
        await _all_of([partial(_leave_one, exchanges[name]) for name in some])
        for name in some:
            del exchanges[name]  # one by one: to let go of all of them at once takes its time as well
        await asyncio.sleep(0)


async def _all_of(work: Iterable[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Do all of it at the same time, and in silence if the loop ends before."""
    loop = asyncio.get_running_loop()
    tasks = [begin(loop, each, "holdfast leaves a name") for each in work]
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise
    for task in tasks:
        task.result()


async def _leave_one(exchange: Exchange) -> None:
    try:
        await exchange.leave()
    except EngineError:
        return  # as if the session had died in it
