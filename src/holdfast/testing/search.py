"""Every schedule within bounds, those with the fewest interventions first."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import re
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from .branches import NO_BRANCHES, Branches, Origin
from .describe import said, shown
from .execution import Execution, Scenario
from .limit import Limit
from .progress import Progress
from .report import Counterexample, Report
from .run import Run
from .schedule import BASE, CANCEL, Failure, MisfitError, Rules, Schedule
from .story import Told

_BATCH: Final = 256
"""After so many schedules, the collector runs."""
_ROOM: Final = 200_000
"""So many schedules and forks of schedules are remembered, which takes some 40 MB."""
_OTHERS: Final = 1000
"""How many schedules to try for a shorter story."""
_NO_LIMIT: Final = 1 << 30


def explore(
    scenario: Callable[[Run], object] | Callable[[], object],
    *,
    against: Callable[[Run], object] | Callable[[], object] | None = None,
    cancels: int = 1,
    late: int | None = None,
    timers: int = 1,
    deliveries: int = 1,
    reorders: int = 0,
    kills: int = 0,
    ends: int = 0,
    switches: int = 0,
    cancel_main: bool = False,
    cancel_created: bool = True,
    swallow_ok: bool = False,
    time_limit: float = 60.0,
    max_steps: int = 10_000,
    replay: Sequence[int] | None = None,
    reduce: bool = True,
) -> Report:
    """Try a scenario under every schedule within bounds; return what came out.

    A run goes on as asyncio does, first come, first served, without I/O, and with a clock that stands still
    while something is ready and then jumps to the next timer. Interventions come in between, at any step; the
    schedules with the fewest come first. The search stops at the first schedule that fails: by an exception in
    a task that was spawned (or is the main one), a check of the scenario, a deadlock, a run that does not end, a
    cancellation that was swallowed, an exception that nobody retrieved or handled.

    scenario: a function that starts tasks, or a coroutine function, which is the main task; either may take a
        `Run`. It is called anew for each schedule, and must make all objects it uses anew.
    against: another scenario. Under each schedule, it must do what this one does: log the same, and fail or not.
    cancels: how often a task is cancelled, at any moment from its creation to its end.
    late: how many tasks of `Run.late()` come before nothing else can run; None for all.
    timers: how often a timer is due while something is ready, as if that took long.
    deliveries: how often a `call_soon_threadsafe()` arrives while something is ready.
    reorders: how often a ready handle overtakes those before it, which asyncio does not do.
    kills: how often the coroutine of a task is closed, and the task never run again, as the collector does.
    ends: 1 to end the loop at any moment, with tasks ready and waiting; see `Run.afterwards()`. Of several loops, one
        besides the first ends, and the others go on; or all end.
    switches: how often another loop goes first; see `Run.another_loop()`.
    cancel_main: cancel the main task too.
    cancel_created: False to cancel and close only tasks of `Run.spawn()` and `Run.late()`, not what other tasks create:
        the background tasks of a library, say, that nobody else gets hold of.
    swallow_ok: let a task that was cancelled finish as if it had not been.
    time_limit: stop after so many seconds of CPU time of this process, not of the clock on the wall, so that a machine
        that is busy with other things makes no difference; the report then says that the search is not exhausted.
    max_steps: a run that takes so many steps fails.
    replay: run only this schedule, from `Counterexample.replay`.
    reduce: False to run also the schedules that can be seen to do the same as one that was run, because what they do in
        another order does not touch. What is found is the same. With `against`, all are run.

    Raises RuntimeError if an event loop is running, ValueError if `replay` does not fit the scenario or a number is
    below 0, TypeError for what is no number.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("explore() brings its own event loop, and cannot be called while one is running")
    bounds: dict[str, int | None] = {
        "late": late,
        "cancels": cancels,
        "timers": timers,
        "deliveries": deliveries,
        "reorders": reorders,
        "kills": kills,
        "ends": ends,
        "switches": switches,
    }
    _check_numbers(bounds, time_limit, max_steps)
    bounds["ends"] = min(ends, 1)
    budgets = tuple(_NO_LIMIT if bound is None else bound for bound in bounds.values())
    rules = Rules(
        budgets if replay is None else (_NO_LIMIT,) * len(budgets), cancel_main, swallow_ok, max_steps, cancel_created
    )
    reduce = reduce and against is None
    search = _Search(_with_argument(scenario), against and _with_argument(against), rules, time_limit, reduce)
    with _quiet_interpreter():
        found = search.search() if replay is None else search.replay(_schedule(replay))
    return Report(
        scenario=getattr(scenario, "__qualname__", repr(scenario)).replace("<locals>.", ""),
        bounds=bounds if replay is None else {},
        schedules=search.schedules,
        runs=search.runs,
        seconds=time.perf_counter() - search.started,
        exhausted=search.exhausted,
        interventions=search.interventions,
        counterexample=found,
        replayed=replay is not None,
    )


Candidate = tuple[Schedule, Origin | None, float]
"""A schedule, where it comes from, and how much is done. None: it need not be run."""


class _Search:
    def __init__(
        self, scenario: Scenario, against: Scenario | None, rules: Rules, time_limit: float, reduce: bool
    ) -> None:
        self.schedules = 0
        self.runs = 0
        self.interventions = 0
        self.exhausted = False
        self.started = time.perf_counter()
        self._scenario = scenario
        self._against = against
        self._rules = rules
        self._limit = Limit(time_limit)
        self._reduce = reduce
        self._known: dict[Schedule, Branches] = {}
        self._room = _ROOM

    def search(self) -> Counterexample | None:
        """Run all schedules, those with fewer interventions first; return the first that fails."""
        try:
            first = self._run(())
            self._compare_runs(first, self._run(()))
            self.schedules = self.runs = 1
            if first.failure is not None:
                if not isinstance(first.failure.cause, Exception | None):
                    raise first.failure.cause  # pytest.skip() and the like, which no schedule has to do with
                return self._counterexample((), first.failure)
            self._remember((), None, first)
            more = bool(first.forks)
            with Progress() as progress:
                while more:
                    more = False
                    candidates = self._extend(self._known[()], self.interventions, 0.0, 1.0)
                    for schedule, origin, part in candidates:
                        self.schedules += 1
                        if origin is None:
                            continue
                        room = self._room > 0
                        execution = self._run(schedule, origin, all_forks=room)
                        self.runs += 1
                        if execution.failure is not None:
                            return self._counterexample(*self._find_shorter(schedule, execution.failure, candidates))
                        if execution.forks:
                            more = True
                        if room:
                            self._remember(schedule, origin, execution)
                        if self._rules.belated or self.runs % _BATCH == 0:
                            gc.collect(0)
                            if self._rules.belated:
                                return self._belated()
                        now = time.perf_counter()
                        if self._limit.is_over(now):
                            return None
                        if now > progress.due:
                            progress.show(now, self.interventions + 1, part, self.schedules)
                    self.interventions += 1
            self._compare_runs(first, self._run(()))
            gc.collect(0)
            if self._rules.belated:
                return self._belated()
            self.exhausted = True
            return None
        except MisfitError as misfit:
            return self._nondeterminism(misfit)

    def _extend(self, found: Branches, between: int, start: float, width: float) -> Iterator[Candidate]:
        """All schedules with one more intervention and `between` before it, and how much is done, from `start` on.

        Those between have been run before. When there are too many to remember the forks they have, they are run
        again: they are few compared with the schedules that come of them.
        """
        width /= sum(len(fork[1]) for fork in found.forks) or 1
        for place, fork in enumerate(found.forks):
            asleep, tried = found.choice(place)
            for code in fork[1]:
                longer = (*found.schedule, (fork[0], code))
                if asleep >> code & 1:
                    if between:
                        yield from self._skip(found.tried_before(place, code), fork[0], between - 1, start)
                    else:
                        yield longer, None, start
                elif between:
                    deeper = self._branches(longer, (found, place, asleep))
                    yield from self._extend(deeper, between - 1, start, width)
                else:
                    yield longer, (found, place, asleep), start
                if tried >> code & 1 or code % BASE == CANCEL:
                    asleep |= 1 << code
                start += width

    def _skip(self, same: Schedule, since: int, between: int, start: float) -> Iterator[Candidate]:
        """All schedules that come of one that was not run, and does the same from that step on as this one.

        They need not be run, as those that come of this one are; only to be counted.
        """
        found = self._branches(same, None)
        for place, fork in enumerate(found.forks):
            if fork[0] < since:
                continue
            asleep, _ = found.choice(place)
            for code in fork[1]:
                longer = (*same, (fork[0], code))
                if between:
                    if asleep >> code & 1:
                        longer = found.tried_before(place, code)
                    yield from self._skip(longer, fork[0], between - 1, start)
                else:
                    yield longer, None, start

    def all_branches(self) -> Iterable[Branches]:
        """Of the schedules that are remembered, where they go on to others."""
        return self._known.values()

    def _branches(self, schedule: Schedule, origin: Origin | None) -> Branches:
        """What is remembered of a schedule; else it is run again."""
        known = self._known.get(schedule)
        return self._remember(schedule, origin, self._run(schedule, origin)) if known is None else known

    def _remember(self, schedule: Schedule, origin: Origin | None, execution: Execution) -> Branches:
        """Keep the branches of a schedule if there is room."""
        if not execution.forks:
            branches = NO_BRANCHES
        else:
            inherited = origin[0].inherited_by(*origin[1:]) if origin is not None and execution.choices else {}
            branches = Branches(schedule, execution.forks, execution.choices, inherited)
        if self._room > 0 or not schedule:
            self._room -= 1 + len(execution.forks)
            self._known[schedule] = branches
        return branches

    def replay(self, schedule: Schedule) -> Counterexample | None:
        """Run this schedule only."""
        self.schedules += 1
        self.runs += 1
        told = Told(self._scenario, self._rules)
        try:
            told.execute(schedule)
            self._compare(schedule, told)
        except MisfitError as misfit:
            raise ValueError(f"replay={list(_flat(schedule))} does not fit this scenario: {misfit}") from None
        gc.collect(0)
        if told.failure is None and self._rules.belated:
            return self._belated()
        return None if told.failure is None else _tell(schedule, told, told.failure)

    def _run(self, schedule: Schedule, origin: Origin | None = None, all_forks: bool = True) -> Execution:
        execution = Execution(self._scenario, self._rules)
        fork, asleep = None, 0
        if origin is not None:
            found, place, asleep = origin
            fork = found.forks[place]
        execution.execute(schedule, fork, all_forks, asleep if self._reduce and all_forks else None)
        self._compare(schedule, execution)
        return execution

    def _compare(self, schedule: Schedule, execution: Execution) -> None:
        """If the other scenario does not do the same, that is a failure."""
        if self._against is not None and execution.failure is None:
            other = Execution(self._against, self._rules)
            try:
                other.execute(schedule)
            except MisfitError as misfit:
                execution.failure = Failure("difference", f"the other scenario cannot do this: {misfit}")
            else:
                here, there = _events(execution), _events(other)
                if other.failure is not None:
                    execution.failure = Failure("difference", f"the other scenario fails: {other.failure}")
                elif here != there:
                    execution.failure = Failure("difference", f"the other scenario logs {there}, and this one {here}")

    def _find_shorter(
        self, schedule: Schedule, failure: Failure, others: Iterator[Candidate]
    ) -> tuple[Schedule, Failure]:
        """Among some schedules with as many interventions, the one that fails alike in the fewest steps."""
        for other, origin, _ in itertools.islice(others, _OTHERS):
            self.schedules += 1
            if origin is None:
                continue  # as many steps as the one that it does the same as
            self.runs += 1
            found = self._run(other, origin, all_forks=False).failure
            if found is not None and found.kind == failure.kind and found.steps < failure.steps:
                schedule, failure = other, found
        return schedule, failure

    def _compare_runs(self, first: Execution, again: Execution) -> None:
        if _trace(first) != _trace(again):
            raise MisfitError("the first run and a repetition differ")

    def _counterexample(self, schedule: Schedule, failure: Failure) -> Counterexample:
        told = Told(self._scenario, self._rules)
        told.execute(schedule)
        self._compare(schedule, told)
        if told.failure is None:
            raise MisfitError(f"a schedule failed ({failure}), and did not when repeated")
        return _tell(schedule, told, told.failure)

    def _belated(self) -> Counterexample:
        schedule, context = self._rules.belated[0]
        cause = context.get("exception")
        told = Told(self._scenario, self._rules)
        told.execute(schedule)
        message = f"{said(context.get('message'))}: {shown(cause)}"
        return _tell(schedule, told, Failure("unhandled", message, cause))

    def _nondeterminism(self, misfit: MisfitError) -> Counterexample:
        message = (
            f"the scenario does not do the same when it is run again: {misfit}. Look for state that is kept "
            "between runs, sets of objects, random numbers, clocks"
        )
        return Counterexample("not deterministic", message, (), (), (), None)


def _trace(execution: Execution) -> tuple[object, ...]:
    """What must be the same in each run under a schedule."""
    return execution.steps, execution.forks, execution.failure and execution.failure.kind, _events(execution)


def _events(execution: Execution) -> list[str]:
    """The log, without addresses."""
    return [re.sub(r"0x[0-9a-fA-F]+", "", said(event)) for event in execution.log]


def _check_numbers(bounds: Mapping[str, int | None], time_limit: float, max_steps: int) -> None:
    for name, number in [*bounds.items(), ("max_steps", max_steps)]:
        if number is None and name != "max_steps":
            continue
        if not isinstance(number, int):
            raise TypeError(f"{name} must be an int, not {number!r}")
        if number < 0:
            raise ValueError(f"{name} must be 0 or more, not {number}")
    if not isinstance(time_limit, (int, float)):
        raise TypeError(f"time_limit must be a number of seconds, not {time_limit!r}")
    if not time_limit >= 0:
        raise ValueError(f"time_limit must be 0 or more seconds, not {time_limit}")


def _schedule(replay: Sequence[int]) -> Schedule:
    if not isinstance(replay, Sequence) or not all(isinstance(number, int) for number in replay):
        raise TypeError(f"replay must be a list of ints, as a counterexample has it, not {replay!r}")
    if len(replay) % 2:
        raise ValueError(f"replay must have a step and an intervention, by turns, and not {len(replay)} numbers")
    return tuple(zip(replay[::2], replay[1::2], strict=True))


def _flat(schedule: Schedule) -> tuple[int, ...]:
    return tuple(number for intervention in schedule for number in intervention)


def _tell(schedule: Schedule, told: Told, failure: Failure) -> Counterexample:
    return Counterexample(
        failure.kind, failure.message, _flat(schedule), tuple(told.lines), tuple(told.log), failure.cause
    )


def _with_argument(scenario: Callable[..., object]) -> Scenario:
    """The scenario as a function that takes a Run, whether it wants it or not."""
    return scenario if inspect.signature(scenario).parameters else lambda _run: scenario()


@contextmanager
def _quiet_interpreter() -> Iterator[None]:
    """No collector, except between runs; asynchronous generators are closed by the loop that ran them."""
    enabled = gc.isenabled()
    hooks = sys.get_asyncgen_hooks()
    gc.disable()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=_close_async_generator)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*hooks)
        if enabled:
            gc.enable()


def _close_async_generator(generator: AsyncGenerator[Any, Any]) -> None:
    loop = asyncio._get_running_loop()
    if loop is not None and not loop.is_closed():
        loop.call_soon(loop.create_task, generator.aclose())
