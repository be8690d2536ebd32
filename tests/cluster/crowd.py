"""Processes that take turns at one lock while a test does harm; in the end all that they did is merged and judged."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any, Self

from interpreters import BOUND

import holdfast
from holdfast.cluster import SQLiteFence
from holdfast.cluster.records.any_kind import decode_any

from .history import Turn, overtaken, stale, violations
from .worker import Worker

NAME = "x"
"""Of the lock."""
PROCESSES = 3
TASKS = 2
"""Of each process."""
HOLD = 0.01
"""Seconds."""

PRELUDE = """
    import sqlite3, time
    from holdfast.cluster import EngineError, LeaseLost, SessionLost, SQLiteFence, StaleToken

    resource = sqlite3.connect({resource!r}, isolation_level=None, timeout=20)
    fence = SQLiteFence(resource, {name!r})

    def write(token):
        resource.execute("BEGIN IMMEDIATE")
        try:
            if {fenced}:
                fence.check(token)
            resource.execute("INSERT INTO writes (token) VALUES (?)", (token,))
        except StaleToken:
            resource.execute("ROLLBACK")
            raise
        resource.execute("COMMIT")

    async def turn(hold):
        asked = time.monotonic()
        async with session.lock({name!r}) as grant:
            report("in", grant.token, asked, time.monotonic(), arrived())
            await hold()
            write(grant.token)
            report("out", grant.token, time.monotonic())

    async def turns():
        while not told_to_end:
            try:
                await turn(lambda: asyncio.sleep({hold}))
            except EngineError:  # as while a disk is full
                await asyncio.sleep(0.01)

    globals().update(told_to_end=False, turn=turn, write=write)
"""
TAKE_TURNS = f"""
    try:
        await asyncio.gather(*[turns() for _ in range({TASKS})])
    except (LeaseLost, SessionLost) as exc:
        report("lost", str(exc))
"""


class Crowd:
    """Use it with `async with`, which begins the turns; `end()` them, and ask what is `wrong`."""

    def __init__(
        self, url: str, directory: Path, *, fenced: bool = True, victims_ttl: float | None = None, **options: Any
    ) -> None:
        """directory: for the resource that each holder writes to. options: of connect(); victims_ttl: for another()."""
        self.url = url
        self.options = options
        self.victims = options if victims_ttl is None else {**options, "ttl": victims_ttl}
        self.path = directory / "resource.db"
        self.fenced = fenced
        self.workers: list[Worker] = []
        self.idle_since: dict[int, float] = {}
        """For the processes that were killed or stopped, by their ids: since when they have done nothing."""
        self.lost_at = 0.0
        """When the server has lost what it had granted, if it has. Until a holder is told, another one may be in."""
        self._stack = contextlib.AsyncExitStack()
        self._turns: dict[Worker, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        with contextlib.closing(sqlite3.connect(self.path)) as resource:
            resource.execute("CREATE TABLE writes (number INTEGER PRIMARY KEY, token INTEGER)")
            SQLiteFence(resource, NAME)
        await self.join()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def join(self, processes: int = PROCESSES) -> None:
        """More processes begin to take turns."""
        for _ in range(processes):
            worker = await self._process(Worker(self.url, **self.options))
            self._turns[worker] = worker.begin(self.prelude + dedent(TAKE_TURNS))
        await self.more_turns()

    @property
    def prelude(self) -> str:
        """What defines `turn(hold)` and `write(token)` in a worker."""
        return dedent(PRELUDE.format(resource=str(self.path), name=NAME, hold=HOLD, fenced=self.fenced))

    async def another(self, url: str | None = None, under: Sequence[str] = ()) -> Worker:
        """A process that takes no turns by itself; by way of another address, or run by a command, if that is given."""
        return await self._process(Worker(url or self.url, under, **self.victims))

    async def _process(self, worker: Worker) -> Worker:
        self.workers.append(await self._stack.enter_async_context(worker))
        return worker

    def session(self) -> Any:
        return holdfast.connect(self.url, **self.options)

    async def more_turns(self, turns: int = 3, within: float = BOUND) -> None:
        """Wait until each that takes turns and has not lost its session has had some more."""
        before = {worker: len(entered(worker)) for worker, done in self._turns.items() if not done.done()}
        async with asyncio.timeout(within):
            while any(len(entered(worker)) < before[worker] + turns for worker in before if not self.is_over(worker)):
                await asyncio.sleep(0.01)

    def is_over(self, worker: Worker) -> bool:
        return self._turns[worker].done() or worker.pid in self.idle_since

    async def kill(self, worker: Worker) -> None:
        self.idle_since[worker.pid] = time.monotonic()  # before: it may hold until then at least
        await worker.kill()

    def lost(self) -> dict[int, str]:
        """What those say whose sessions are over, by process."""
        return {worker.pid: event[1] for worker in self.workers for event in worker.reported if event[0] == "lost"}

    async def end(self) -> None:
        """All drain, and close their sessions."""
        async with asyncio.timeout(BOUND):
            for worker in self._turns:
                if not self.is_over(worker):
                    await worker.do("globals().update(told_to_end=True)")
            for worker, done in self._turns.items():
                if worker.pid not in self.idle_since:
                    await done
            for worker in self.workers:
                if worker.pid not in self.idle_since:
                    await worker.end()

    def history(self) -> list[Turn]:
        """Of all processes. Nothing says until when a process held what it has lost: only the writes can tell."""
        turns, lost = [], self.lost()
        for worker in self.workers:
            ended = {event[1]: event[2] for event in worker.reported if event[0] == "out"}
            idle = self.idle_since.get(worker.pid, float("inf"))
            for token, asked, began, arrived in entered(worker):
                left = min(ended.get(token, began if worker.pid in lost else idle), idle)
                if began < self.lost_at:
                    left = min(left, self.lost_at)
                turns.append(Turn(str(worker.pid), began, left, asked, token, arrived))
        return turns

    def written(self) -> list[int]:
        """The tokens of the writes that the resource has accepted, in their order."""
        with contextlib.closing(sqlite3.connect(self.path)) as resource:
            return [token for (token,) in resource.execute("SELECT token FROM writes ORDER BY number")]

    async def wrong(self) -> list[str]:
        """What is wrong with the merged history, with the writes, and with the record that is left."""
        history = self.history()
        found = violations(history) + overtaken(history)
        found += [f"a write with the old token {token} was accepted" for token in stale(self.written())]
        async with self.session() as session:
            left = await session.inspect(NAME)
            if left.holders or left.waiters:
                found.append(f"left behind: {left}")
            async with session.lock(NAME) as grant:  # which buries the dead
                if history and grant.token <= max(turn.token or 0 for turn in history):
                    found.append(f"the token {grant.token} is not new")
            record = decode_any(await session.engine.read(NAME) or "", NAME)
            if not record.is_initial() or record.sessions() - {session.id}:
                found.append(f"not as it was in the beginning: {record}")
        return found


def entered(worker: Worker) -> list[tuple[int, float, float, float]]:
    """The token of each turn, when it was asked for, when it began, and by when the request had arrived."""
    return [tuple(event[1:]) for event in worker.reported if event[0] == "in"]
