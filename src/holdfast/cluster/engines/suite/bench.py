"""What each test of the suite stands on: sessions on one namespace, bounded time, and an engine to be named."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, ClassVar

from holdfast.cluster.engines.contract import Engine
from holdfast.cluster.errors import SessionLost

Wakes = list[tuple[str, str]]


class Bench(AsyncExitStack):
    """The sessions of one test."""

    def __init__(self, make: Callable[[str, float | None], Engine]) -> None:
        super().__init__()
        self.make = make
        self.namespace = f"engine suite {secrets.token_hex(8)}"

    async def open(
        self, *, ttl: float | None = None, namespace: str | None = None, label: str = "a session"
    ) -> tuple[Engine, str, Wakes]:
        """Open a session; return its engine, its id, and a list that its wake-ups are added to.

        ttl: in seconds, as the engine is given it.
        namespace: by default that of the bench.
        label: the session's name.

        Raises what the engine's open() raises.

        Cancellation: as for the engine's open().
        """
        engine = self.make(self.namespace if namespace is None else namespace, ttl)
        wakes: Wakes = []
        session = await engine.open(label, lambda name, message, text=None: wakes.append((name, message)))
        self.push_async_callback(engine.close)
        return engine, session, wakes


class Promises:
    """The base of the tests: an engine of the user's, and how long things may take with it."""

    BOUND: ClassVar[float] = 60.0
    """The time that a test may take at most, in seconds."""
    TTL: ClassVar[float] = 1.0
    """The ttl of the sessions that are to die, in seconds: at least the lowest one that the engine supports."""
    SOON: ClassVar[float] = 30.0
    """The time within which the engine must have done what it does by itself, in seconds."""
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
    """Names that an engine must tell apart."""

    def engine(self, namespace: str, ttl: float | None = None) -> Engine:
        """Return a new engine for one session. All engines of one namespace must share their state.

        namespace: a new one for each test.
        ttl: in seconds; None where the test says nothing of it.

        Raises NotImplementedError here: a suite of yours says how an engine is made.
        """
        raise NotImplementedError("say how an engine is made: def engine(self, namespace, ttl=None)")

    def run(self, test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
        """Run a test in a new event loop, with a new bench.

        Raises what the test raises, and TimeoutError after `BOUND` seconds.

        Cancellation: it blocks the thread, which cannot be cancelled. Ctrl-C ends it, as it ends asyncio.run().
        """

        async def bounded() -> None:
            async with asyncio.timeout(self.BOUND), Bench(self.engine) as bench:
                await test(bench)

        asyncio.run(bounded())

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until the condition holds.

        Raises AssertionError after `SOON` seconds, which says `what` was not there.

        Cancellation: raises at once; nothing has been changed.
        """
        try:
            async with asyncio.timeout(self.SOON):
                while not condition():  # noqa: ASYNC110  # an engine may call from any thread, or not at all
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"not within {self.SOON} s: {what}") from None

    async def until_dead(self, engine: Engine, session: str) -> None:
        """Wait until the engine says that the session is dead.

        Raises TimeoutError after `SOON` + `TTL` seconds, and what the engine's dead() raises.

        Cancellation: raises at once; nothing has been changed.
        """
        async with asyncio.timeout(self.SOON + self.TTL):
            while session not in await engine.dead([session]):  # noqa: ASYNC110  # dead() must be asked
                await asyncio.sleep(0.02)

    async def refused(self, call: Coroutine[Any, Any, Any], what: str) -> None:
        """Await a call that must raise SessionLost.

        Raises AssertionError if it does not, which names it by `what`; any other error of the call as it is.

        Cancellation: that of the call.
        """
        try:
            await call
        except SessionLost:
            return
        raise AssertionError(f"no SessionLost from {what} of a dead session")
