"""Starts the workers, and gathers what they did."""

from __future__ import annotations

import multiprocessing
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from . import worker
from .blocking import BLOCKING
from .entrance import place
from .figures import Run, Turn, merge
from .scenarios import Scenario
from .servers import Counts

PATIENCE = 20.0
"""Seconds after which a worker that says nothing is given up, when it has run as long as it should."""
HEAD_START = 0.05
"""Seconds between the announcement of the start and the start."""
STAND_IN_LINE = 0.2
"""Seconds from when the last worker asks for the lock until all are taken to stand in line."""
ALL_IN_LINE = 1.0
"""Seconds within which many tasks of a process have all that they need to wait."""
PAUSE = 0.05, 0.15
"""Seconds, at least and at most, that a holder lives; at random, so that no poll interval falls in with it."""

HEAVY = "filelock", "grelmicro.sync.redis", "grelmicro.sync.sqlite", "redis.asyncio", "sqlite3"
"""What takes long to import. Not holdfast, of which a worker may have another build."""

_Worker = tuple[ForkServerProcess, Connection]


def measure(
    competitor: str,
    scenario: Scenario,
    places: Mapping[str, object] | None = None,
    meter: Callable[[], float] | None = None,
) -> Run:
    """One run.

    places: where the servers are, and the earlier build; see `Seat.place()`.
    meter: the seconds of CPU time that a server has taken so far. What it takes in the run is added to the workers'.
    """
    with (
        _directory(places) as directory,
        _workers(_program(competitor), scenario.processes, competitor, directory, scenario) as crew,
    ):
        for _, connection in crew:
            _receive([connection])
        start = monotonic() + HEAD_START
        end = start + scenario.seconds
        for _, connection in crew:
            connection.send((start, end))
        cpu = 0.0
        if meter is not None:
            time.sleep(start - monotonic())
            cpu -= meter()
            time.sleep(max(end - monotonic(), 0))
            cpu += meter()
        for _, connection in crew:
            _receive([connection], PATIENCE + scenario.seconds)
        turns: list[Turn] = []
        swaps: list[float] = []
        for index in range(scenario.processes):
            more_turns, more_swaps, more_cpu = worker.read(index, directory)
            turns += more_turns
            swaps += more_swaps
            cpu += more_cpu
    return merge(scenario.processes, start, end, turns, swaps, cpu)


def _program(competitor: str) -> Callable[..., None]:
    return worker.run_blocking if competitor in BLOCKING else worker.run


def runs(competitor: str, scenario: Scenario, places: Mapping[str, object], *, may_fail: bool) -> list[Run]:
    """One, or none if a peer has failed, which may: what goes wrong there is none of ours."""
    try:
        return [measure(competitor, scenario, places)]
    except (RuntimeError, TimeoutError) as exc:
        if not may_fail:
            raise
        print(f"{competitor}: {exc}", file=sys.stderr, flush=True)
        return []


def measure_recovery(competitor: str, kills: int, places: Mapping[str, object] | None = None) -> list[float]:
    """The seconds from each SIGKILL of the holder to the next one's being in."""
    recoveries = []
    with _directory(places) as directory, _workers(worker.hold, kills + 1, competitor, directory) as crew:
        for _, connection in crew:
            _receive([connection])  # it asks
        processes = {connection: process for process, connection in crew}
        holder, _ = _receive([*processes])
        time.sleep(STAND_IN_LINE)
        for _ in range(kills):
            time.sleep(random.uniform(*PAUSE))
            process = processes.pop(holder)
            killed = monotonic()
            process.kill()
            holder, began = _receive([*processes])
            recoveries.append(began - killed)
    return recoveries


def measure_requests(competitor: str, times: int, places: Mapping[str, object], counts: Counts) -> float:
    """The requests of each acquire and release where nobody contends. counts: of the proxy that is among the places."""
    with _directory(places) as directory, _workers(worker.cycle, 1, competitor, directory, times) as [(_, alone)]:
        _receive([alone])
        before, _ = counts.read()
        alone.send(None)
        _receive([alone])
        after, _ = counts.read()
    return (after - before) / times


def measure_connections(competitor: str, tasks: int, places: Mapping[str, object], counts: Counts) -> int:
    """The connections of a process in which so many tasks wait. counts: of the proxy that is among the places."""
    with _directory(places) as directory, _workers(worker.hold, 1, competitor, directory) as [(_, holder)]:
        _receive([holder])  # it asks
        _receive([holder])  # it is in
        before = counts.connections
        with _workers(worker.stand_in_line, 1, competitor, directory, tasks) as [(_, waiting)]:
            _receive([waiting])
            time.sleep(ALL_IN_LINE)
            return counts.connections - before


@contextmanager
def _directory(places: Mapping[str, object] | None) -> Iterator[Path]:
    """Where the lock is, and the records."""
    with TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as directory:
        for thing, where in (places or {}).items():
            place(Path(directory), thing).write_text(str(where), encoding="utf-8")
        yield Path(directory)


@contextmanager
def _workers(target: Callable[..., None], count: int, *arguments: Any) -> Iterator[list[_Worker]]:
    """Start workers; kill in the end those that still live."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([worker.__name__, *HEAVY])
    crew: list[_Worker] = []
    try:
        for index in range(count):
            here, there = context.Pipe()
            process = context.Process(target=target, args=(index, there, *arguments), daemon=True)
            process.start()
            there.close()
            crew.append((process, here))
        yield crew
    finally:
        for process, _ in crew:
            process.kill()
        for process, connection in crew:
            process.join()
            connection.close()
    failed = {process.exitcode for process, _ in crew} - {0, -signal.SIGKILL}
    if failed:
        raise RuntimeError(f"workers have ended with {failed}")


def _receive(connections: list[Connection], patience: float = PATIENCE) -> tuple[Connection, Any]:
    """What one of the workers says next, and which."""
    for ready in wait(connections, patience):
        assert isinstance(ready, Connection)
        try:
            return ready, ready.recv()
        except EOFError:
            raise RuntimeError("a worker has ended; see above why") from None
    raise TimeoutError(f"no worker has said anything for {patience:g} s")
