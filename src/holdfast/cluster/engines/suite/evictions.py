"""One session ends another: the evicted session is told who did it and why, and the eviction is kept."""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import UTC, datetime, timedelta

from holdfast.cluster.errors import SessionLost

from .bench import Bench, Promises
from .changes import put


class EvictionPromises(Promises):
    """Tests of `evict()` and `evictions()`."""

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
            await self.until(
                lambda: [name for name, _ in got if not name], "the wake-up of the session that was evicted"
            )
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
