# ruff: noqa: T201
"""One process of the second screen. It contends for all primitives at once, and reports what it does in lines of JSON.

    python -m holdfast.demo.worker URL FILE ROLE SECONDS NAMESPACE TTL

FILE is the buffer that the Condition guards. ROLE is producer, consumer, or victim: a consumer that keeps the lock
after so many SECONDS, until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import holdfast
from holdfast.cluster import Condition, Lock, Semaphore, Session

LOCK, SEMAPHORE, CONDITION, BARRIER, STOP = "demo lock", "demo semaphore", "demo buffer", "demo barrier", "demo stop"
PERMITS = 2
PARTIES = 3
CAPACITY = 5
HOLD = 0.01
"""The time that a task stays in the lock or in the semaphore, in seconds."""
CONTENDERS = 2
"""How many tasks of each process contend for the lock."""


def report(*event: object) -> None:
    """Report an event to the parent. The last field is the time, by a clock that all processes of the machine share."""
    print(json.dumps([*event, time.monotonic()]), flush=True)


async def use_lock(lock: Lock, keep_at: float) -> None:
    """Take the lock again and again. The token is in the report of each turn and in that of its end."""
    while True:
        asked = time.monotonic()
        async with lock as grant:
            report("lock in", grant.token, asked)
            if time.monotonic() > keep_at:
                report("kept", grant.token)
                await asyncio.sleep(3600)
            try:
                await asyncio.sleep(HOLD)
            finally:  # the task is cancelled here in the end
                report("lock out", grant.token)


async def use_semaphore(semaphore: Semaphore) -> None:
    """Take a permit again and again."""
    while True:
        async with semaphore:
            report("semaphore in")
            try:
                await asyncio.sleep(HOLD)
            finally:
                report("semaphore out")
        await asyncio.sleep(HOLD)


async def pass_items(condition: Condition, buffer: int, adds: bool) -> None:
    """Add items to a bounded buffer, or take them. The processes share its file and the Condition that guards it."""
    while True:
        async with condition:
            while (items := int.from_bytes(os.pread(buffer, 1, 0))) == (CAPACITY if adds else 0):
                await condition.wait()
            items += 1 if adds else -1
            os.pwrite(buffer, items.to_bytes(), 0)
            report("items", items)
            await condition.notify_all()
        await asyncio.sleep(HOLD)


async def meet(session: Session) -> None:
    """Wait at the barrier again and again."""
    barrier = session.barrier(BARRIER, PARTIES)
    while True:
        report("met", await barrier.wait())
        await asyncio.sleep(HOLD)


async def work(url: str, path: str, role: str, seconds: float, namespace: str, ttl: float | None) -> None:
    """Contend until the parent sets the event that says stop."""
    keep_at = time.monotonic() + seconds if role == "victim" else float("inf")
    buffer = os.open(path, os.O_RDWR)
    async with holdfast.connect(url, name=f"{role} {os.getpid()}", namespace=namespace, ttl=ttl) as session:
        report("ready")
        tasks = [
            *(asyncio.create_task(use_lock(session.lock(LOCK), keep_at)) for _ in range(CONTENDERS)),
            asyncio.create_task(use_semaphore(session.semaphore(SEMAPHORE, PERMITS))),
            asyncio.create_task(pass_items(session.condition(CONDITION), buffer, role == "producer")),
            asyncio.create_task(meet(session)),
            asyncio.create_task(session.event(STOP).wait()),
        ]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*done)  # raises, unless it was the task that waits for the end
    os.close(buffer)


if __name__ == "__main__":
    url, path, role, seconds, namespace, ttl = sys.argv[1:]
    try:
        asyncio.run(work(url, path, role, float(seconds), namespace, float(ttl) if ttl else None))
    except BrokenPipeError:  # the parent has gone: there is nobody to report to
        os._exit(1)
