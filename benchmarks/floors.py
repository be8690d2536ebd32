"""What nothing that does the job can cost less than: a no-op, and bare futures.

They have asyncio's names and none of its care: no queue to leave, nothing given back, no checks. A task that
is cancelled here just stops.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Generator, Iterator
from typing import Any

_NOTHING: Iterator[None] = iter(())


class _Ready:
    """The cheapest thing to await."""

    def __await__(self) -> Generator[Any, Any, None]:
        return _NOTHING  # type: ignore[return-value]  # an exhausted iterator is all that await needs


READY = _Ready()


class NoOp:
    """Any primitive that is free, with nobody waiting."""

    def __init__(self, *args: object) -> None: ...

    async def acquire(self) -> None:  # from Python 3.13 on, running a coroutine costs less than READY
        ...

    def release(self) -> None: ...

    def __aenter__(self) -> Awaitable[None]:
        return READY

    def __aexit__(self, exc_type: object, exc: object, tb: object) -> Awaitable[None]:
        return READY

    wait = acquire
    set = release

    def notify(self, n: int = 1) -> None: ...

    notify_all = release


class BareFutures:
    """What is common to those below: a line of futures."""

    def __init__(self) -> None:
        self._create = asyncio.get_running_loop().create_future
        self._line: deque[asyncio.Future[None]] = deque()

    def wait(self) -> Awaitable[None]:
        future = self._create()
        self._line.append(future)
        return future

    def notify(self, n: int = 1) -> None:
        for _ in range(min(n, len(self._line))):
            self._line.popleft().set_result(None)

    def notify_all(self) -> None:
        for future in self._line:
            future.set_result(None)
        self._line.clear()


class BareSemaphore(BareFutures):
    def __init__(self, value: int = 1) -> None:
        super().__init__()
        self._value = value

    def acquire(self) -> Awaitable[None]:
        if self._value:
            self._value -= 1
            return READY
        future = self._create()
        self._line.append(future)
        return future

    def release(self) -> None:
        if self._line:
            self._line.popleft().set_result(None)
        else:
            self._value += 1

    def __aenter__(self) -> Awaitable[None]:
        return self.acquire()

    def __aexit__(self, exc_type: object, exc: object, tb: object) -> Awaitable[None]:
        self.release()
        return READY


class BareCondition(BareFutures):
    """Without a lock, which tasks that do not wait while they hold it do not need."""

    def __init__(self, lock: object = None) -> None:
        super().__init__()

    def acquire(self) -> Awaitable[None]:
        return READY

    def release(self) -> None: ...

    def __aenter__(self) -> Awaitable[None]:
        return READY

    def __aexit__(self, exc_type: object, exc: object, tb: object) -> Awaitable[None]:
        return READY


class BareEvent(BareFutures):
    set = BareFutures.notify_all


class BareBarrier(BareFutures):
    def __init__(self, parties: int) -> None:
        super().__init__()
        self._others = parties - 1

    def wait(self) -> Awaitable[None]:
        if len(self._line) < self._others:
            return super().wait()
        self.notify_all()
        return READY
