"""Many threads in several sessions, tasks and processes take one lock with times that mostly end at a bad moment."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from interpreters import BOUND

from .blocking import in_thread, until, waiting
from .engines import Place
from .engines import place as place

THREADS, ROUNDS = 3, 15
TIMES = 0, 0.0005, 0.001, 0.002, 0.005
"""Seconds. A hand-over takes about as long, so some end as the lock is granted."""


class Inside:
    """One at a time may be in here, among all processes: a file says who is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.path.mkdir()  # which fails if somebody is in

    def __exit__(self, *exc: object) -> None:
        self.path.rmdir()


def test_nobody_is_in_with_another_and_nothing_is_left(place: Place, tmp_path: Path) -> None:
    inside = Inside(tmp_path / "inside")
    had: list[int] = []

    def threads_work(session: Any, seed: int) -> None:
        times = random.Random(seed)
        lock = session.lock("x")
        for _ in range(ROUNDS):
            if lock.acquire(timeout=times.choice(TIMES)):
                with inside:
                    had.append(seed)
                lock.release()

    async def tasks_work(seed: int) -> None:
        times = random.Random(seed)
        async with place.connect() as session:
            for _ in range(ROUNDS):
                try:
                    async with asyncio.timeout(times.choice(TIMES)) as limit, session.lock("x"):
                        limit.reschedule(None)
                        with inside:
                            had.append(seed)
                except TimeoutError:
                    continue

    program = f"""
        import holdfast, random, sys
        from tests.cluster.test_synchronous_stress import Inside, ROUNDS, TIMES
        from pathlib import Path

        inside, times = Inside(Path({str(inside.path)!r})), random.Random(0)
        with holdfast.connect({place.url!r}, **{place.options()!r}).sync as session:
            lock = session.lock("x")
            for _ in range(ROUNDS):
                if lock.acquire(timeout=times.choice(TIMES)):
                    with inside:
                        pass
                    lock.release()
    """
    processes = []
    if place.engine != "memory":
        command = [sys.executable, "-c", textwrap.dedent(program)]
        environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
        processes = [subprocess.Popen(command, env=environment) for _ in range(2)]
    with place.connect().sync as one, place.connect().sync as two:
        ends = [
            in_thread(lambda session=session, seed=seed: threads_work(session, seed))
            for seed in range(THREADS)
            for session in (one, two)
        ]
        ends.append(in_thread(lambda: asyncio.run(tasks_work(100))))
        for end in ends:
            end.result(BOUND)
        assert [process.wait(BOUND) for process in processes] == [0] * len(processes)
        with one.lock("x").within(BOUND), inside:
            had.append(-1)
        until(lambda: waiting(two) == 0)
        until(lambda: not one.inspect("x").holders)
    assert had
