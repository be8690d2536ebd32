"""A dump at a signal, for a service that does not answer any more."""

from __future__ import annotations

import signal
import sys
import types
from typing import TextIO

from .look import dump


def on_signal(number: int, *, file: TextIO | None = None, json: bool = False) -> None:
    """Write a dump whenever this process gets a signal: `kill -USR1 PID` in a shell.

    number: the signal, such as signal.SIGUSR1. file: where to write; by default sys.stderr. json: whether to write a
    line of JSON instead of a text.

    The handler runs in the main thread, in the middle of what that does. It does not run while the main thread is in a
    call that does not return to Python; a wait for a lock does return. HOLDFAST_DUMP_ON_SIGNAL=SIGUSR1 in the
    environment does the same when holdfast is imported. To undo it, give the signal another handler.

    Raises ValueError if it is called in another thread than the main one, or if there is no such signal; OSError if the
    signal cannot have a handler.
    """

    def write_dump(_number: int, _frame: types.FrameType | None) -> None:
        text = dump()
        print(text.to_json() if json else text, file=file or sys.stderr, flush=True)

    signal.signal(number, write_dump)


def signal_of(name: str) -> int:
    """The number of a signal, from a name such as SIGUSR1 or USR1. Raises ValueError if there is none."""
    try:
        return signal.Signals[name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"]
    except KeyError:
        raise ValueError(f"there is no signal {name!r} here; write one as SIGUSR1") from None
