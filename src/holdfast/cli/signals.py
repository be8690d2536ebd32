"""Which signals holdfast handles, and which it leaves alone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable

ENDING = "SIGINT", "SIGTERM", "SIGHUP"
"""Those that end holdfast while it waits."""
PASSED_ON = (*ENDING, "SIGQUIT")
"""Those that are passed on to CMD while it runs."""


def taken(names: tuple[str, ...]) -> list[signal.Signals]:
    """Those of the signals that the platform has and that are not ignored.

    A signal that was ignored when holdfast started stays ignored, for holdfast and for CMD: the program that started
    them has asked for that. Examples are nohup, and a shell without job control that starts a job in the background.
    """
    numbers = [signal.Signals[name] for name in names if name in signal.Signals.__members__]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def handle(number: int, handler: Callable[[int], object]) -> None:
    """Call the handler with the number, in the running loop, whenever the signal comes."""
    with contextlib.suppress(NotImplementedError):  # on Windows; there Python itself handles Ctrl-C
        asyncio.get_running_loop().add_signal_handler(number, handler, number)
