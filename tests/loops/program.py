"""What a program does with holdfast, in whatever event loop: `python program.py LOOP PART [URL]`. Prints what held."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

import holdfast
import holdfast.threads
from holdfast.cluster import LeaseLost, SessionLost
from holdfast.cluster.session_life import renewal

Main = Callable[[], Coroutine[Any, Any, None]]
AT_MOST = 80.0
"""Seconds that a part may take."""
NOT_INSTALLED = 77
"""The exit code if the loop cannot be imported."""


# The loops


def run_in(loop: asyncio.AbstractEventLoop, main: Main) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def run_asyncio(main: Main) -> None:
    asyncio.run(main())


def run_uvloop(main: Main) -> None:
    import uvloop

    uvloop.run(main())


def run_rloop(main: Main) -> None:
    import rloop

    run_in(rloop.new_event_loop(), main)


def run_qasync(main: Main) -> None:
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from PySide6.QtCore import QCoreApplication
    from qasync import QEventLoop

    application = QCoreApplication([])
    run_in(QEventLoop(application), main)


def run_gbulb(main: Main) -> None:
    import gbulb
    import gi  # noqa: F401  # without which gbulb can be imported, and not used

    run_in(gbulb.GLibEventLoop(), main)


def run_nest_asyncio(main: Main) -> None:
    """As in a notebook: a loop runs already, and each part is run by a call of asyncio.run() within it."""
    import nest_asyncio

    nest_asyncio.apply()

    async def notebook() -> None:
        asyncio.run(main())

    asyncio.run(notebook())


def run_trio_asyncio(main: Main) -> None:
    import trio_asyncio

    trio_asyncio.run(trio_asyncio.aio_as_trio(main))


# What is done in them


async def tasks() -> None:
    """One event loop: order, hand-off, cancellation."""
    lock, condition, barrier, order = holdfast.Lock(), holdfast.Condition(), holdfast.Barrier(3), []

    async def use(number: int) -> None:
        async with lock:
            order.append(number)
            await asyncio.sleep(0.001)

    users = [asyncio.create_task(use(number)) for number in range(5)]
    await asyncio.sleep(0)
    users[2].cancel()
    await asyncio.wait(users)
    assert order == [0, 1, 3, 4], order

    async def wait() -> None:
        async with condition:
            await condition.wait()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    async with condition:
        condition.notify()
    await waiting
    places = await asyncio.gather(*(barrier.wait() for _ in range(3)))
    assert sorted(places) == [0, 1, 2], places
    with contextlib.suppress(TimeoutError):
        async with lock, asyncio.timeout(0.01):
            await lock.acquire()
    assert not lock.locked()


async def threads() -> None:
    """A thread and the tasks of a loop: each wakes the other."""
    lock, event, turns = holdfast.threads.Lock(), holdfast.threads.Event(), []

    def in_a_thread() -> None:
        for _ in range(20):
            with lock.sync:
                turns.append("thread")
                time.sleep(0.0005)
        event.set()

    async with lock:
        thread = threading.Thread(target=in_a_thread)
        thread.start()
        await asyncio.sleep(0.01)
    for _ in range(20):
        async with lock:
            turns.append("task")
            await asyncio.sleep(0.0005)
    await event.wait()
    thread.join()
    assert turns.count("thread") == turns.count("task") == 20


async def cluster(url: str) -> None:
    """Sessions: wake-ups, cancellation, closing. Who is not woken waits for ever, as nobody looks."""
    renewal.LOOK_AGAIN = 10 * AT_MOST
    async with holdfast.connect(url) as first, holdfast.connect(url) as second:
        async with first.lock("x") as grant:
            waiting = asyncio.create_task(second.lock("x").acquire())
            given_up = asyncio.create_task(second.lock("x").acquire())
            await asyncio.sleep(0.05)
            given_up.cancel()
        assert (await waiting).token > grant.token
        third = asyncio.create_task(first.lock("x").acquire())
        await asyncio.sleep(0.05)
        await second.close()
        await third
        event = first.event("ready")
        ready = asyncio.create_task(event.wait())
        await asyncio.sleep(0.01)
        await event.set()
        await ready
        await event.clear()


async def lease(url: str) -> None:
    """A lease that cannot be renewed: each body is told when it has run out, whatever the loop's timers do."""
    sessions = []

    async def hold(number: int, held: asyncio.Semaphore) -> None:
        with contextlib.suppress(SessionLost, LeaseLost):
            async with holdfast.connect(url, ttl=3) as session, session.lock(f"lease {number}"):
                held.release()
                sessions.append(session)
                await asyncio.sleep(60)
                raise AssertionError("it was not told")

    held = asyncio.Semaphore(0)
    holders = [asyncio.create_task(hold(number, held)) for number in range(8)]
    for _ in holders:
        await held.acquire()
    path = urlsplit(url).path + "/state.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=AT_MOST)) as database:
        database.execute("BEGIN IMMEDIATE")  # so nobody can be renewed
        await asyncio.sleep(5)
        for _ in range(3):  # if the machine has stood still, not all timers may have come that were due
            await asyncio.sleep(0.1)
        over = [session.over is not None for session in sessions]
        database.execute("ROLLBACK")
    await asyncio.gather(*holders)
    assert over == [True] * len(holders), over


def main() -> None:
    name, part, *urls = sys.argv[1:]
    do = globals()[part]

    async def bounded() -> None:
        await asyncio.wait_for(do(*urls), AT_MOST)

    try:
        globals()[f"run_{name}"](bounded)
    except ImportError as exc:
        print(f"{name} is not installed: {exc}", end="")
        sys.exit(NOT_INSTALLED)
    print("held")


if __name__ == "__main__":
    main()
