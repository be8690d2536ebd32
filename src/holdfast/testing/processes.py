"""Several processes share the runs of one level of the search: the parent's side. For the other side see worker.py.

The parent enumerates the same candidates as its workers, and takes the outcomes in that order, as if it had made the
runs itself. So all that it decides is decided in the search's own order. What must hold:

- Chunks are claimed once each, in ascending order. When a worker finds something, all runs before it are made or being
  made, and the parent waits for them.
- The parent ends its workers in any case, and reaps them. A worker without a parent cannot report, and ends.
- A worker that ends before it has said that it is done is an error.
"""

from __future__ import annotations

import marshal
import os
import pickle
import selectors
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple, NoReturn, Self

from .reduction import Choice
from .schedule import Failure, Fork, MisfitError, Rules, Schedule
from .tree import Candidate, Outcome
from .worker import CHUNK, COUNTER, LENGTH, ChunkReport, Worker, flush

PATIENCE: Final = 0.05
"""The seconds that a search takes before its levels are shared: to make a process costs some 4 ms of CPU time."""


class Done(NamedTuple):
    """The outcome of a run in which nothing went wrong."""

    forks: list[Fork]
    choices: list[Choice]
    failure: Failure | None = None


_WITHOUT_FORKS: Final = Done([], [])


def check_platform(processes: int) -> None:
    """Raise RuntimeError if several processes are asked for where there is no fork()."""
    if processes > 1 and not hasattr(os, "fork"):
        raise RuntimeError(f"processes={processes} needs os.fork(), which {sys.platform} does not have")


class Workers:
    """The processes that share the rest of a level. They are ended when the `with` statement is left."""

    def __init__(
        self,
        count: int,
        candidates: Iterator[Candidate],
        first: int,
        run: Callable[[Candidate], Outcome],
        rules: Rules,
        complained: list[Schedule],
    ) -> None:
        """Start the workers.

        count: how many.
        candidates: the rest of the level.
        first: the number of the first run in it.
        run: makes the run of a candidate.
        rules: those of the search, whose complaints the workers report.
        complained: the list to which the schedules are added of which asyncio complained.
        """
        self.busiest = 0.0
        """The CPU time of the worker that has used the most, in seconds."""
        self._complained = complained
        self._first = first
        self._reports: dict[int, ChunkReport] = {}  # those that were not taken, by the numbers of their first runs
        self._report = ChunkReport(first, [], 0, [], 0.0, 0.0)
        self._covered = 0  # by the whole rest of the level; 0 until some worker has come to its end
        self._received: dict[int, bytearray] = {}  # and not decoded, by the pipe that it came from
        self._pids: dict[int, int] = {}  # by the same pipe
        self._claims = os.pipe()
        self._selector = selectors.DefaultSelector()
        os.write(self._claims[1], COUNTER.pack(first // CHUNK))
        try:
            for _ in range(count):
                self._start(candidates, run, rules)
        except BaseException:
            self.end()
            raise

    def rest(self, go_on: Callable[[float, int], bool]) -> tuple[int, int] | None:
        """Wait for the whole rest of the level, if there is nothing in it: no failures, and no forks.

        go_on: called with how much of the level is done, and how many schedules were covered; False to wait no longer.

        Return how many schedules were covered, and how many of them were run. Return None as soon as there is something
        in it: then take the outcomes one by one.
        """
        runs = covered = 0
        taken: set[int] = set()
        while True:
            for start in self._reports.keys() - taken:
                taken.add(start)
                report = self._reports[start]
                if report.found or report.complained or any(report.outcomes):
                    return None
                runs += len(report.outcomes)
                covered += report.covered
                if not go_on(report.part, covered):
                    return covered, runs
            if not self._selector.get_map():
                return self._covered, runs
            self._receive()

    def outcome(self, number: int) -> Done | None:
        """Wait for the outcome of a run, and return it; None if the run must be repeated.

        The runs must be asked for in order. Raises RuntimeError if a worker has died.
        """
        report = self._report
        if number >= report.start + len(report.outcomes):
            if report.found is not None:
                return None
            start = max(number // CHUNK * CHUNK, self._first)
            while start not in self._reports:
                self._receive()
            report = self._report = self._reports.pop(start)
            self._complained += report.complained
            if not report.outcomes:
                return None
        forks = report.outcomes[number - report.start]
        return _WITHOUT_FORKS if forks is None else Done(*forks)

    def raise_found(self) -> NoReturn:
        """Raise what a worker has found, if it did not show when the run was repeated here."""
        text, pickled = self._report.found or ("", b"")
        if not pickled:
            raise MisfitError(f"another process had another outcome: {text}")
        exc: BaseException = pickle.loads(pickled)
        exc.add_note(f"It was raised in another process of the search:\n\n{text}")
        raise exc

    def end(self) -> None:
        """End the workers, whatever they are doing."""
        for pid in self._pids.values():
            with suppress(
                ChildProcessError
            ):  # another part of the program has reaped it, and the id may be another process's now
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
        self._selector.close()
        for descriptor in (*self._claims, *self._received):
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.end()

    def _start(self, candidates: Iterator[Candidate], run: Callable[[Candidate], Outcome], rules: Rules) -> None:
        ours, theirs = os.pipe()
        flush()  # or each of them would write it again
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a worker must not go up the parent's stack
        try:
            with warnings.catch_warnings():
                # 3.12 and later warn if there are threads: a worker must not take a lock that one of them may hold
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError:
            os.close(ours)
            os.close(theirs)
            raise
        else:
            if not pid:
                self._become_worker(Worker(self._claims, theirs, run, rules), candidates, ours, mask)
            self._pids[ours] = pid
            self._received[ours] = bytearray()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(theirs)
        self._selector.register(ours, selectors.EVENT_READ)

    def _become_worker(
        self, worker: Worker, candidates: Iterator[Candidate], ours: int, mask: Iterable[int]
    ) -> NoReturn:
        status = 1
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for descriptor in (ours, *self._received):  # or it would not be noticed that the parent has gone
                os.close(descriptor)
            worker.work(candidates, self._first)
            status = 0
        finally:
            flush()
            os._exit(status)

    def _receive(self) -> None:
        """Wait until some worker reports something. Raises MisfitError if all have reported what they had."""
        if not self._selector.get_map():
            raise MisfitError("the processes of the search do not find the same schedules")
        for key, _ in self._selector.select():
            received = self._received[key.fd]
            some = os.read(key.fd, 1 << 16)
            if not some:
                self._raise_dead(key.fd)
            received += some
            while len(received) >= LENGTH.size:
                end = LENGTH.size + LENGTH.unpack_from(received)[0]
                if len(received) < end:
                    break
                message = marshal.loads(received[LENGTH.size : end])
                del received[:end]
                if isinstance(message, int):
                    self._covered = message
                    self._selector.unregister(key.fd)
                    break
                report = ChunkReport(*message)
                self._reports[report.start] = report
                self.busiest = max(self.busiest, report.cpu)
                if report.found:
                    self._selector.unregister(key.fd)
                    break

    def _raise_dead(self, descriptor: int) -> NoReturn:
        pid = self._pids.pop(descriptor)
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except ChildProcessError:
            how = "has gone"
        else:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"has exited with status {status}"
        raise RuntimeError(f"process {pid} of the search {how}; to see why, leave processes at 1")
