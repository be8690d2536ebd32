"""What the links of far engines have in common: requests that are repeated, and tasks that end with the link."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from holdfast.cluster.background import begin
from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.errors import EngineError, SessionLost

R = TypeVar("R")
PAUSE = 0.01, 1.0
"""Seconds, the first and the longest, until a server that is away is asked again."""


class Unreachable(EngineError):  # noqa: N818  # see errors.py
    """The server cannot be asked now. It is not known whether the request was done.

    To users it is an EngineError: tracebacks name it so, and a pickle is one.
    """

    def __reduce__(self) -> tuple[type[EngineError], tuple[object, ...]]:
        return EngineError, self.args


Unreachable.__module__, Unreachable.__qualname__ = "holdfast.cluster", "EngineError"


class FarLink:
    """The link of one session to its server. Its methods are called in the session's event loop."""

    def __init__(self, patience: float) -> None:
        """patience: seconds until an answer is given up."""
        self.patience = patience
        self.session = ""
        self.reach_until = 0.0
        """The time, by monotonic(), after which a new connection comes too late."""
        self.is_closed = True
        self.loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin_session(self, session: str, reach_until: float) -> None:
        """Let a session use the link."""
        self.loop = asyncio.get_running_loop()
        self.session = session
        self.reach_until = reach_until
        self.is_closed = False

    async def insist(self, call: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Repeat a call until the server answers or the session is over. Raises SessionLost, EngineError."""
        pause, longest = PAUSE
        while True:
            self.check_open()
            try:
                return await call()
            except Unreachable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    def check_open(self) -> None:
        """Raise SessionLost if the session was closed."""
        if self.is_closed:
            raise SessionLost(f"session {self.session} was closed")

    def limit(self) -> float:
        """Seconds that connecting may take: the rest of the ttl, but at least as long as an answer."""
        return max(self.patience, self.reach_until - monotonic())

    @property
    def task_name(self) -> str:
        """What the link's tasks are called."""
        return f"holdfast session {self.session}"

    def begin(self, work: Callable[[], Coroutine[Any, Any, R]]) -> asyncio.Task[R]:
        """Run a coroutine function in a task that ends with the link."""
        assert self.loop is not None, "no session uses the link"
        return self.keep(begin(self.loop, work, self.task_name))

    def keep(self, task: asyncio.Task[R]) -> asyncio.Task[R]:
        """Have a task end with the link."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def end_tasks(self) -> None:
        """Cancel the link's tasks, but for the one that calls this, and wait for them."""
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
