"""What a worker process does. It is killed, or ends as it stands: whatever it holds then is nobody's business."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic

from .competitors import COMPETITORS, ON_SERVER, Lock
from .figures import Turn
from .scenarios import Scenario

WARM_UP = 5
"""How often each worker takes the lock before the run."""


def run(index: int, connection: Connection, competitor: str, directory: Path, scenario: Scenario) -> None:
    """Take the lock in turns with all others. Says when it is ready, is told start and end, leaves its records."""
    _settle(index)
    asyncio.run(_run(index, connection, competitor, directory, scenario))


def hold(index: int, connection: Connection, competitor: str, directory: Path) -> None:
    """Take the lock and keep it. Says when it asks, and when it was in."""
    _settle(index)
    asyncio.run(_hold(connection, competitor, directory))


def read(index: int, directory: Path) -> tuple[list[Turn], list[float]]:
    """The records that a worker has left: its turns, and when it asked for swaps."""
    turns, swaps = json.loads(_records(index, directory).read_bytes())
    return [Turn(index, *turn) for turn in turns], swaps


def _settle(index: int) -> None:
    """Pin the process to one CPU, the same for each competitor."""
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[index % len(cpus)]})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who has started it kills it


async def _run(index: int, connection: Connection, competitor: str, directory: Path, scenario: Scenario) -> None:
    async with (COMPETITORS | ON_SERVER)[competitor](directory) as entrance:
        locks = [entrance.lock() for _ in range(scenario.tasks)]
        for _ in range(WARM_UP):
            await locks[0].acquire()
            await locks[0].release()
        connection.send(None)
        start, end = connection.recv()
        turns: list[list[float]] = []
        await asyncio.sleep(start - monotonic())
        tasks = [asyncio.create_task(_take_turns(lock, scenario, turns)) for lock in locks]
        await asyncio.wait(tasks, timeout=end - monotonic(), return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done():
                task.result()
        _records(index, directory).write_text(json.dumps([turns, entrance.swaps]), encoding="utf-8")
        connection.send(None)
        os._exit(0)  # threads that wait in flock() could not be ended otherwise


async def _take_turns(lock: Lock, scenario: Scenario, turns: list[list[float]]) -> None:
    while True:
        turn = [monotonic(), math.inf, math.inf]
        turns.append(turn)
        await lock.acquire()
        turn[1] = monotonic()
        if scenario.hold:
            await asyncio.sleep(scenario.hold)
        turn[2] = monotonic()
        await lock.release()
        if scenario.think:
            await asyncio.sleep(scenario.think)


async def _hold(connection: Connection, competitor: str, directory: Path) -> None:
    async with COMPETITORS[competitor](directory) as entrance:
        lock = entrance.lock()
        connection.send(monotonic())
        await lock.acquire()
        connection.send(monotonic())
        await asyncio.Event().wait()


def _records(index: int, directory: Path) -> Path:
    return directory / f"records-{index}.json"
