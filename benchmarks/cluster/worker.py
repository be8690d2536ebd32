"""What a worker process does. It is killed, or ends as it stands: whatever it holds then is nobody's business."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import signal
import threading
import time
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic

from .blocking import BLOCKING, BlockingLock
from .competitors import COMPETITORS, ON_SERVER
from .entrance import Lock, Seat
from .figures import Turn
from .scenarios import Scenario

_ALL = COMPETITORS | ON_SERVER
WARM_UP = 5
"""How often each worker takes the lock before the run."""


def run(index: int, connection: Connection, competitor: str, directory: Path, scenario: Scenario) -> None:
    """Take the lock in turns with all others. Says when it is ready, is told start and end, leaves its records."""
    _settle(index)
    asyncio.run(_run(index, connection, competitor, directory, scenario))


def run_blocking(index: int, connection: Connection, competitor: str, directory: Path, scenario: Scenario) -> None:
    """The same with a lock that blocks, in one thread: there is no event loop here."""
    _settle(index)
    turns: list[list[float]] = []
    with BLOCKING[competitor](Seat(directory, index, scenario.processes)) as lock:
        for _ in range(WARM_UP):
            lock.acquire()
            lock.release()
        connection.send(None)
        start, end = connection.recv()
        time.sleep(start - monotonic())
        cpu = time.process_time()
        threading.Thread(target=_block_in_turns, args=(lock, scenario, turns, end), daemon=True).start()
        time.sleep(end - monotonic())
        cpu = time.process_time() - cpu
        _leave_records(index, directory, connection, [turn[:] for turn in turns], [], cpu)


def _block_in_turns(lock: BlockingLock, scenario: Scenario, turns: list[list[float]], end: float) -> None:
    while (asked := monotonic()) < end:
        turn = [asked, math.inf, math.inf]
        turns.append(turn)
        lock.acquire()
        turn[1] = monotonic()
        if scenario.hold:
            time.sleep(scenario.hold)
        turn[2] = monotonic()
        lock.release()
        if scenario.think:
            time.sleep(scenario.think)


def hold(index: int, connection: Connection, competitor: str, directory: Path) -> None:
    """Take the lock and keep it. Says when it asks, and when it was in."""
    _settle(index)
    asyncio.run(_hold(connection, competitor, directory))


def cycle(index: int, connection: Connection, competitor: str, directory: Path, times: int) -> None:
    """Take the lock and release it so many times, alone. Says when it is ready, is told to begin, says when it ends."""
    _settle(index)
    asyncio.run(_cycle(connection, competitor, directory, times))


def stand_in_line(index: int, connection: Connection, competitor: str, directory: Path, tasks: int) -> None:
    """Ask for the lock in so many tasks. Says when they have asked."""
    _settle(index)
    asyncio.run(_stand_in_line(connection, competitor, directory, tasks))


def read(index: int, directory: Path) -> tuple[list[Turn], list[float], float]:
    """The records that a worker has left: its turns, when it asked for swaps, and the seconds of CPU time it took."""
    turns, swaps, cpu = json.loads(_records(index, directory).read_bytes())
    return [Turn(index, *turn) for turn in turns], swaps, cpu


def _settle(index: int) -> None:
    """Pin the process to one CPU, the same for each competitor; what all have imported is not looked through again."""
    gc.freeze()
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpus[index % len(cpus)]})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who has started it kills it


async def _run(index: int, connection: Connection, competitor: str, directory: Path, scenario: Scenario) -> None:
    open_entrance = _ALL[competitor]
    seat = Seat(directory, index, scenario.processes)
    async with AsyncExitStack() as stack:
        entrances = [await stack.enter_async_context(open_entrance(seat)) for _ in range(scenario.sessions)]
        locks = [entrance.lock() for entrance in entrances for _ in range(scenario.tasks)]
        for _ in range(WARM_UP):
            await locks[0].acquire()
            await locks[0].release()
        connection.send(None)
        start, end = connection.recv()
        turns: list[list[float]] = []
        await asyncio.sleep(start - monotonic())
        cpu = time.process_time()
        tasks = [asyncio.create_task(_take_turns(lock, scenario, turns, end)) for lock in locks]
        await asyncio.wait(tasks, timeout=end - monotonic(), return_when=asyncio.FIRST_EXCEPTION)
        cpu = time.process_time() - cpu
        for task in tasks:
            if task.done():
                task.result()
        swaps = [at for entrance in entrances for at in entrance.swaps]
        _leave_records(index, directory, connection, turns, swaps, cpu)


def _leave_records(
    index: int, directory: Path, connection: Connection, turns: list[list[float]], swaps: list[float], cpu: float
) -> None:
    _records(index, directory).write_text(json.dumps([turns, swaps, cpu]), encoding="utf-8")
    connection.send(None)
    os._exit(0)  # threads that wait in flock() could not be ended otherwise


async def _take_turns(lock: Lock, scenario: Scenario, turns: list[list[float]], end: float) -> None:
    """Until the end, even if the lock never lets the event loop run."""
    while (asked := monotonic()) < end:
        turn = [asked, math.inf, math.inf]
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
    async with _ALL[competitor](Seat(directory)) as entrance:
        lock = entrance.lock()
        connection.send(monotonic())
        await lock.acquire()
        connection.send(monotonic())
        await asyncio.Event().wait()


async def _cycle(connection: Connection, competitor: str, directory: Path, times: int) -> None:
    async with _ALL[competitor](Seat(directory)) as entrance:
        lock = entrance.lock()

        async def take(turns: int) -> None:
            for _ in range(turns):
                await lock.acquire()
                await lock.release()

        await take(WARM_UP)
        connection.send(None)
        connection.recv()
        await take(times)
        connection.send(None)
        await asyncio.Event().wait()


async def _stand_in_line(connection: Connection, competitor: str, directory: Path, tasks: int) -> None:
    async with _ALL[competitor](Seat(directory)) as entrance:
        waiting = [asyncio.ensure_future(entrance.lock().acquire()) for _ in range(tasks)]
        await asyncio.sleep(0)  # by then they have asked
        connection.send(None)
        await asyncio.wait(waiting)


def _records(index: int, directory: Path) -> Path:
    return directory / f"records-{index}.json"
