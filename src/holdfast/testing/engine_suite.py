"""What any engine of the cluster tier must pass: its promises, each as a test. For those who write one.

```python
from holdfast.testing.engine_suite import EngineSuite


class TestMine(EngineSuite):
    def engine(self, namespace, ttl=None):
        return MyEngine("db.example.org", namespace, ttl)
```

pytest collects it from there; so does unittest, if the class is a TestCase too. Each test runs in a namespace of its
own, and leaves its texts there. The promises are in `holdfast.cluster.engines.contract`, and the numbers are theirs.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from holdfast.cluster import SessionLost
from holdfast.cluster.command_line import command_line
from holdfast.cluster.engines.contract import MOST_OLD, Addition, Change, Engine, Opening, Stored

Wakes = list[tuple[str, str]]


def put(text: str) -> Change[str | None]:
    """The change that stores the text, and results in the one that was there."""
    return lambda stored: (text, stored.text)


def append(mark: str) -> Change[str]:
    """The change that adds a mark if it is not there, and results in the text; as an addition of that mark does."""

    def change(stored: Stored) -> tuple[str, str]:
        text = marks(stored.text)
        text = text if mark in text else text + mark
        return text, text

    return change


def marks(text: str | None) -> str:
    """A text with those that were added to it, written anew."""
    first, *rows = (text or "").split("\n")
    times, added = zip(*(row.split(" ", 1) for row in rows), strict=True) if rows else ((), ())
    now = time.time() * 1_000_000
    assert all(now - 3.6e9 < int(moment) < now + 3.6e9 for moment in times), f"not microseconds since 1970: {times}"
    return first + "".join(added)


def count(stored: Stored) -> tuple[str, int]:
    """The change that counts up, and results in the number."""
    number = int(stored.text or 0) + 1
    return str(number), number


class Bench(AsyncExitStack):
    """The sessions of one test."""

    def __init__(self, make: Callable[[str, float | None], Engine]) -> None:
        super().__init__()
        self.make = make
        self.namespace = f"engine suite {secrets.token_hex(8)}"

    async def open(
        self, *, ttl: float | None = None, namespace: str | None = None, label: str = "a session"
    ) -> tuple[Engine, str, Wakes]:
        """A new session: its engine, its id, and the wake-ups that it gets."""
        engine = self.make(self.namespace if namespace is None else namespace, ttl)
        wakes: Wakes = []
        session = await engine.open(label, lambda name, message: wakes.append((name, message)))
        self.push_async_callback(engine.close)
        return engine, session, wakes


class EngineSuite:
    """Inherit from it, and say how an engine is made."""

    BOUND: ClassVar[float] = 20.0
    """Seconds that a test may take at most."""
    TTL: ClassVar[float] = 0.5
    """Seconds, of the sessions that are to die; at least what the engine supports."""
    SOON: ClassVar[float] = 5.0
    """Seconds within which what the engine does by itself must have happened."""
    NAMES: ClassVar = [
        "a",
        "A",
        "a ",
        "a\n",
        "a:b",
        "a/b",
        "%61",
        "'; DROP TABLE texts; --",
        "{a}",
        "\xe4",
        "a\u0308",
        "\0",
    ]
    """No two of them are the same name."""

    def engine(self, namespace: str, ttl: float | None = None) -> Engine:
        """A new engine for one session. All that this returns for one namespace must share their state."""
        raise NotImplementedError("say how an engine is made: def engine(self, namespace, ttl=None)")

    def run(self, test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
        """Run a test with an event loop and a bench of its own."""

        async def bounded() -> None:
            async with asyncio.timeout(self.BOUND), Bench(self.engine) as bench:
                await test(bench)

        asyncio.run(bounded())

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until it holds."""
        try:
            async with asyncio.timeout(self.SOON):
                while not condition():  # noqa: ASYNC110  # an engine may wake us by any thread or none
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"not within {self.SOON} s: {what}") from None

    async def until_dead(self, engine: Engine, session: str) -> None:
        """Wait until the engine says so."""
        async with asyncio.timeout(self.SOON + self.TTL):
            while session not in await engine.dead([session]):  # noqa: ASYNC110  # it tells only who asks
                await asyncio.sleep(0.02)

    async def refused(self, call: Coroutine[Any, Any, Any], what: str) -> None:
        """Await what must raise SessionLost."""
        try:
            await call
        except SessionLost:
            return
        raise AssertionError(f"no SessionLost from {what} of a dead session")

    # 1. One after the other, all or nothing

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
                    numbers.append(await engine.apply("x", count))
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
            times = [await engine.apply("x", lambda stored: ("", stored.now)) for engine in (one, two, one, two)]
            assert all(later > earlier - 0.1 for earlier, later in itertools.pairwise(times)), "it may be estimated"
            assert times[-1] - times[0] < self.BOUND
            assert abs(times[0] - datetime.now(UTC).timestamp()) < 24 * 3600, "seconds since 1970"

        self.run(main)

    # 2. Only for the living; death is final

    def test_sessions_have_ids_of_their_own(self) -> None:
        async def main(bench: Bench) -> None:
            sessions = [(await bench.open())[1] for _ in range(10)]
            assert len({*sessions}) == 10
            assert all(session.isascii() and session.isprintable() for session in sessions)
            engine, _, _ = await bench.open()
            assert await engine.dead(sessions) == frozenset()
            assert await engine.dead(session for session in [*sessions, "nobody"]) == {"nobody"}

        self.run(main)

    def test_a_session_that_was_closed_is_dead(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, _), (two, _, _) = await bench.open(), await bench.open()
            await one.close()
            assert await two.dead([first]) == {first}
            await one.close()
            await self.refused(one.apply("x", put("dead")), "apply()")
            await self.refused(one.renew(), "renew()")
            assert await two.read("x") is None

        self.run(main)

    def test_a_session_that_was_not_renewed_is_dead_for_ever(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, _), (two, _, _) = await bench.open(ttl=self.TTL), await bench.open()
            await one.apply("x", put("alive"))
            await self.until_dead(two, first)
            await self.refused(one.renew(), "renew()")
            await self.refused(one.apply("x", put("dead")), "apply()")
            assert await two.dead([first]) == {first}
            assert await two.read("x") == "alive"

        self.run(main)

    def test_a_session_that_has_expired_is_dead_before_anybody_has_noticed(self) -> None:
        async def main(bench: Bench) -> None:
            one, _, _ = await bench.open(ttl=self.TTL)
            await asyncio.sleep(self.TTL * 1.5)
            await self.refused(one.apply("x", put("dead")), "apply()")
            await self.refused(one.renew(), "renew()")

        self.run(main)

    def test_the_dead_stay_dead_when_they_are_buried(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, _), (two, _, _) = await bench.open(ttl=self.TTL), await bench.open()
            await self.until_dead(two, first)
            await two.apply("x", put("buried"), evicted=[first])
            assert await two.dead([first]) == {first}
            await self.refused(one.apply("x", put("dead")), "apply()")
            assert await two.read("x") == "buried"

        self.run(main)

    # 4. Wake-ups

    def test_a_wake_up_arrives(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, got), (two, second, too) = await bench.open(), await bench.open()
            for name in [*self.NAMES, "🔒" * 200]:
                got.clear()
                two.wake(first, name, "1 2 3")
                await self.until(lambda: got, f"the wake-up for {name!r}")  # it runs at once
                assert (name, "1 2 3") in got
            assert not too
            one.wake(second, "x", "back")
            await self.until(lambda: ("x", "back") in too, "the other one's wake-up")

        self.run(main)

    def test_waking_never_raises(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, _), (two, _, _) = await bench.open(), await bench.open()
            for _ in range(2_000):  # more than anybody reads
                two.wake(first, "x", "1 1 1")
            await one.close()
            two.wake(first, "x", "1 1 1")
            two.wake("nobody", "x", "1 1 1")
            await asyncio.sleep(0.05)

        self.run(main)

    # 5. and 6. Life

    def test_a_session_lives_as_long_as_it_is_renewed(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, _), (two, _, _) = await bench.open(ttl=self.TTL), await bench.open()
            for _ in range(8):
                await asyncio.sleep(self.TTL / 4)
                await one.renew()
                assert await two.dead([first]) == frozenset()
            await one.apply("x", put("alive"))

        self.run(main)

    def test_a_death_is_noticed_by_who_watches(self) -> None:
        async def main(bench: Bench) -> None:
            (_, first, _), (two, _, _) = await bench.open(ttl=self.TTL), await bench.open()
            calls: list[int] = []
            stop = two.watch(first, lambda: calls.append(1))
            assert not await two.dead([first])
            await self.until(lambda: calls, "to be told of a session that was not renewed")
            await self.until_dead(two, first)
            stop()
            stop()

        self.run(main)

    def test_a_death_before_it_is_watched_is_noticed(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, _), (two, _, _) = await bench.open(), await bench.open()
            await one.close()
            calls: list[str] = []
            for session in (first, "nobody"):
                two.watch(session, lambda session=session: calls.append(session))  # type: ignore[misc]
            await self.until(lambda: {*calls} == {first, "nobody"}, "to be told of those who are dead")
            two.watch(first, lambda: calls.append("stopped"))()
            await asyncio.sleep(0.1)
            assert sorted(calls) == sorted([first, "nobody"])

        self.run(main)

    def test_who_has_stopped_watching_is_not_told(self) -> None:
        async def main(bench: Bench) -> None:
            (_, first, _), (two, _, _) = await bench.open(ttl=self.TTL), await bench.open()
            calls: list[int] = []
            two.watch(first, lambda: calls.append(1))()
            two.watch("nobody", lambda: calls.append(1))()
            await self.until_dead(two, first)
            await asyncio.sleep(0.05)
            assert not calls

        self.run(main)

    def test_sessions_are_described(self) -> None:
        async def main(bench: Bench) -> None:
            (_, first, _), (two, second, _) = await bench.open(label="one ä"), await bench.open(label="two")
            found = await two.describe(session for session in [first, second, "nobody"])
            assert found.keys() == {first, second}
            assert (found[first].id, found[first].name) == (first, "one ä")
            assert (found[second].host, found[second].pid) == (socket.gethostname(), os.getpid())
            assert found[second].command == command_line()
            assert found[first].alive
            assert found[second].alive
            assert abs(found[first].since - datetime.now(UTC)) < timedelta(days=1)

        self.run(main)

    # Eviction

    def test_a_session_is_ended_by_another_one(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, got), (two, second, _) = await bench.open(label="one ä"), await bench.open(label="two")
            await one.apply("x", put("alive"))
            assert await two.evict(first, "some\nbody", "why not", ["x", "y"])
            assert await two.dead([first]) == {first}
            assert not [info for info in (await two.describe([first])).values() if info.alive]
            for refused in (one.apply("x", put("dead")), one.renew()):
                try:
                    await refused
                except SessionLost as exc:
                    said = str(exc)
                else:
                    raise AssertionError("no SessionLost for a session that was evicted")
                assert "was evicted by some\nbody at " in said, said
                assert said.endswith(": why not"), said
            await self.refused(one.evict(second, "", "", []), "evict()")
            assert await two.read("x") == "alive"
            await self.until(lambda: [name for name, _ in got if not name], "the wake-up of who was evicted")
            await one.close()

        self.run(main)

    def test_an_eviction_is_kept(self) -> None:
        async def main(bench: Bench) -> None:
            (_, first, _), (_, second, _) = await bench.open(label="one"), await bench.open(label="two")
            (three, _, _), (four, _, _) = await bench.open(), await bench.open(namespace=bench.namespace + " two")
            assert await three.evictions() == []
            assert await three.evict(first, "somebody", "", ["x", "y"])
            assert await three.evict(second, "somebody", "else", ())
            earlier, later = await three.evictions()
            assert (earlier.session.id, earlier.session.name, earlier.session.alive) == (first, "one", False)
            assert (earlier.session.host, earlier.session.pid) == (socket.gethostname(), os.getpid())
            assert (earlier.by, earlier.reason, earlier.held) == ("somebody", "", ("x", "y"))
            assert (later.session.id, later.by, later.reason, later.held) == (second, "somebody", "else", ())
            assert abs(earlier.at - datetime.now(UTC)) < timedelta(days=1)
            assert earlier.at <= later.at
            assert await four.evictions() == []

        self.run(main)

    def test_only_the_living_are_ended(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, _), (_, second, _) = await bench.open(), await bench.open(ttl=self.TTL)
            three, _, _ = await bench.open()
            await one.close()
            await asyncio.sleep(self.TTL * 1.5)
            assert not await three.evict(first, "somebody", "", [])
            assert not await three.evict(second, "somebody", "", [])
            assert not await three.evict("nobody", "somebody", "", [])
            assert await three.evictions() == []

        self.run(main)

    # 7. Removal

    def test_a_text_is_removed_only_as_it_is(self) -> None:
        async def main(bench: Bench) -> None:
            (one, _, _), (two, _, _) = await bench.open(), await bench.open()
            await one.apply("x", put("old"))
            await two.apply("x", put("new"))
            assert not await one.remove("x", "old", 5)
            assert await one.read("x") == "new"
            floor = await one.apply("x", lambda stored: ("new", stored.floor))
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
                return await engine.apply(name, lambda stored: ("text", stored.floor))

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
            await asyncio.sleep(1.1)
            await engine.apply("new", put("1"))
            assert await engine.old(0.6) == ["old"]
            assert await engine.old(3600) == []

        self.run(main)

    def test_who_passes_over_old_names_gets_to_all_of_them_the_oldest_first(self) -> None:
        async def main(bench: Bench) -> None:
            engine, _, _ = await bench.open()
            names = [str(number) for number in range(2 * MOST_OLD + 3)]
            for name in [*names, names[5]]:
                await engine.apply(name, put("1"))
            names.append(names.pop(5))  # it has been changed again
            await asyncio.sleep(0.2)
            await engine.apply("new", put("1"))
            found: list[str] = []
            while some := await engine.old(0.1, len(found)):
                found += some
            assert {*found} == {*names}
            assert len(found) == len(names)
            assert found[-1] == names[-1]
            assert await engine.old(0.1, len(found)) == []

        self.run(main)

    def test_to_look_is_to_see_texts_and_deaths_at_one_time(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, _), (two, _, _), (_, third, _) = await bench.open(), await bench.open(), await bench.open()
            await one.apply("x", put("1"))
            for _ in range(2):
                seen = await two.look(["x", "y"], [first, third, "nobody"])
                assert dict(seen.texts) == {"x": "1", "y": None}
                assert seen.dead == {"nobody"}
            await one.apply("x", put("2"))
            await one.close()
            seen = await two.look(["x"], [first, third])
            assert dict(seen.texts) == {"x": "2"}
            assert seen.dead == {first}
            assert dict((await two.look([], [third])).texts) == {}

        self.run(main)

    # 9. Additions

    def test_an_addition_comes_to_the_same_as_its_change(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, _), (two, _, _), (three, _, _) = await bench.open(), await bench.open(), await bench.open()

            def better(mark: str) -> Addition:
                return Addition("k", mark, True)

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
                wrong = Addition("another", "wrong", True)
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
                            addition=Addition(kind, mark, is_better=number % 2 == 1),
                            opens=lambda _: Opening("k", holder, False),
                        )
                    await asyncio.sleep(0)

            await asyncio.gather(*(work(engine, who) for (engine, _, _), who in zip(sessions, "abcd", strict=True)))
            *found, _ = marks(await sessions[0][0].read("x")).split(";")
            assert sorted(found) == sorted(f"{who}{number}" for who in "abcd" for number in range(40))
            for who in "abcd":
                assert [mark for mark in found if mark.startswith(who)] == [f"{who}{number}" for number in range(40)]

        self.run(main)

    def test_who_adds_wakes_whom_that_has_woken(self) -> None:
        async def main(bench: Bench) -> None:
            (one, _, _), (two, _, _), (_, third, woken) = [await bench.open() for _ in range(3)]
            opens: Callable[[object], Opening] = lambda _: Opening("k", None, False)  # noqa: E731
            await one.apply("x", put("a"), opens=opens)
            found = await two.apply(
                "x",
                append("+b"),
                addition=Addition("k", "+b"),
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
                await engines[number % 3].apply("x", append(mark), addition=Addition("k", mark), opens=opens)
            text = await engines[0].read("x") or ""
            assert marks(text) == "".join(f"{number};" for number in range(300))
            assert text.count("\n") < 100

        self.run(main)

    def test_no_addition_is_made_for_the_dead(self) -> None:
        async def main(bench: Bench) -> None:
            (one, first, _), (two, _, _) = await bench.open(ttl=self.TTL), await bench.open()
            await two.apply("x", put("held"), opens=lambda _: Opening("k", first, False))
            await self.until_dead(two, first)
            await self.refused(one.apply("x", append("+1"), addition=Addition("k", "+1", True)), "apply()")
            assert await two.read("x") == "held"

        self.run(main)
