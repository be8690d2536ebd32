"""Tasks of ours that no task of the user's awaits. If their loop ends before them, they say nothing about it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar, cast

T = TypeVar("T")


class _Work(Coroutine[Any, Any, T]):
    """A coroutine that is not made before it runs: one that never does would warn that nobody has awaited it."""

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

    # For `Task.get_stack()`, and who else looks where a task is

    @property
    def cr_frame(self) -> Any:
        return getattr(self._made, "cr_frame", None)

    @property
    def cr_await(self) -> Any:
        return getattr(self._made, "cr_await", None)


def begin(loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, T]], name: str) -> asyncio.Task[T]:
    """Run a coroutine function in a task of its own.

    A program may close its loop without awaiting or cancelling all tasks. Of the user's tasks the interpreter then
    says on stderr that they were destroyed; of ours nobody needs to know.
    """
    task = loop.create_task(_Work(make), name=name)
    with contextlib.suppress(AttributeError):  # a task of somebody else's making
        cast(Any, task)._log_destroy_pending = False
    return task
