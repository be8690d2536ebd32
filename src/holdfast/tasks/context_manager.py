"""`async with`, and the older forms of acquiring, which asyncio deprecated in 3.7 and removed in 3.9.

What must hold: `__aenter__` and `__aexit__` make no coroutine if they need not wait. An acquire() or a release() that a
subclass overrides is the one that `async with` calls.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import types
import warnings
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, final

from .twins import finished

F = TypeVar("F", bound=Callable[..., Any])

_NOTHING: Iterator[None] = iter(())


@final
class _Finished(Coroutine[Any, Any, None]):
    """A coroutine that has nothing left to do. It can be awaited any number of times, and returns None.

    `__aenter__` and `__aexit__` return its one instance whenever they need not wait. That saves making and running a
    coroutine for each.
    """

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return _NOTHING  # type: ignore[return-value]  # An exhausted iterator is all that await needs.

    def send(self, value: Any) -> NoReturn:
        raise StopIteration

    def throw(self, typ: Any, val: Any = None, tb: Any = None) -> NoReturn:
        raise typ if val is None else val

    def close(self) -> None:
        """Do nothing."""


FINISHED: Coroutine[Any, Any, None] = finished(_Finished)


def returns_awaitable(function: F) -> F:
    """Mark a function as one whose result is awaited, as `async def` does; AsyncMock(spec=...) looks for that."""
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return function


class NotAsyncWithError(TypeError, RuntimeError):
    """`with lock:` was written instead of `async with lock:`.

    It is a RuntimeError because asyncio raised that while it had the `with` forms, and a TypeError because the
    interpreter raises that for objects without them.
    """


class _Held:
    """The result of `await lock`, which releases the lock at the end of a `with` block."""

    def __init__(self, lock: ContextManager) -> None:
        self._lock: ContextManager | None = lock

    def __enter__(self) -> None:
        if self._lock is None:
            raise RuntimeError("this lock was released at the end of an earlier with block; write 'async with lock:'")

    def __exit__(self, *exc_info: object) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()


class ContextManager:
    """What Lock, Condition and the semaphores have in common: they are acquired and released."""

    _instead_of_with = "'async with'"

    if TYPE_CHECKING:  # A Condition has these as attributes of the instance.

        async def acquire(self) -> Literal[True]:
            """Wait until it can be had, and take it."""

        def release(self) -> None:
            """Give it back."""

    def _exit_closed(self) -> None:
        """Leave an `async with` block whose coroutine is being closed, perhaps by the collector in another thread."""
        self._release_closed()

    def _release_closed(self) -> None:
        """Release, and do not refuse to wake a task of another loop."""
        self.release()

    @returns_awaitable
    def __aenter__(self) -> Coroutine[Any, Any, None]:
        """Acquire, at once if that needs no waiting. The `as` value is None."""
        return self._enter()

    async def _enter(self) -> None:
        await self.acquire()

    @returns_awaitable
    def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: types.TracebackType | None
    ) -> Coroutine[Any, Any, None]:
        """Release, as release() does."""
        if exc_type is GeneratorExit:
            self._exit_closed()
        else:
            self.release()
        return FINISHED

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Have `async with` call the `acquire()` and `release()` that a subclass overrides, as it does in asyncio."""
        super().__init_subclass__(**kwargs)
        if "acquire" in cls.__dict__ and "__aenter__" not in cls.__dict__:
            cls.__aenter__ = ContextManager.__aenter__  # type: ignore[method-assign]
        if "release" in cls.__dict__ and "_release_closed" not in cls.__dict__:
            cls._release_closed = ContextManager._release_closed  # type: ignore[method-assign]

    if not TYPE_CHECKING:  # So type checkers complain of `await lock` and `with lock:`, as they do for asyncio.

        def __await__(self) -> Generator[Any, Any, _Held]:
            """Warn of `await lock`, acquire, and return what `with` releases. asyncio deprecated it in 3.7."""
            _warn_deprecated("await lock")
            return self._acquire_for_with().__await__()

        def __iter__(self) -> Generator[Any, Any, _Held]:
            """Warn of `yield from lock`, and do as `await lock`. asyncio deprecated it in 3.7."""
            _warn_deprecated("yield from lock")
            return self._acquire_for_with().__await__()

        def __enter__(self) -> NoReturn:
            """Refuse `with`: raise an error that says what to write. It is a TypeError and a RuntimeError."""
            name, instead = type(self).__name__, self._instead_of_with
            raise NotAsyncWithError(f"a {name} cannot be used in 'with'; write {instead} instead")

        def __exit__(self, exc_type: object, exc: object, tb: types.TracebackType | None) -> None:
            """Do nothing: `with` looks it up before it calls `__enter__`, which raises."""

    async def _acquire_for_with(self) -> _Held:
        await self.acquire()
        return _Held(self)


def _warn_deprecated(form: str) -> None:
    warnings.warn(
        f"'{form}' is deprecated since Python 3.7, and removed from asyncio in 3.9; write 'async with lock:'",
        DeprecationWarning,
        stacklevel=3,
    )
