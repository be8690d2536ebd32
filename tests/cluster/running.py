"""Where a test runs: in an event loop of its own, within a bound, or in a forked child."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from interpreters import BOUND


def run_bounded(test: Coroutine[Any, Any, None]) -> None:
    """Run it in a new event loop. Raises TimeoutError if it takes longer than BOUND; what all tasks do then is printed.

    One that hangs in one of ten thousand runs has to tell all it knows at once.
    """

    async def main() -> None:
        async with asyncio.timeout(BOUND):
            alarm = asyncio.get_running_loop().call_later(BOUND - 1, _print_tasks)
            try:
                await test
            finally:
                alarm.cancel()

    asyncio.run(main())


def _print_tasks() -> None:
    for task in asyncio.all_tasks():
        print(task.get_name())
        coroutine: Any = task.get_coro()
        while (frame := getattr(coroutine, "cr_frame", None)) is not None:
            print(f"  {frame.f_code.co_qualname}, line {frame.f_lineno} of {frame.f_code.co_filename}")
            coroutine = coroutine.cr_await
        print(f"  {coroutine!r}")


def in_child(check: Callable[[], bool]) -> bool:
    """Whether the check holds in a forked child, which ends without any clean-up. It does not if it raises."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if check() else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
