"""The interface through which the conformance suite uses a tier."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class RWLock(NamedTuple):
    """The sides of an RWLock."""

    reader: Any
    writer: Any


class Tier(ABC):
    """Makes the primitives of a tier. Hides that some tiers have coroutines where others have plain methods."""

    name: str
    without: Mapping[str, str] = MappingProxyType({})
    """The reasons why some tests do not apply here, by the name of the test."""
    is_asyncio = False
    """Whether these are asyncio's own classes. Their tests check the suite, and not the other way round."""

    @abstractmethod
    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `test` in a new event loop; fail if it leaves a task behind. Skip it if the tier is not available."""

    @abstractmethod
    async def settle(self) -> None:
        """Return when all other tasks wait or have ended."""

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

    @abstractmethod
    def rw_lock(self) -> RWLock: ...

    @abstractmethod
    def rate_limiter(self, rate: float, per: float, burst: int) -> Any: ...

    async def do(self, call: Callable[..., Any], *args: Any) -> Any:
        """Return the result of `call(*args)`, awaited if it is a coroutine in this tier."""
        result = call(*args)
        return await result if inspect.isawaitable(result) else result

    async def get(self, primitive: Any, attribute: str) -> Any:
        """Return the value of an attribute such as `n_waiting`."""
        return await self.do(getattr, primitive, attribute)

    async def start(self, awaitable: Awaitable[Any]) -> asyncio.Task[Any]:
        """Start a task, and return it when it waits or has ended."""
        task = asyncio.ensure_future(awaitable)
        assert isinstance(task, asyncio.Task)
        await self.settle()
        return task

    async def start_all(self, *awaitables: Awaitable[Any]) -> list[asyncio.Task[Any]]:
        """Start tasks one by one, each when the one before waits or has ended."""
        return [await self.start(awaitable) for awaitable in awaitables]
