"""A dump of another process, which Python 3.14 and later run a script for.

The process runs the script when its main thread next runs Python code. An event loop in which nothing happens runs
none. Stopping a process for a moment ends its wait for events on Linux, and its loop goes round once.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import exit_codes
from .failure import Failure

_SCRIPT = """
import json, os
try:
    import holdfast.debug
    dump = holdfast.debug.dump()
    answer = {{"text": str(dump), "dump": dump.as_dict()}}
except BaseException as exc:
    answer = {{"error": repr(exc)}}
with open({part!r}, "w") as file:
    json.dump(answer, file)
os.replace({part!r}, {whole!r})
"""
_PATIENCE = 0.5
"""Seconds that a busy process has, before it is stopped for a moment."""
_INSTEAD = "set HOLDFAST_DUMP_ON_SIGNAL=SIGUSR1 in its environment when you start it, and send it that signal"


def dump_of(pid: int, timeout: float) -> dict[str, Any]:
    """The dump of a process, as `text` and as `dump`.

    pid: the process. timeout: how many seconds to wait for its answer.

    Raises Failure.
    """
    if sys.version_info < (3, 14):
        raise Failure(
            f"a dump of another process needs Python 3.14 or later, here and there: {_INSTEAD}", exit_codes.FAILED
        )
    _check_that_it_runs(pid)
    with _folder_for(pid) as folder:
        script, answer = folder / "dump.py", folder / "answer"
        script.write_text(_SCRIPT.format(part=str(folder / "part"), whole=str(answer)))
        _run_there(pid, script)
        end, is_woken = time.monotonic() + timeout, False
        while not answer.exists():
            left = end - time.monotonic()
            if left <= 0:
                raise Failure(_no_answer(pid, timeout), exit_codes.TIMED_OUT)
            if not is_woken and left < timeout - _PATIENCE:
                is_woken = True
                _wake(pid)
            time.sleep(min(0.02, left))
        found: dict[str, Any] = json.loads(answer.read_text())
    if "error" in found:
        raise Failure(f"process {pid} could not make a dump: {found['error']}", exit_codes.FAILED)
    return found


def _no_answer(pid: int, timeout: float) -> str:
    return (
        f"process {pid} has not answered within {timeout:g} s: its main thread has run no Python code, or it cannot "
        f"see {tempfile.gettempdir()} of this command. For the next time, {_INSTEAD}"
    )


def _check_that_it_runs(pid: int) -> None:
    """Before it is asked: what a stopped process was asked stays there, and would be done when nobody waits."""
    if sys.platform == "win32":
        return
    try:
        with contextlib.suppress(PermissionError):  # it is there, and somebody else's
            os.kill(pid, 0)
        state = _state_of(pid) if sys.platform == "linux" else ""
    except (ProcessLookupError, FileNotFoundError):
        raise Failure(f"there is no process {pid}", exit_codes.FAILED) from None
    if state == "T":
        raise Failure(f"process {pid} is stopped: kill -CONT {pid} lets it go on", exit_codes.FAILED)


def _state_of(pid: int) -> str:
    """As /proc has it: T if it is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@contextlib.contextmanager
def _folder_for(pid: int) -> Iterator[Path]:
    """A folder that the user of the process may read and write, and nobody else."""
    with tempfile.TemporaryDirectory(prefix="holdfast-dump-") as name:
        with contextlib.suppress(OSError):  # there is no /proc; or we are not root, and so it is our own process
            there = os.stat(f"/proc/{pid}")
            os.chown(name, there.st_uid, there.st_gid)
        yield Path(name)


def _run_there(pid: int, script: Path) -> None:
    run: Any = getattr(sys, "remote_exec")  # noqa: B009  # typeshed has it from 3.14 on
    try:
        run(pid, str(script))
    except ProcessLookupError:
        raise Failure(f"there is no process {pid}", exit_codes.FAILED) from None
    except PermissionError:
        raise Failure(
            f"this user may not look into process {pid}: it takes the same user or root, and where "
            f"/proc/sys/kernel/yama/ptrace_scope is not 0, root. Or {_INSTEAD}",
            exit_codes.FAILED,
        ) from None
    except (RuntimeError, OSError) as exc:
        raise Failure(
            f"process {pid} cannot be asked: {exc}. It has to be a Python of the same version as this one, "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Or {_INSTEAD}",
            exit_codes.FAILED,
        ) from None


def _wake(pid: int) -> None:
    """Have a process that waits for events look up. One that somebody has stopped stays as it is."""
    if sys.platform != "linux":
        return
    _check_that_it_runs(pid)
    try:
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)
    except OSError:
        raise Failure(f"there is no process {pid} any more", exit_codes.FAILED) from None
