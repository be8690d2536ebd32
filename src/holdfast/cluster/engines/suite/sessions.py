"""Promises 2, 5, 6 and 10: a session lives as long as it is renewed, and a dead one never changes anything again."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from datetime import UTC, datetime, timedelta

from holdfast.cluster.command_line import command_line

from .bench import Bench, Promises
from .changes import put


class SessionPromises(Promises):
    """Tests of the life of a session, and of `dead()`, `watch()`, `describe()` and `look()`."""

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

    def test_a_session_lives_as_long_as_it_is_renewed(self) -> None:
        async def main(bench: Bench) -> None:
            ttl = 4 * self.TTL  # long beside the pauses, as those are longer on a busy machine
            (one, first, _), (two, _, _) = await bench.open(ttl=ttl), await bench.open()
            until = time.monotonic() + 1.5 * ttl
            while time.monotonic() < until:
                await asyncio.sleep(self.TTL / 4)
                await one.renew()
                assert await two.dead([first]) == frozenset()
            await one.apply("x", put("alive"))

        self.run(main)

    def test_a_keeper_renews_a_session_from_another_thread(self) -> None:
        """An engine without keepers passes."""

        async def main(bench: Bench) -> None:
            ttl = 4 * self.TTL  # long beside the pauses, as those are longer on a busy machine
            (one, first, _), (two, _, _) = await bench.open(ttl=ttl), await bench.open()
            if not hasattr(one, "keeper"):
                return
            keeper = one.keeper()

            async def keep() -> None:
                try:
                    until = time.monotonic() + 1.5 * ttl
                    while time.monotonic() < until:
                        await asyncio.sleep(self.TTL / 4)
                        await keeper.renew()
                finally:
                    await keeper.close()

            await asyncio.to_thread(asyncio.run, keep())
            assert await two.dead([first]) == frozenset()
            await one.apply("x", put("alive"))

        self.run(main)

    def test_a_keeper_does_not_bring_back_the_dead(self) -> None:
        """An engine without keepers passes."""

        async def main(bench: Bench) -> None:
            (one, first, _), (two, _, _) = await bench.open(ttl=self.TTL), await bench.open()
            (closed, second, _) = await bench.open(ttl=self.TTL)
            if not hasattr(one, "keeper"):
                return
            keepers = one.keeper(), closed.keeper()
            await closed.close()
            await self.until_dead(two, first)

            async def keep() -> None:
                for keeper in keepers:
                    try:
                        await self.refused(keeper.renew(), "a keeper's renew()")
                    finally:
                        await keeper.close()

            await asyncio.to_thread(asyncio.run, keep())
            assert await two.dead([first, second]) == {first, second}
            await self.refused(one.apply("x", put("dead")), "apply()")

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
            await self.until(lambda: {*calls} == {first, "nobody"}, "to be told of the sessions that are dead")
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
