"""Promise 9: an addition has the result that its change would have had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.cluster.engines.contract import Addition, Engine, Opening

from .bench import Bench, Promises
from .changes import addition, append, marks, put


class AdditionPromises(Promises):
    """Tests of `apply(addition=...)`, for engines that make additions and for those that ignore them."""

    def test_an_addition_comes_to_the_same_as_its_change(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, _), (two, _, _), (three, _, _) = await bench.open(), await bench.open(), await bench.open()

            def better(mark: str) -> Addition:
                return addition("k", mark, True)

            def open_to(kind: str, is_alike: bool = False) -> Callable[[object], Opening]:
                return lambda _: Opening(kind, first, is_alike)

            for known in (False, True):
                name = f"x, {known=}"
                await one.apply(name, put("held"), opens=open_to("k"))
                if known:
                    await two.apply(name, put("held, too"), opens=open_to("k"))
                    await three.apply(name, put("held"), opens=open_to("k"))
                assert await two.apply(name, append("+2"), addition=better("+2")) == "held+2"
                assert await three.apply(name, append("+3"), addition=better("+3")) == "held+2+3"
                assert marks(await one.read(name)) == marks((await three.renew([name])).texts[name]) == "held+2+3"
                wrong = addition("another", "wrong", True)
                assert marks(await two.apply(name, put("new"), opens=open_to("k"), addition=wrong)) == "held+2+3"
                assert await three.apply(name, append("+3"), addition=better("+3")) == "new+3"
                assert marks(await one.apply(name, put("closed"))) == "new+3", "it finds all that was added"
                assert await two.apply(name, append("+2"), addition=better("+2")) == "closed+2"
                assert marks(await one.read(name)) == "closed+2"
                assert not await two.remove(name, "closed", 0)
                assert await two.remove(name, await two.read(name) or "", 0)

        self.run(main)

    def test_additions_are_not_lost_and_keep_their_order(self) -> None:
        async def main(bench: Bench) -> None:
            sessions = [await bench.open() for _ in range(4)]
            _, holder, _ = sessions[0]

            async def work(engine: Engine, who: str) -> None:
                for number in range(40):
                    mark = f"{who}{number};"
                    kind = "k" if number % 4 else "l"
                    if number % 4 == 3:  # what it does not know of stays behind
                        await engine.apply("x", append(mark), opens=lambda _: Opening("k", holder, True))
                    else:
                        await engine.apply(
                            "x",
                            append(mark),
                            addition=addition(kind, mark, is_better=number % 2 == 1),
                            opens=lambda _: Opening("k", holder, False),
                        )
                    await asyncio.sleep(0)

            await asyncio.gather(*(work(engine, who) for (engine, _, _), who in zip(sessions, "abcd", strict=True)))
            *found, _ = marks(await sessions[0][0].read("x")).split(";")
            assert sorted(found) == sorted(f"{who}{number}" for who in "abcd" for number in range(40))
            for who in "abcd":
                assert [mark for mark in found if mark.startswith(who)] == [f"{who}{number}" for number in range(40)]

        self.run(main)

    def test_who_knows_what_comes_of_an_addition_need_not_be_told(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, _), (two, _, _) = await bench.open(), await bench.open()
            for number, known in enumerate(("", "held", "closed")):
                name, opens = f"x{number}", lambda _: Opening("k", first, False)
                if known:
                    await two.apply(name, put(known), opens=opens)
                if known == "closed":
                    await one.apply(name, put(known))
                change, added = append("+2"), addition("k", "+2", is_better=True, is_known=True)
                assert await two.apply(name, change, addition=added, opens=opens) in (None, f"{known}+2")
                assert marks(await one.read(name)) == f"{known}+2"
                assert marks(await one.apply(name, append("+1"), opens=opens)) == f"{known}+2+1"

        self.run(main)

    def test_who_adds_wakes_whom_that_has_woken(self) -> None:
        async def main(bench: Bench) -> None:
            (one, _, _), (two, _, _), (_, third, woken) = [await bench.open() for _ in range(3)]
            opens: Callable[[object], Opening] = lambda _: Opening("k", None, False)  # noqa: E731
            await one.apply("x", put("a"), opens=opens)
            found = await two.apply(
                "x",
                append("+b"),
                addition=addition("k", "+b"),
                notices=lambda text: [(third, f"now it is {text}")],
                opens=opens,
            )
            assert found == marks(await one.read("x")) == "a+b"
            await self.until(lambda: woken, "to be woken by an addition")
            assert woken == [("x", "now it is a+b")]

        self.run(main)

    def test_many_additions_are_written_anew(self) -> None:
        async def main(bench: Bench) -> None:
            engines = [(await bench.open())[0] for _ in range(3)]
            opens: Callable[[object], Opening] = lambda _: Opening("k", None, False)  # noqa: E731
            for number in range(300):
                mark = f"{number};"
                await engines[number % 3].apply("x", append(mark), addition=addition("k", mark), opens=opens)
            text = await engines[0].read("x") or ""
            assert marks(text) == "".join(f"{number};" for number in range(300))
            assert text.count("\n") < 100

        self.run(main)

    def test_no_addition_is_made_for_the_dead(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, _), (two, _, _) = await bench.open(ttl=self.TTL), await bench.open()
            await two.apply("x", put("held"), opens=lambda _: Opening("k", first, False))
            await self.until_dead(two, first)
            await self.refused(one.apply("x", append("+1"), addition=addition("k", "+1", True)), "apply()")
            assert await two.read("x") == "held"

        self.run(main)
