"""Which signals holdfast takes, and which it leaves alone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable

ENDING = "SIGINT", "SIGTERM", "SIGHUP"
"""What ends holdfast while it waits."""
PASSED_ON = (*ENDING, "SIGQUIT")
"""What goes to CMD while that runs."""


def taken(names: tuple[str, ...]) -> list[signal.Signals]:
    """Those of them that the platform has and that are not ignored.

    A signal that was ignored when holdfast started (by nohup; by a shell without job control, for a job in the
    background) stays so, for holdfast and for CMD: whoever started them has asked for that.
    """
    numbers = [signal.Signals[name] for name in names if name in signal.Signals.__members__]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def handle(number: int, handler: Callable[[int], object]) -> None:
    """Have the handler called with the number, in the running loop, whenever that signal comes."""
    with contextlib.suppress(NotImplementedError):  # on Windows; there Python itself handles Ctrl-C
        asyncio.get_running_loop().add_signal_handler(number, handler, number)
