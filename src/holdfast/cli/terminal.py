"""The terminal in which holdfast was started, if there is one."""

from __future__ import annotations

import contextlib
import os

_TERMINAL = "/dev/tty"


def has_terminal() -> bool:
    """Whether there is a controlling terminal, even if stdin, stdout and stderr are all redirected."""
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True


def is_in_foreground() -> bool:
    """Whether this process belongs to the job to which the terminal sends Ctrl-C."""
    with contextlib.suppress(OSError):
        terminal = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY)
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
    return False
