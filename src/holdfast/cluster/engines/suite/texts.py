"""Promises 1 and 3: a change is made alone, whole or not at all, and any text comes back as it was stored."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime

from holdfast.cluster.engines.contract import Engine, Stored

from .bench import Bench, Promises
from .changes import count, put


class TextPromises(Promises):
    """Tests of `apply()` and `read()`."""

    def test_a_change_finds_what_the_one_before_has_left(self) -> None:
        async def main(bench: Bench) -> None:
            (one, _, _), (two, _, _) = await bench.open(), await bench.open()
            assert await one.read("x") is None
            assert await one.apply("x", put("1")) is None
            assert await two.read("x") == "1"
            assert await two.apply("x", put("2")) == "1"
            assert await one.apply("x", put("3")) == "2"

        self.run(main)

    def test_changes_at_the_same_time_are_made_one_after_the_other(self) -> None:
        async def main(bench: Bench) -> None:
            engines = [(await bench.open())[0] for _ in range(4)]

            async def work(engine: Engine) -> list[int]:
                numbers = []
                for _ in range(25):
                    numbers.append(await engine.apply("x", count) or 0)
                    await asyncio.sleep(0)
                return numbers

            numbers = await asyncio.gather(*map(work, [*engines, *engines]))
            assert sorted(itertools.chain.from_iterable(numbers)) == [*range(1, 201)]
            assert all(mine == sorted(mine) for mine in numbers)

        self.run(main)

    def test_a_change_that_raises_has_not_happened(self) -> None:
        async def main(bench: Bench) -> None:
            engine, _, _ = await bench.open()
            await engine.apply("x", put("before"))

            def refuse(stored: Stored) -> tuple[str, None]:
                raise ZeroDivisionError

            try:
                await engine.apply("x", refuse)
            except ZeroDivisionError:
                pass
            else:
                raise AssertionError("what a change raises must come out of apply()")
            assert await engine.read("x") == "before"
            assert await engine.apply("x", put("after")) == "before"

        self.run(main)

    def test_a_change_is_refused_only_for_what_is_there(self) -> None:
        async def main(bench: Bench) -> None:
            (one, _, _), (two, _, _) = await bench.open(), await bench.open()
            await one.apply("x", put("1"))

            def replace(stored: Stored) -> tuple[str, str]:
                if stored.text is None:
                    raise KeyError
                return "2", stored.text

            assert await two.apply("x", replace) == "1", "it has not asked for it before"

        self.run(main)

    def test_a_change_that_was_cancelled_has_happened_or_not(self) -> None:
        async def main(bench: Bench) -> None:
            engine, _, _ = await bench.open()
            for iterations in range(10):
                expected = int(await engine.read("x") or 0)
                change = asyncio.create_task(engine.apply("x", count))
                for _ in range(iterations):
                    await asyncio.sleep(0)
                change.cancel()
                await asyncio.wait([change])
                assert int(await engine.read("x") or 0) in (expected, expected + 1)
                before = int(await engine.read("x") or 0)
                assert await engine.apply("x", count) == before + 1

        self.run(main)

    def test_any_text_is_kept_as_it_is(self) -> None:
        async def main(bench: Bench) -> None:
            engine, _, _ = await bench.open()
            for text in ["", " ", "\0", "ä🔒\n'\"\\", "x" * 200_000]:
                await engine.apply("x", put(text))
                assert await engine.read("x") == text

        self.run(main)

    def test_each_name_has_its_own_text(self) -> None:
        async def main(bench: Bench) -> None:
            engine, _, _ = await bench.open()
            names = [*self.NAMES, "n" * 200, "n" * 199 + "m", "🔒" * 200]
            for number, name in enumerate(names):
                await engine.apply(name, put(str(number)))
            assert [await engine.read(name) for name in names] == [str(number) for number in range(len(names))]
            assert await engine.names() == sorted(names)

        self.run(main)

    def test_each_namespace_has_its_own_names(self) -> None:
        async def main(bench: Bench) -> None:
            (one, _, _), (two, _, _) = await bench.open(), await bench.open(namespace=bench.namespace + " two\n")
            await one.apply("x", put("1"))
            assert await two.read("x") is None
            assert await two.names() == []
            await two.apply("x", put("2"))
            assert await one.read("x") == "1"

        self.run(main)

    def test_the_time_is_the_engines(self) -> None:
        async def main(bench: Bench) -> None:
            (one, _, _), (two, _, _) = await bench.open(), await bench.open()
            times = [await engine.apply("x", lambda stored: ("", stored.now)) or 0.0 for engine in (one, two, one, two)]
            assert all(later > earlier - 0.1 for earlier, later in itertools.pairwise(times)), "it may be estimated"
            assert times[-1] - times[0] < self.BOUND
            assert abs(times[0] - datetime.now(UTC).timestamp()) < 24 * 3600, "seconds since 1970"

        self.run(main)
