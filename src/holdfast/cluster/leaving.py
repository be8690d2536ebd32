"""How a session that closes takes itself out of its records, in a time that has a bound: where others wait first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

from .background import begin
from .engines.contract import Engine
from .errors import EngineError
from .register import Register
from .tidying import slices

LOOKED_AT = 100
"""Names, at most, that are looked at in one request."""
AT_ONCE = 16
"""Names that are left together. An engine on this machine does them in a millisecond or two, and the loop runs on; one
that is far answers all of them in one round trip."""


async def leave_all(registers: dict[str, Register], engine: Engine) -> None:
    """Leave them all, if there is time; who calls bounds that. Those that were left are taken out.

    Raises SessionLost if the session is dead already. What the engine fails to do is left to the others.
    """
    lonely: list[str] = []
    for names in slices([*registers], LOOKED_AT):
        texts = await _look(names, engine)
        company = {name for name in names if registers[name].has_company(texts.get(name))}
        lonely += [name for name in names if name not in company]
        await _leave(registers, [name for name in names if name in company])
        await asyncio.sleep(0)
    await _leave(registers, lonely)


async def _look(names: list[str], engine: Engine) -> Mapping[str, str | None]:
    if len(names) == 1:
        return {}
    try:
        return (await engine.renew(names)).texts
    except EngineError:
        return {}


async def _leave(registers: dict[str, Register], names: list[str]) -> None:
    for some in slices(names, AT_ONCE):
        await _all_of([partial(_leave_one, registers[name]) for name in some])
        for name in some:
            del registers[name]  # one by one: to let go of all of them at once takes its time as well
        await asyncio.sleep(0)


async def _all_of(work: Iterable[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """At the same time, and in silence if the loop ends before they do."""
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


async def _leave_one(register: Register) -> None:
    try:
        await register.leave()
    except EngineError:
        return  # as if the session had died in it
