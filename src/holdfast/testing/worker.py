"""What a worker of the search does: it claims chunks of runs, makes them, and reports them as numbers.

A worker is a fork of the process that searches. It enumerates the whole rest of the level, which is cheap, and runs the
candidates in the chunks that it claims. An outcome that is more than numbers (a failure, an exception, a complaint of
asyncio's) is only announced: the parent repeats that run, and so has the objects themselves.
"""

from __future__ import annotations

import gc
import marshal
import os
import pickle
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

from .describe import said
from .reduction import Choice
from .schedule import Fork, MisfitError, Rules, Schedule
from .tree import Candidate, Outcome

CHUNK: Final = 32
"""A worker claims so many runs at once. The batches after which the search runs the collector are whole chunks."""
COUNTER: Final = struct.Struct("=q")
"""The next chunk that no worker has claimed. It lies in a pipe: to claim it is to take it, and put back one more."""
LENGTH: Final = struct.Struct("=I")
"""The length of the report that follows, in bytes."""

Forks = tuple[list[Fork], list[Choice]]


class ChunkReport(NamedTuple):
    """The outcomes of the runs of one chunk, or of the first of them."""

    start: int
    """The number of the first run."""
    outcomes: list[Forks | None]
    """The forks and choices of each run; None if it has none, as all runs of the last level."""
    covered: int
    """How many schedules these runs cover."""
    complained: list[Schedule]
    """The runs of which asyncio complained when the collector had run."""
    part: float
    """How much of the level is done then, from 0 to 1."""
    cpu: float
    """The CPU time that the worker has used, in seconds."""
    found: tuple[str, bytes] | None = None
    """The outcome of the run after these, if it must be repeated: a text, and an exception that can be pickled."""


class Worker:
    """One worker. All of it happens in the forked process."""

    def __init__(
        self, claims: tuple[int, int], reports: int, run: Callable[[Candidate], Outcome], rules: Rules
    ) -> None:
        self._claims = claims
        self._reports = reports
        self._run = run
        self._rules = rules
        # of the chunk that was claimed
        self._start = 0
        self._outcomes: list[Forks | None] = []
        self._covered = 0
        self._found: tuple[str, bytes] | None = None

    def work(self, candidates: Iterator[Candidate], first: int) -> None:
        """Run what can be claimed of these candidates. first: the number of the first one that is to be run."""
        if hasattr(gc, "freeze"):  # the garbage that the parent has made is the parent's
            gc.freeze()
        try:
            covered = self._share(candidates, first)
        except BaseException as exc:
            self._found = _told(exc)
            self._report(1.0)
        else:
            if self._found is None:
                self._send(covered)

    def _share(self, candidates: Iterator[Candidate], first: int) -> int:
        """Run what can be claimed, until something is found; return how many schedules the candidates cover."""
        number, claimed, skipped, covered = first, -1, 0, 0
        for candidate in candidates:
            skipped += candidate.skipped
            if candidate.origin is None:
                continue
            chunk = number // CHUNK
            if chunk > claimed:
                self._report(candidate.part)
                claimed = self._claim()
                self._start = max(claimed * CHUNK, first)
            covered += skipped + 1
            if chunk == claimed:
                self._covered += skipped + 1
                self._run_one(candidate)
                if self._found is not None:
                    break
            number += 1
            skipped = 0
        self._report(1.0)
        return covered + skipped

    def _claim(self) -> int:
        (claimed,) = COUNTER.unpack(os.read(self._claims[0], COUNTER.size))
        os.write(self._claims[1], COUNTER.pack(claimed + 1))
        return int(claimed)

    def _run_one(self, candidate: Candidate) -> None:
        """Make a run, and keep its outcome, or what was found."""
        try:
            outcome = self._run(candidate)
        except BaseException as exc:
            self._found = _told(exc)
            return
        if outcome.failure is not None:
            self._found = str(outcome.failure), b""
        elif self._rules.belated:
            self._found = f"asyncio complained: {said(self._rules.belated[0][1].get('message'))}", b""
            self._rules.belated.clear()
        else:
            self._outcomes.append((outcome.forks, outcome.choices) if outcome.forks else None)

    def _report(self, part: float) -> None:
        """Report the runs of the chunk that was claimed, if there are any."""
        if not self._outcomes and self._found is None:
            return
        gc.collect(0)
        complained = [schedule for schedule, _ in self._rules.belated]
        self._rules.belated.clear()
        cpu = time.process_time()
        self._send(tuple(ChunkReport(self._start, self._outcomes, self._covered, complained, part, cpu, self._found)))
        self._outcomes = []
        self._covered = 0

    def _send(self, message: Any) -> None:
        data = marshal.dumps(message)
        rest = memoryview(LENGTH.pack(len(data)) + data)
        while rest:
            rest = rest[os.write(self._reports, rest) :]


def _told(exc: BaseException) -> tuple[str, bytes]:
    """An exception for another process: its traceback, and itself, or a RuntimeError if it cannot be pickled."""
    if isinstance(exc, MisfitError):
        return str(exc), b""
    text = "".join(traceback.format_exception(exc))
    try:
        data = pickle.dumps(exc)
        pickle.loads(data)
    except Exception:
        data = pickle.dumps(RuntimeError("".join(traceback.format_exception_only(exc)).strip()))
    return text, data


def flush() -> None:
    """Write what was printed."""
    for stream in sys.stdout, sys.stderr:
        with suppress(Exception):
            stream.flush()
