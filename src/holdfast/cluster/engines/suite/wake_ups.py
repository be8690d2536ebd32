"""Promise 4: a wake-up is a hint, and sending one never raises."""

from __future__ import annotations

import asyncio

from .bench import Bench, Promises


class WakeUpPromises(Promises):
    """Tests of `wake()`."""

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

    def test_a_long_message_under_no_name_arrives(self) -> None:
        async def main(bench: Bench) -> None:
            (_, first, got), (two, _, _) = await bench.open(), await bench.open()
            message = 'say 1 [["a\\u00e4"],null] '.ljust(3000, "x")
            two.wake(first, "", message)
            await self.until(lambda: ("", message) in got, "the message")

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
