"""The only thing that the conformance suite knows of a tier."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any


class Tier(ABC):
    """Makes primitives, and hides that some tiers have a coroutine where others have a plain method."""

    name: str
    without: Mapping[str, str] = MappingProxyType({})
    """Tests that cannot apply here, by name, with the reason."""
    is_asyncio = False
    """Whether these are asyncio's own classes, which check the suite rather than the other way round."""

    @abstractmethod
    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `test` in a new event loop; fail if it leaves a task behind. Skip it if the tier is not available."""

    @abstractmethod
    async def settle(self) -> None:
        """Return when every task has gone as far as it gets without this one."""

    @abstractmethod
    def lock(self) -> Any: ...

    @abstractmethod
    def event(self) -> Any: ...

    @abstractmethod
    def condition(self, lock: Any = None) -> Any: ...

    @abstractmethod
    def semaphore(self, value: int = 1) -> Any: ...

    @abstractmethod
    def bounded_semaphore(self, value: int = 1) -> Any: ...

    @abstractmethod
    def barrier(self, parties: int) -> Any: ...

    async def do(self, call: Callable[..., Any], *args: Any) -> Any:
        """The result of `call(*args)`, awaited if this tier makes it a coroutine."""
        result = call(*args)
        return await result if inspect.isawaitable(result) else result

    async def get(self, primitive: Any, attribute: str) -> Any:
        """The value of an attribute such as `n_waiting`."""
        return await self.do(getattr, primitive, attribute)

    async def start(self, awaitable: Awaitable[Any]) -> asyncio.Task[Any]:
        """A new task that has gone as far as it gets."""
        task = asyncio.ensure_future(awaitable)
        assert isinstance(task, asyncio.Task)
        await self.settle()
        return task

    async def start_all(self, *awaitables: Awaitable[Any]) -> list[asyncio.Task[Any]]:
        """New tasks, each started when the one before had gone as far as it gets."""
        return [await self.start(awaitable) for awaitable in awaitables]
