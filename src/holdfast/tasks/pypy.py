"""What PyPy has to be told: to close a suspended coroutine when it is collected, as CPython does.

A coroutine that can no longer be resumed may have been granted something. Closing it gives the grant back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])


def _closing() -> Generator[None, None, None]:
    try:
        yield
    finally:
        pass


def _plain() -> Generator[None, None, None]:
    yield


_FLAG = _closing.__code__.co_flags & ~_plain.__code__.co_flags if sys.implementation.name == "pypy" else 0
"""The flag of a code object by which PyPy knows that a frame suspended in it has to be closed when it is collected. Its
compiler sets the flag for a `yield` within `try`, and forgets to do so for an `await` (PyPy 8.0.1). 0 elsewhere."""


def closed_when_collected(function: F) -> F:
    """Mark a coroutine function: its coroutines are closed when they are collected.

    The coroutines that await it are not closed. So it is only for coroutine functions after which these have nothing
    left to do. Condition.wait() is none: it would take the lock for an `async with` block that never ends.
    """
    if _FLAG:
        code: Any = function.__code__
        function.__code__ = code.replace(co_flags=code.co_flags | _FLAG)
    return function
