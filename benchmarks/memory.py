"""Bytes of an idle primitive, and of a waiting task: its own, its future's, and what the primitive adds."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from .competitors import Field, Library, MissingError
from .workloads import Crowd, Settle, Wait, settle_under, wait_under

COUNT = 1_000


@dataclass(frozen=True)
class Memory:
    title: str
    bytes: dict[str, int]
    """By library."""


Make = Callable[[Library], object]
Waiting = tuple[Wait, Settle, Settle]
"""What a task does to wait, what brings all who have begun to where they wait, and what wakes COUNT of them."""


def measure_memory(competitors: Field) -> list[Memory]:
    idle: list[tuple[str, Make]] = [
        ("Lock", lambda library: library.lock().raw),
        ("Semaphore", lambda library: library.semaphore().raw),
        ("Event", lambda library: library.event().raw),
        ("Condition with its lock", lambda library: library.condition().raw),
        ("Barrier", lambda library: library.barrier(10).raw),
    ]
    waiting: list[tuple[str, Callable[[Library], Coroutine[Any, Any, Waiting]]]] = [
        ("Semaphore", _wait_for_semaphore),
        ("Event", _wait_for_event),
        ("Condition", _wait_for_condition),
    ]
    everyone = competitors.libraries(contended=True)
    results = [Memory(f"{title}, idle", _by_library(everyone[1:], partial(_idle, make))) for title, make in idle]
    for title, wait in waiting:
        results.append(Memory(f"{title}, each waiting task", _by_library(everyone, partial(_per_waiter, wait))))
    return results


def _by_library(libraries: list[Library], measure: Callable[[Library], Coroutine[Any, Any, int]]) -> dict[str, int]:
    results = {}
    for library in libraries:
        try:
            results[library.name] = library.loop.run(partial(measure, library))
        except MissingError:
            continue
    return results


async def _idle(make: Make, library: Library) -> int:
    make(library)
    objects: list[object] = [None] * COUNT
    before = _start()
    for i in range(COUNT):
        objects[i] = make(library)
    return _stop(before)


async def _per_waiter(waiting: Callable[[Library], Coroutine[Any, Any, Waiting]], library: Library) -> int:
    wait, settle, wake = await waiting(library)
    crowd = Crowd(library.loop, COUNT)
    work = crowd.member(wait)
    async with library.loop.tasks() as tasks:
        before = _start()
        for _ in range(COUNT):
            tasks.start(work)
        await crowd.waits()
        await settle()
        result = _stop(before)
        await wake()
    return result


async def _wait_for_semaphore(library: Library) -> Waiting:
    semaphore = library.semaphore(0)

    async def wake() -> None:
        for _ in range(COUNT):
            semaphore.release()

    return semaphore.acquire, library.loop.pause, wake


async def _wait_for_event(library: Library) -> Waiting:
    event = library.event()

    async def wake() -> None:
        event.set()

    return event.wait, library.loop.pause, wake


async def _wait_for_condition(library: Library) -> Waiting:
    condition = library.condition()

    async def wake() -> None:
        async with condition.raw:
            condition.notify_all()

    return wait_under(condition), settle_under(condition), wake


def _start() -> int:
    gc.collect()
    tracemalloc.start()
    return tracemalloc.get_traced_memory()[0]


def _stop(before: int) -> int:
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return round(used / COUNT)
