"""Tasks that holdfast runs in the background. If their event loop is closed before they end, they say nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar, cast

T = TypeVar("T")


class _Work(Coroutine[Any, Any, T]):
    """A coroutine that is made when it first runs. One that is made and never runs warns that it was never awaited."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._make = make
        self._made: Coroutine[Any, Any, T] | None = None
        function = make.func if isinstance(make, partial) else make
        self.__name__ = self.__qualname__ = getattr(function, "__qualname__", "work")

    def _begun(self) -> Coroutine[Any, Any, T]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def send(self, value: Any) -> Any:
        return self._begun().send(value)

    def throw(self, *exc: Any) -> Any:
        return self._begun().throw(*exc)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._begun().__await__()

    # For `Task.get_stack()` and other tools that show where a task is

    @property
    def cr_frame(self) -> Any:
        return getattr(self._made, "cr_frame", None)

    @property
    def cr_await(self) -> Any:
        return getattr(self._made, "cr_await", None)


class _Continued(_Work[T]):
    """A coroutine that has made its first step already."""

    def __init__(self, made: Coroutine[Any, Any, T], yielded: Any) -> None:
        """yielded: what the first step has yielded, for the task that goes on."""
        super().__init__(lambda: made)
        self._made = made
        self.__name__ = self.__qualname__ = getattr(made, "__qualname__", "work")
        self._yielded = [yielded]

    def send(self, value: Any) -> Any:
        return self._yielded.pop() if self._yielded else super().send(value)

    def throw(self, *exc: Any) -> Any:
        self._yielded.clear()
        return super().throw(*exc)


def begin(loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, T]], name: str) -> asyncio.Task[T]:
    """Run a coroutine function in a task of its own.

    A program may close its loop without awaiting or cancelling all tasks. The interpreter then says on stderr that they
    were destroyed. The user needs to know that of the program's own tasks, and not of holdfast's.
    """
    return _task(loop, _Work(make), name)


def begin_at_once(
    loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, T]], name: str
) -> asyncio.Task[T] | None:
    """As begin(), but the first step is made here and now. None if it was the last one, and has raised nothing.

    In that step, `asyncio.current_task()` is the caller's.
    """
    work = make()
    try:
        yielded = work.send(None)
    except StopIteration:
        return None
    except (Exception, asyncio.CancelledError) as exc:  # the task shows it, as if it had been begun
        return begin(loop, partial(_raise, exc), name)
    return _task(loop, _Continued(work, yielded), name)


def _task(loop: asyncio.AbstractEventLoop, work: _Work[T], name: str) -> asyncio.Task[T]:
    task = loop.create_task(work, name=name)
    with contextlib.suppress(AttributeError):  # a task of another class than asyncio's
        cast(Any, task)._log_destroy_pending = False
    return task


async def _raise(exc: BaseException) -> Any:
    raise exc
