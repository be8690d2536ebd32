"""Promise 7: a text is removed only as it is, and its floor is kept. Old names are found, the oldest first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from holdfast.cluster.engines.contract import MOST_OLD, Engine

from .bench import Bench, Promises
from .changes import put

OLD = 1.0
"""Seconds after which a name is old in these tests."""


async def _while_new_is_young(engine: Engine, look: Callable[[], Coroutine[Any, Any, list[str]]]) -> list[str]:
    """What is found right after a change of the name "new", which is not old then.

    A busy machine may take longer for it than that. This is the clock's to say, and then it is changed and looked for
    once more.
    """
    while True:
        changed = time.monotonic()
        await engine.apply("new", put("1"))
        found = await look()
        if time.monotonic() < changed + OLD / 2:
            return found


class RemovalPromises(Promises):
    """Tests of `remove()` and `old()`."""

    def test_a_text_is_removed_only_as_it_is(self) -> None:
        async def main(bench: Bench) -> None:
            (one, _, _), (two, _, _) = await bench.open(), await bench.open()
            await one.apply("x", put("old"))
            await two.apply("x", put("new"))
            assert not await one.remove("x", "old", 5)
            assert await one.read("x") == "new"
            floor = await one.apply("x", lambda stored: ("new", stored.floor)) or 0
            assert floor == await two.apply("y", lambda stored: ("new", stored.floor)), "nothing was removed"
            assert await two.remove("y", "new", 0)
            assert await one.remove("x", "new", floor + 5)
            assert await two.read("x") is None
            assert await two.names() == []
            assert not await two.remove("x", "new", 5)

        self.run(main)

    def test_the_floor_only_rises(self) -> None:
        async def main(bench: Bench) -> None:
            (one, _, _), (two, _, _) = await bench.open(), await bench.open()

            async def floor(engine: Engine, name: str) -> int:
                return await engine.apply(name, lambda stored: ("text", stored.floor)) or 0

            first = await floor(one, "x")
            assert await floor(one, "y") == first >= 0
            assert await one.remove("x", "text", first + 7)
            assert await floor(two, "y") == await floor(two, "z") == first + 7
            assert await two.remove("y", "text", first + 3)
            assert await floor(one, "y") == first + 7

        self.run(main)

    def test_old_names_are_found(self) -> None:
        async def main(bench: Bench) -> None:
            engine, _, _ = await bench.open()
            await engine.apply("old", put("1"))
            await asyncio.sleep(2 * OLD)
            assert await _while_new_is_young(engine, lambda: engine.old(OLD)) == ["old"]
            assert await engine.old(3600) == []

        self.run(main)

    def test_who_passes_over_old_names_gets_to_all_of_them_the_oldest_first(self) -> None:
        async def main(bench: Bench) -> None:
            engine, _, _ = await bench.open()
            names = [str(number) for number in range(2 * MOST_OLD + 3)]
            for name in [*names, names[5]]:
                await engine.apply(name, put("1"))
            names.append(names.pop(5))  # it has been changed again
            await asyncio.sleep(2 * OLD)

            async def all_old() -> list[str]:
                found: list[str] = []
                while some := await engine.old(OLD, len(found)):
                    found += some
                return found

            found = await _while_new_is_young(engine, all_old)
            assert {*found} == {*names}
            assert len(found) == len(names)
            assert found[-1] == names[-1]

        self.run(main)
