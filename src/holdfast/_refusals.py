"""What the cluster tier says to what people write who come from other libraries: what to write here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")
LONGEST = 60
"""Characters of a text that a message repeats."""
_LIMITS = "write 'async with asyncio.timeout(SECONDS):' around it"
_INSTEAD = {
    "timeout": f"there is no timeout=; {_LIMITS}",
    "blocking_timeout": f"there is no blocking_timeout=; {_LIMITS}",
    "acquire_timeout": f"there is no acquire_timeout=; {_LIMITS}",
    "blocking": "there is no blocking=; 'await try_acquire()' does not wait",
    "expire": "there is no expire=; write 'holdfast.connect(..., ttl=SECONDS)', which is for all that a session holds",
    "lock_timeout": "there is no lock_timeout=; write 'holdfast.connect(..., ttl=SECONDS)'",
}


def shown(text: object) -> str:
    """For messages: a text in quotes, without its middle if it is long, or a number; of all else only the type."""
    if isinstance(text, (float, type(None))) or (isinstance(text, int) and text.bit_length() <= LONGEST):
        return repr(text)
    if not isinstance(text, (str, bytes)):
        return f"a {type(text).__name__}"
    return repr(shortened(text) if isinstance(text, str) else text[:LONGEST])


def shortened(text: str) -> str:
    """Without its middle, if it is long."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 :]}"


def refusing(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function say what to write in place of an argument that it does not have, and others do."""

    def check(options: dict[str, Any]) -> None:
        for name in options.keys() & _INSTEAD.keys():
            raise TypeError(f"{function.__name__}(): {_INSTEAD[name]}")

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **options: Any) -> Any:
            check(options)
            return await cast(Any, function)(*args, **options)

        return cast(Callable[P, T], awaited)

    @functools.wraps(function)
    def called(*args: P.args, **options: P.kwargs) -> T:
        check(options)
        return function(*args, **options)

    return called
