"""How a test stops a process, and knows that it stands still.

SIGSTOP is a request: `kill()` has returned before the process has heard of it. Until then its threads go on, for some
milliseconds on a busy machine, and a server that was to be deaf still answers.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

_AT_MOST = 60.0
"""Seconds until it stands still. On a busy machine it is some milliseconds."""
_BETWEEN_LOOKS = 0.001
"""Seconds."""


def stop(pid: int) -> None:
    """Stop a process, and wait until none of its threads runs. Raises ProcessLookupError if there is none."""
    os.kill(pid, signal.SIGSTOP)
    until_stopped(pid)


def until_stopped(pid: int) -> None:
    """Wait until a child of this process, or on Linux any process, is stopped or has ended. Raises TimeoutError."""
    end = time.monotonic() + _AT_MOST
    while not _stands_still(pid):
        if time.monotonic() > end:
            raise TimeoutError(f"process {pid} was not stopped within {_AT_MOST} s")
        time.sleep(_BETWEEN_LOOKS)


def _stands_still(pid: int) -> bool:
    if sys.platform != "linux":
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    threads = Path(f"/proc/{pid}/task")
    try:
        return all(_state(thread) in "TtZX" for thread in threads.iterdir())
    except (FileNotFoundError, ProcessLookupError):  # it, or one of its threads, has ended: then look again
        return not threads.exists()


def _state(thread: Path) -> str:
    """The letter of ps(1)."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]
