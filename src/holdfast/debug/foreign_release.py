"""A warning where a task releases a Lock that another task has acquired, for those who ask for it.

A Lock does not know its holder. So while somebody asks, the class has an acquire(), a try_acquire() and a release()
that note it in the lock, and `async with` goes through them. Before and after that, nothing is noted or paid.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import types
import warnings
from collections.abc import Callable
from typing import Any, Literal
from weakref import ref

from holdfast.tasks.lock import Lock

from .names import name_of_task

_NOTE = "_acquired_by"
"""The attribute of a lock that has the task, and what it is called. None is there if the holder is not known."""


class ForeignReleaseWarning(RuntimeWarning):
    """A Lock was released by another task than the one that has acquired it.

    It is given only while `watch(foreign_release=True)` is on, or with HOLDFAST_WARN_FOREIGN_RELEASE=1.
    """


class _Notes:
    """Whether tasks are noted, and for how many that have asked for it."""

    def __init__(self) -> None:
        self._asked = 0
        self._lock = threading.Lock()
        self._usual: dict[str, Any] = {}

    def begin(self) -> None:
        """Note, from now on, who acquires a Lock."""
        with self._lock:
            self._asked += 1
            if self._asked == 1:
                self._usual = {name: Lock.__dict__[name] for name in ("acquire", "try_acquire", "release")}
                cls: Any = Lock
                cls.acquire = _acquire(Lock.acquire)
                cls.try_acquire = _try_acquire(Lock.try_acquire)
                cls.release = _release(Lock.release)

    def end(self) -> None:
        """One less asks for it."""
        with self._lock:
            self._asked -= 1
            if not self._asked:
                for name, usual in self._usual.items():
                    setattr(Lock, name, usual)


notes = _Notes()
"""Of this process."""


def _acquire(usual: Callable[[Lock], Any]) -> Callable[[Lock], Any]:
    async def acquire(self: Lock) -> Literal[True]:
        await usual(self)
        _note(self, acquire.__code__)
        return True

    return functools.update_wrapper(acquire, usual)


def _try_acquire(usual: Callable[[Lock], bool]) -> Callable[[Lock], bool]:
    @functools.wraps(usual)
    def try_acquire(self: Lock) -> bool:
        taken = usual(self)
        if taken:
            _note(self)
        return taken

    return try_acquire


def _release(usual: Callable[[Lock], None]) -> Callable[[Lock], None]:
    @functools.wraps(usual)
    def release(self: Lock) -> None:
        note = self.__dict__.pop(_NOTE, None)
        usual(self)
        task = _this_task()
        if note is not None and note[0]() is not task:
            here = "outside of any task" if task is None else f"by task {name_of_task(task)}"
            warnings.warn(
                f"{self!r} was acquired by task {note[1]}, and is released {here}. Release it in the task that has "
                "acquired it, as 'async with' does; for a task that lets another one go on there are Event and "
                "Semaphore",
                ForeignReleaseWarning,
                stacklevel=2,
            )

    return release


def _note(lock: Lock, code: types.CodeType | None = None) -> None:
    """code: of what acquires it. A task that does nothing else, as that of `wait_for()` in Python 3.11, is nobody."""
    task = _this_task()
    is_known = task is not None and (code is None or getattr(task.get_coro(), "cr_code", None) is not code)
    lock.__dict__[_NOTE] = (ref(task), name_of_task(task)) if task is not None and is_known else None


def _this_task() -> asyncio.Task[Any] | None:
    return None if asyncio._get_running_loop() is None else asyncio.current_task()
