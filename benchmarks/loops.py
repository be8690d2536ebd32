"""What a workload needs of an event loop: asyncio's, uvloop's, or trio's own."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import trio

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, None]]


class Flag(Protocol):
    """Set once, waited for by one task: made of what the loop itself has, not of what is measured."""

    def set(self) -> None: ...
    async def wait(self) -> None: ...


class Tasks(Protocol):
    def start(self, work: Work) -> None: ...

    def start_cancellable(self, work: Work) -> Callable[[], object]:
        """Return the function that cancels the task."""


class Loop(ABC):
    name: str

    @abstractmethod
    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T: ...

    @abstractmethod
    def tasks(self) -> AbstractAsyncContextManager[Tasks]:
        """A place to start tasks, which have finished when it is left; whoever failed raises there."""

    @abstractmethod
    def flag(self) -> Flag: ...

    @abstractmethod
    def pause(self) -> Awaitable[None]:
        """Let every task that is ready run once."""


class AsyncioFlag:
    def __init__(self) -> None:
        self._future = asyncio.get_running_loop().create_future()

    def set(self) -> None:
        self._future.set_result(None)

    async def wait(self) -> None:
        await self._future


class AsyncioTasks:
    """Bare tasks: a TaskGroup would add its callback to the cost of each one that ends."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Work) -> None:
        self._tasks.append(self._loop.create_task(work()))

    def start_cancellable(self, work: Work) -> Callable[[], object]:
        self.start(work)
        return self._tasks[-1].cancel

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, typ: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is None and self._tasks:
            done, _ = await asyncio.wait(self._tasks)
            for task in done:
                if not task.cancelled():
                    task.result()


class AsyncioLoop(Loop):
    """One loop that lives as long as the process, run again for each sample."""

    def __init__(self, name: str, factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        self.name = name
        self._runner = asyncio.Runner(loop_factory=factory)

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._runner.run(main())

    def tasks(self) -> AbstractAsyncContextManager[Tasks]:
        return AsyncioTasks()

    def flag(self) -> Flag:
        return AsyncioFlag()

    def pause(self) -> Awaitable[None]:
        return asyncio.sleep(0)


class TrioTasks:
    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start(self, work: Work) -> None:
        self._nursery.start_soon(work)

    def start_cancellable(self, work: Work) -> Callable[[], object]:
        scope = trio.CancelScope()
        self._nursery.start_soon(partial(self._run_in, scope, work))
        return scope.cancel

    @staticmethod
    async def _run_in(scope: trio.CancelScope, work: Work) -> None:
        with scope:
            await work()


class TrioLoop(Loop):
    name = "trio"

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return trio.run(main)

    @asynccontextmanager
    async def tasks(self) -> AsyncIterator[Tasks]:
        async with trio.open_nursery() as nursery:
            yield TrioTasks(nursery)

    def flag(self) -> Flag:
        return trio.Event()

    def pause(self) -> Awaitable[None]:
        return trio.lowlevel.checkpoint()
