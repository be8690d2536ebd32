# ruff: noqa: T201
"""The second screen: four processes contend for a Lock, a Semaphore, a Condition and a Barrier, and one is killed.

What they report is merged into one history, which is shown while it grows, and judged at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import holdfast

from .colour import BOLD, GREEN, RED, paint
from .history import ROLES, Finding, History, judge
from .worker import LOCK, PARTIES, PERMITS, SEMAPHORE, STOP

if TYPE_CHECKING:
    from rich.console import RenderableType

SECONDS_BEFORE = 3.0
"""The time until the victim keeps the lock, in seconds."""
KEPT = 0.2
"""The time that the victim keeps the lock before it is killed, in seconds. Everybody else waits."""
SECONDS_AFTER = 3.0
"""The time for which the others go on once they can have its lock, in seconds."""
TTL = 2.0
"""The ttl of the sessions, in seconds, if the engine cannot tell by itself that a process was killed."""
TIME_LIMIT = 60.0
"""Seconds."""
DOOMED = "keeps the lock, to be killed"
"""The state of the victim."""


def demo(url: str | None = None) -> int:
    """Run the screen on the engine of that URL, and print a live table and a summary; return 1 if a check failed."""
    print(
        paint(
            BOLD, f"{len(ROLES)} processes share a Lock, a Semaphore({PERMITS}), a Condition and a Barrier({PARTIES});"
        )
    )
    print(paint(BOLD, "one of them is killed while it holds the lock"))
    findings = asyncio.run(_bounded(url))
    for finding in findings:
        mark = paint(GREEN, "  ok:") if finding.ok else paint(RED, "  FAILED:")
        print(f"{mark} {finding.name:10} {finding.seen}")
    failed = [finding.name for finding in findings if not finding.ok]
    if failed:
        print(paint(RED, f"{len(failed)} of {len(findings)} checks FAILED: {', '.join(failed)}"))
        return 1
    print(paint(GREEN, f"All {len(findings)} checks passed."))
    return 0


async def _bounded(url: str | None) -> list[Finding]:
    try:
        async with asyncio.timeout(TIME_LIMIT):
            return await _play(url)
    except TimeoutError:
        return [Finding(False, "end", f"not within {TIME_LIMIT:.0f} s")]
    except ExceptionGroup as group:
        failed, _ = group.split(OSError)  # it comes from printing, or from the engine
        if failed is None:
            raise
        raise failed.exceptions[0] from None


async def _play(url: str | None) -> list[Finding]:
    history = History()
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-") as directory:
        ttl = None if url is None else TTL
        url = url or f"sqlite://{directory}/state"
        namespace = f"demo {os.getpid()} {time.time_ns()}"
        buffer = Path(directory) / "buffer"
        buffer.write_bytes(b"\0")
        processes = {}
        for role in ROLES:
            command = [sys.executable, "-m", "holdfast.demo.worker", url, str(buffer), role, str(SECONDS_BEFORE)]
            command += [namespace, str(ttl or "")]
            process = await asyncio.create_subprocess_exec(  # Ctrl-C is for this process, which ends the others
                *command, stdout=asyncio.subprocess.PIPE, process_group=0
            )
            processes[process.pid] = process
            history.roles[process.pid] = role
        victim = process
        try:
            async with (
                holdfast.connect(url, name="demo", namespace=namespace, ttl=ttl) as session,
                asyncio.TaskGroup() as group,
            ):
                kept = asyncio.Event()
                for process in processes.values():
                    group.create_task(_listen(process, history, kept))
                with _live(history) as show:
                    showing = group.create_task(_show(show, history))
                    await kept.wait()
                    await asyncio.sleep(KEPT)
                    # The time is taken before the kill: the next process may have the lock before this one runs again.
                    history.killed = victim.pid, time.monotonic()
                    victim.kill()
                    await asyncio.sleep(SECONDS_AFTER + (ttl or 0))
                    await session.event(STOP).set()
                    codes = [await process.wait() for process in processes.values()]
                    showing.cancel()
                history.bury()
                found = [await session.inspect(name) for name in (LOCK, SEMAPHORE)]
                left = [str(one) for one in found if one.holders or one.waiters]
        finally:
            for process in processes.values():
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    return [
        *judge(history),
        Finding(not left, "left", "\n".join(left) or "nothing: nobody holds, nobody waits"),
        Finding(
            codes[:-1] == [0] * (len(ROLES) - 1), "ended", f"the other processes, with the exit codes {codes[:-1]}"
        ),
    ]


async def _listen(process: asyncio.subprocess.Process, history: History, kept: asyncio.Event) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        event = json.loads(line)
        history.add(process.pid, event)
        if event[0] == "kept":
            kept.set()


@contextmanager
def _live(history: History) -> Iterator[Any]:
    """Yield a table that shows the history if this is a terminal and rich is installed; else None."""
    try:
        from rich.live import Live
    except ImportError:
        Live = None  # type: ignore[assignment, misc]  # noqa: N806
    if Live is None or not sys.stdout.isatty():
        yield None
    else:
        with Live(_table(history), refresh_per_second=10) as live:
            yield live


async def _show(live: Any, history: History) -> None:
    """Show the history again and again, in the table or line by line."""
    while True:
        await asyncio.sleep(0.1 if live is not None else 1)
        if live is not None:
            live.update(_table(history))
        else:
            counts = sum(history.counts.values(), Counter())
            print(
                f"  {counts['lock in']:5} turns of the lock, {counts['semaphore in']:4} of the semaphore, "
                f"{counts['items']:4} items, {counts['met'] // PARTIES:4} rounds",
                flush=True,
            )


def _table(history: History) -> RenderableType:
    from rich.table import Table

    table = Table("process", "role", "lock, turns", "semaphore, turns", "items", "barrier, rounds", "")
    table.columns[-1].min_width = len(DOOMED)  # so the box keeps its width when that text goes
    for pid, role in history.roles.items():
        counts = history.counts.get(pid, Counter())
        state = "" if not counts["kept"] else "killed" if history.killed else DOOMED
        numbers = (str(counts[what]) for what in ("lock in", "semaphore in", "items", "met"))
        table.add_row(str(pid), role, *numbers, state)
    return table
