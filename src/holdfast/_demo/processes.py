# ruff: noqa: T201
"""The second screen: four processes contend for a Lock, a Semaphore, a Condition and a Barrier; one is killed.

What they report is merged into one history, and judged.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import holdfast

from .worker import CAPACITY, LOCK, PARTIES, PERMITS, SEMAPHORE, STOP

if TYPE_CHECKING:
    from rich.console import RenderableType

ROLES = "producer", "producer", "consumer", "victim"
SECONDS_BEFORE = 3.0
"""Until the victim keeps the lock."""
KEPT = 0.2
"""Seconds that it keeps it before it is killed, while everybody waits."""
SECONDS_AFTER = 3.0
LATENCY = 0.2
"""Seconds after its report within which a request has reached the engine."""
TTL = 1.0
"""Seconds, where the engine cannot tell by itself who was killed."""
TIME_LIMIT = 60.0
BOLD, RED, GREEN = "1", "31", "32"


@dataclass
class Holding:
    """One turn in the lock."""

    pid: int
    token: int
    asked: float
    began: float
    ended: float = float("inf")


@dataclass
class History:
    """What the workers have reported, in whatever order the reports came."""

    roles: dict[int, str] = field(default_factory=dict)
    """By pid."""
    holdings: dict[int, Holding] = field(default_factory=dict)
    """By token."""
    permits: list[tuple[float, int, int]] = field(default_factory=list)
    """Time, 1 or -1, pid."""
    items: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    counts: dict[int, Counter[str]] = field(default_factory=dict)
    """By pid."""
    killed: tuple[int, float] | None = None
    """Which pid, and when."""

    def add(self, pid: int, event: Sequence[Any]) -> None:
        """Take a worker's report."""
        *what, at = event
        match what:
            case ["lock in", token, asked]:
                self.holdings[token] = Holding(pid, token, asked, at)
            case ["lock out", token]:
                self.holdings[token].ended = at
            case ["semaphore in"]:
                self.permits.append((at, 1, pid))
            case ["semaphore out"]:
                self.permits.append((at, -1, pid))
            case ["items", items]:
                self.items.append(items)
            case ["met", place]:
                self.places.append(place)
        self.counts.setdefault(pid, Counter())[what[0]] += 1

    def bury(self) -> None:
        """What the killed process held has ended then. To be called when its last report is in."""
        assert self.killed is not None
        pid, at = self.killed
        for holding in self.holdings.values():
            if holding.pid == pid:
                holding.ended = min(holding.ended, at)
        inside = sum(change for _, change, who in self.permits if who == pid)
        self.permits += [(at, -1, pid)] * inside


@dataclass(frozen=True)
class Finding:
    """One line of the summary."""

    ok: bool
    name: str
    seen: str


def judge(history: History) -> Iterator[Finding]:
    """What must hold, held against the history."""
    turns = sorted(history.holdings.values(), key=lambda holding: holding.began)
    overlaps = sum(later.began < earlier.ended for earlier, later in pairwise(turns))
    inside = most = 0
    for _, change, _ in sorted(history.permits):
        inside += change
        most = max(most, inside)
    yield Finding(
        overlaps == 0 and len(turns) > 0 and 0 < most <= PERMITS,
        "overlaps",
        f"{overlaps} in {len(turns):,} turns of the lock, at most {most} in the semaphore of {PERMITS}",
    )
    disordered = sum(later.token < earlier.token for earlier, later in pairwise(turns))
    overtaken = sum(_is_overtaken(holding, turns) for holding in turns)
    yield Finding(
        not (disordered or overtaken), "order", f"{disordered} tokens out of order, {overtaken} turns overtaken"
    )
    wrong = [items for items in history.items if not 0 <= items <= CAPACITY]
    yield Finding(
        bool(history.items) and not wrong,
        "condition",
        f"{len(history.items):,} items, {len(wrong)} times too many or too few in the buffer",
    )
    places = [history.places.count(place) for place in range(PARTIES)]
    unreported = len(ROLES)  # who was killed or stopped between the place and the report
    yield Finding(
        min(places) > 0 and max(places) - min(places) <= unreported and sum(places) == len(history.places),
        "barrier",
        f"{min(places):,} rounds of {PARTIES}, each place once in each",
    )
    if history.killed is not None:
        _, at = history.killed
        next_turn = min((turn.began for turn in turns if turn.began >= at), default=None)
        yield Finding(
            next_turn is not None,
            "recovery",
            f"{(next_turn - at) * 1000:.1f} ms after the holder was killed, the next one had its lock"
            if next_turn is not None
            else "nobody got the lock of the process that was killed",
        )


def _is_overtaken(holding: Holding, turns: Iterable[Holding]) -> bool:
    """Whether somebody asked surely later, and had it earlier."""
    return any(holding.asked + LATENCY < turn.asked and turn.began < holding.began for turn in turns)


def demo(url: str | None = None) -> int:
    """Run it on the engine of that URL; print a live table and the summary; return 1 if anything is wrong."""
    print(
        _paint(
            BOLD, f"{len(ROLES)} processes share a Lock, a Semaphore({PERMITS}), a Condition and a Barrier({PARTIES});"
        )
    )
    print(_paint(BOLD, "one of them is killed while it holds the lock"))
    findings = asyncio.run(_bounded(url))
    for finding in findings:
        mark = _paint(GREEN, "  ok:") if finding.ok else _paint(RED, "  FAILED:")
        print(f"{mark} {finding.name:10} {finding.seen}")
    failed = [finding.name for finding in findings if not finding.ok]
    if failed:
        print(_paint(RED, f"{len(failed)} of {len(findings)} checks FAILED: {', '.join(failed)}"))
        return 1
    print(_paint(GREEN, f"All {len(findings)} checks passed."))
    return 0


async def _bounded(url: str | None) -> list[Finding]:
    try:
        async with asyncio.timeout(TIME_LIMIT):
            return await _play(url)
    except TimeoutError:
        return [Finding(False, "end", f"not within {TIME_LIMIT:.0f} s")]
    except ExceptionGroup as group:
        failed, _ = group.split(OSError)  # of what is printed, or the engine
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
            command = [sys.executable, "-m", "holdfast._demo.worker", url, str(buffer), role, str(SECONDS_BEFORE)]
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
                    # Before: the next one may have its lock sooner than this process looks at the clock again.
                    history.killed = victim.pid, time.monotonic()
                    victim.kill()
                    await asyncio.sleep(SECONDS_AFTER)
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


# What is seen meanwhile


@contextmanager
def _live(history: History) -> Iterator[Any]:
    """What shows the history: a table in a terminal if rich is there, else a line now and then."""
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

    table = Table("process", "role", "lock", "semaphore", "items", "barrier", "")
    for pid, role in history.roles.items():
        counts = history.counts.get(pid, Counter())
        state = "" if not counts["kept"] else "killed" if history.killed else "keeps the lock, to be killed"
        numbers = (str(counts[what]) for what in ("lock in", "semaphore in", "items", "met"))
        table.add_row(str(pid), role, *numbers, state)
    return table


def _paint(colour: str, text: str) -> str:
    """The text in a colour, if there is a terminal to show it."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        return f"\x1b[{colour}m{text}\x1b[0m"
    return text
