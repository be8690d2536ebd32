"""SingleFlight and Once: one task does the work, and all who want the result wait for it.

What must hold:

 1. A body runs in a task of its own, so cancelling one caller ends nobody else's wait. When the last caller has left,
    the body is cancelled. (The first caller's cancellation ends all in most recipes.)
 2. Of one key, one body runs at a time. Who comes while a body is being cancelled waits until it has ended, and starts
    anew. (tailscale #18919: a newcomer got the cancellation of a flight that it had not been in.)
 3. An exception is raised in all callers of its flight, and not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


def checked_coroutine(work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Return what a function has returned. Raises TypeError if that is no coroutine."""
    if not asyncio.iscoroutine(work):
        raise TypeError(f"function must be a coroutine function: it returned {work!r}")
    return work


class TheValue:
    """In place of a key, what the body of a Once makes."""


THE_VALUE = TheValue()


def own_key_error(key: Hashable) -> RuntimeError:
    """What a body gets that asks for its own key."""
    if key is THE_VALUE:
        return RuntimeError("the function that makes the value of a Once calls get() itself, and would wait for itself")
    return RuntimeError(f"the body of the key {key!r} asks for its own key, and would wait for itself")


class _Flight(Generic[T]):
    """One run of a body, and the callers that wait for it."""

    def __init__(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> None:
        self.callers = 0
        self.is_given_up = False
        """Whether the last caller has left, and the body is being cancelled."""
        self.is_known = False
        """Whether others find it."""
        self.task = asyncio.create_task(self._fly(function, *args, **kwargs))

    async def _fly(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not self.is_known:  # tasks are eager
            await asyncio.sleep(0)
        return await checked_coroutine(function(*args, **kwargs))

    async def landed(self) -> T:
        """Wait for the result as one of its callers."""
        self.callers += 1
        try:
            await asyncio.wait([self.task])
        finally:
            self.callers -= 1
            if not (self.callers or self.task.done() or self.task.get_loop().is_closed()):
                self.is_given_up = True
                self.task.cancel()
        return self.task.result()


class SingleFlight:
    """Calls with the same key at the same time are one call. For the tasks of one event loop.

    Example::

        flights = holdfast.SingleFlight()

        async def fetch(url):
            ...

        async def page(url):
            return await flights.run(url, fetch, url)  # however many ask at the same time, one fetches

    Source: Go's golang.org/x/sync/singleflight, with the cancellation that asyncio has.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[Any]] = {}

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} object at {id(self):#x} [keys:{len(self)}]>"

    def __len__(self) -> int:
        """The number of keys for which a body runs."""
        return len(self._flights)

    def __contains__(self, key: object) -> bool:
        """Whether a body runs for this key."""
        return key in self._flights

    async def run(
        self, key: Hashable, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what `await function(*args, **kwargs)` returns; if a call with this key is under way, what that does.

        key: what makes calls the same; any value that can be a key of a dictionary.
        function: a coroutine function. Its body runs in a task of its own, in a copy of the first caller's context.
        args: what it is called with, besides the arguments by keyword.

        Raises what the body raises, in each of its callers. If somebody cancels the body itself, CancelledError.
        TypeError if `function` is no coroutine function; RuntimeError if the body itself asks for its key, which would
        wait for ever. Nobody notices if a task that the body waits for does.

        Cancellation: raises at once. The body goes on as long as another caller waits for it; else it is cancelled, and
        whoever comes then starts anew when it has ended.
        """
        while (flight := self._under_way(key)) is not None and flight.is_given_up:
            await asyncio.wait([flight.task])
        if flight is not None and flight.task is asyncio.current_task():
            raise own_key_error(key)
        if flight is None:
            flight = self._flights[key] = _Flight(function, *args, **kwargs)
            flight.is_known = True
            flight.task.add_done_callback(partial(self._landed, key, flight))
        result: T = await flight.landed()
        return result

    def _under_way(self, key: Hashable) -> _Flight[Any] | None:
        """The flight of this key, unless it has landed, or its event loop was left with it."""
        flight = self._flights.get(key)
        if flight is None or flight.task.done() or flight.task.get_loop() is not asyncio.get_running_loop():
            return None
        return flight

    def _landed(self, key: Hashable, flight: _Flight[Any], _: object) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


class Once(Generic[T]):
    """A value that is made once, by the first who needs it. For the tasks of one event loop.

    Example::

        pool = holdfast.Once()

        async def handler():
            connections = await pool.get(make_pool)  # made by the first request; the others wait for it

    Source: Go's sync.Once and Rust's OnceCell, with the cancellation that asyncio has.
    """

    def __init__(self) -> None:
        self._flights = self._new_flights()
        self._value: T
        self._is_made = False

    def __repr__(self) -> str:
        cls = type(self)
        state = "made" if self._is_made else "being made" if len(self._flights) else "not made"
        return f"<{cls.__module__}.{cls.__qualname__} object at {id(self):#x} [{state}]>"

    def is_made(self) -> bool:
        """Whether there is a value."""
        return self._is_made

    async def get(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the value; the first call makes it, by `await function()`, and calls meanwhile wait for that.

        function: a coroutine function without arguments.

        Raises what the body raises, in each caller that waits for it. It is not kept: the next call tries again.
        TypeError if `function` is no coroutine function, RuntimeError if the body itself calls get().

        Cancellation: raises at once. The body goes on as long as another caller waits for it; else it is cancelled.
        """
        if not self._is_made:
            await self._flights.run(THE_VALUE, self._make, function)
        return self._value

    async def _make(self, function: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """In the body's task: so the value is kept, also if all callers leave in the step that has made it.

        The body before may have made it, though it was given up, and in `holdfast.threads` another thread may have
        meanwhile. The first value counts.
        """
        if not self._is_made:
            self._keep(await checked_coroutine(function()))

    def _keep(self, value: T) -> None:
        if not self._is_made:
            self._value = value
            self._is_made = True

    def _new_flights(self) -> SingleFlight:
        return SingleFlight()
